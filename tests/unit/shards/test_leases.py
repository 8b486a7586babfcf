"""Rule L11: who may answer from memory, when several processes share a store. Each test is one interleaving."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from perdure.base.errors import ShardLost, StoreUnavailable, Unavailable
from perdure.base.tasks import Background
from perdure.shards.claim import Claim
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Group, LeaseRow, SegmentId, Written
from perdure.store.memory import MemoryStore
from perdure.testing.loop import VirtualClock, running_loop
from perdure.testing.store_faults import Fault
from tests.unit.shards.fakes import Host, key, passes, virtual

OPTIONS = ShardOptions(shards=1, checkpoint_age_s=0.5)
MANY = 10_000


def shared() -> MemoryStore:
    return MemoryStore(VirtualClock(running_loop()), is_shared=True)


def lease_of(host: Host) -> str:
    return host.shards._world.tenure.host


async def reads(host: Host, shard: OwnedShard) -> list[int]:
    """What a reader is told. Raises Unavailable."""
    values = list(await host.role.values(shard, key()))
    await shard.durable(shard.log.committed)
    return values


def starting(host: Host) -> asyncio.Task[None]:
    """The start of a host, beside what the test does."""
    return Background(lambda error: None).spawn(host.shards.start())


async def until(is_so: Callable[[], bool], most_s: float = 30.0) -> float:
    """Wait for it; after how many seconds it was so."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not is_so():
        assert loop.time() - begun < most_s
        await passes(0.01)
    return loop.time() - begun


def test_a_store_of_one_process_has_no_leases() -> None:
    async def work() -> None:
        host = Host(MemoryStore(VirtualClock(running_loop())))
        del host.store.leases
        shard = await host.start()
        await passes(60)
        assert shard.can_answer
        row = await host.store.shards.read_shard(shard.shard_id)
        assert row is not None
        assert row.owner == ""

    virtual(work())


def test_an_idle_process_renews_every_one_and_a_half_seconds_however_many_shards_it_has() -> None:
    async def work() -> None:
        host = Host(shared(), options=ShardOptions(shards=16, sweep_interval_s=1e9))
        await host.shards.start()
        await passes(5)
        before = host.faults.operations
        await passes(60)
        assert 38 <= host.faults.operations - before <= 41
        assert all(shard.can_answer for shard in host.shards.owned())

    virtual(work())


def test_an_answer_that_waits_for_a_group_on_its_way_needs_a_lease_too() -> None:
    """It was committed, the process stood still before it heard of that, and another owner has answered since."""

    async def work() -> None:
        store = shared()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        append = old.store.log.append

        async def heard_late(segment: SegmentId, epoch: int, group: Group) -> Written:
            written = await append(segment, epoch, group)
            await passes(20)
            return written

        old.store.log.append = heard_late  # type: ignore[method-assign]  # of this one host
        old.faults.arm("replace_lease", *[Fault.LOST] * MANY)
        await passes(1)
        position = old.role.put(shard, key(), 1)
        await passes(0.1)
        taken = await new.start()
        await new.role.add(taken, key(), 2)
        assert await old.role.values(shard, key()) == [1]
        with pytest.raises(Unavailable):
            await shard.durable(position)

    virtual(work())


def test_a_lapsed_owner_answers_no_read_and_resumes_warm_under_the_same_epoch() -> None:
    async def work() -> None:
        host = Host(shared())
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.cut("O")
        await passes(3)
        assert await reads(host, shard) == [1]
        await passes(4)
        with pytest.raises(Unavailable):
            await reads(host, shard)
        await passes(20)
        host.faults.mend("O")
        await until(lambda: shard.can_answer, 2)
        assert host.shards.by_slot(0) is shard
        assert await reads(host, shard) == [1]
        assert host.role.unloaded == []

    virtual(work())


def test_an_answer_that_waited_for_its_own_commit_needs_no_lease() -> None:
    async def work() -> None:
        host = Host(shared())
        shard = await host.start()
        host.faults.arm("replace_lease", *[Fault.LOST] * MANY)
        await passes(10)
        assert not shard.can_answer
        await host.role.add(shard, key(), 1)
        with pytest.raises(Unavailable):
            await reads(host, shard)

    virtual(work())


class SlowLeases:
    """A host's leases whose renewals wait: `before` they are done, `after` that, and `at_read`."""

    def __init__(self, host: Host) -> None:
        leases = host.store.leases
        self._replace, self._read = leases.replace_lease, leases.read_lease
        self.before = self.after = self.at_read = self._at_once
        leases.replace_lease = self._slowly_replace  # type: ignore[method-assign]  # of this one host
        leases.read_lease = self._slowly_read  # type: ignore[method-assign]  # of this one host

    async def _at_once(self) -> None:
        """Nothing to wait for."""

    async def _slowly_replace(self, row: LeaseRow) -> bool:
        await self.before()
        applied = await self._replace(row)
        await self.after()
        return applied

    async def _slowly_read(self, host: str) -> LeaseRow | None:
        await self.at_read()
        return await self._read(host)


@pytest.mark.parametrize("part", ["before", "after"])
def test_a_lease_counts_from_before_its_renewal_was_sent(part: str) -> None:
    async def work() -> None:
        host = Host(shared())
        leases = SlowLeases(host)
        shard = await host.start()
        setattr(leases, part, partial(passes, 1.2))
        await passes(2.8)  # sent at 1.5, answered at 2.7
        host.faults.cut("O")
        assert 3.65 < await until(lambda: not shard.can_answer) < 3.8

    virtual(work())


def test_a_renewal_that_was_done_unseen_counts_from_when_it_was_first_sent() -> None:
    async def work() -> None:
        host = Host(shared())
        leases = SlowLeases(host)
        shard = await host.start()
        host.faults.arm("replace_lease", Fault.DONE, *[Fault.LOST] * 3)  # from 1.5 s on
        leases.before = partial(passes, 0.5)

        async def settled() -> None:
            host.faults.arm("replace_lease", *[Fault.LOST] * MANY)

        leases.at_read = settled
        await until(lambda: not shard.can_answer)
        assert 6.4 < asyncio.get_running_loop().time() < 6.6

    virtual(work())


def test_a_living_owner_lets_go_before_the_next_one_answers() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        start = starting(new)
        took = await until(lambda: bool(new.shards.owned()))
        await start
        assert took < 3
        assert shard.is_lost
        assert old.role.unloaded == [1]
        taken = new.shards.by_slot(0)
        assert await reads(new, taken) == [1]
        with pytest.raises(ShardLost):
            await reads(old, shard)
        row = await store.leases.read_lease(lease_of(old))
        assert row is not None
        assert row.revoked == ()

    virtual(work())


def test_a_silent_owner_is_outlived_before_the_next_one_answers() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        await passes(1.49)
        old.faults.cut("O")
        start = starting(new)
        assert 3.4 < await until(lambda: not shard.can_answer) < 3.6
        assert not new.shards.owned()
        assert 1.9 < await until(lambda: bool(new.shards.owned())) < 2.6
        await start
        assert await reads(new, new.shards.by_slot(0)) == [1]
        assert await store.leases.read_lease(lease_of(old)) is None

    virtual(work())


def test_an_owner_that_comes_back_after_it_was_outlived_gives_everything_up_under_a_new_lease() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store, options=ShardOptions(shards=2)), Host(store, "N")
        shard = await old.start()
        other = old.shards.owned()[1]
        before = lease_of(old)
        old.faults.cut("O")
        await new.start_with(0)
        old.shards.assign({other.shard_id}, 1)
        old.faults.mend("O")
        for one in (shard, other):
            with pytest.raises(Unavailable):
                await reads(old, one)
        await until(lambda: lease_of(old) not in ("", before))
        assert shard.is_lost
        assert other.is_lost
        await until(lambda: len(old.shards.owned()) == 1)
        assert old.shards.by_slot(40_000).epoch == 2
        assert new.shards.by_slot(0).can_answer

    virtual(work())


def test_a_renewal_that_lands_late_does_not_hide_a_revocation() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        old.faults.arm("replace_lease", Fault.RAISED)  # on its way until the new owner seals the log
        await passes(2.5)
        old.faults.cut("O")
        await new.shards.start()
        old.faults.epoch_raised()
        await old.faults.land()
        old.faults.mend("O")
        assert not shard.can_answer
        await until(lambda: shard.is_lost, 3)
        assert new.shards.by_slot(0).can_answer

    virtual(work())


def test_whoever_takes_over_from_a_taker_that_died_waits_for_the_owner_before() -> None:
    async def work() -> None:
        store = shared()
        old, dead, new = Host(store), Host(store, "D"), Host(store, "N")
        shard = await old.start()
        await passes(0.5)
        await Claim.draw(dead.world, shard.shard_id)  # and no more of it
        start = starting(new)
        while not new.shards.owned():
            assert shard.can_answer == (not shard.is_lost)
            await passes(0.01)
        assert shard.is_lost
        await start

    virtual(work())


def test_a_taker_that_came_first_does_not_answer_after_a_second_one_drew() -> None:
    async def work() -> None:
        store = shared()
        old, first, second = Host(store), Host(store, "1"), Host(store, "2")
        shard = await old.start()
        old.faults.cut("O")
        starts = [starting(first)]
        await passes(1)
        starts.append(starting(second))
        await asyncio.gather(*starts)
        await passes(10)
        assert not shard.can_answer
        assert [len(host.shards.owned()) for host in (first, second)] in ([0, 1], [1, 0])

    virtual(work())


def test_a_shard_that_is_revoked_while_it_is_being_taken_is_not_answered_for() -> None:
    async def work() -> None:
        store = shared()
        host = Host(store)
        await host.start()
        lease = host.shards._world.tenure
        shard = host.shards.by_slot(0)
        shard.fail("for the test")
        replace = host.store.shards.replace_shard

        async def revoked_meanwhile(row: object) -> bool:
            applied = await replace(row)  # type: ignore[arg-type]  # it is a row, as all that come here
            found = await store.leases.read_lease(lease.host)
            assert found is not None
            newer = (*found.revoked, (shard.shard_id, 9))
            assert await store.leases.replace_lease(LeaseRow(lease.host, found.version + 1, newer))
            lease.hurry()
            await passes(0.5)
            return applied

        host.store.shards.replace_shard = revoked_meanwhile  # type: ignore[method-assign]  # only here
        await passes(1)
        assert host.shards.owned() == []
        host.store.shards.replace_shard = replace  # type: ignore[method-assign]  # as it was
        assert lease.is_revoked(shard.shard_id, 8)
        assert not lease.is_revoked(shard.shard_id, 9)

    virtual(work())


def test_a_revocation_by_an_older_epoch_takes_nothing() -> None:
    async def work() -> None:
        store = shared()
        host = Host(store)
        shard = await host.start()
        shard.fail("for the test")
        await until(lambda: bool(host.shards.owned()))
        shard = host.shards.by_slot(0)
        assert shard.epoch == 2
        row = await store.leases.read_lease(lease_of(host))
        assert row is not None
        await store.leases.replace_lease(LeaseRow(row.host, row.version + 1, ((shard.shard_id, 2),)))
        await passes(3)
        row = await store.leases.read_lease(lease_of(host))
        assert row is not None
        assert row.revoked == ()
        assert shard.can_answer

    virtual(work())


def test_a_clean_stop_leaves_no_lease_and_the_next_start_waits_for_nobody() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        lease = lease_of(old)
        old.faults.arm("remove_lease", Fault.DONE, Fault.LOST)
        await old.shards.stop()
        assert await store.leases.read_lease(lease) is None
        begun = asyncio.get_running_loop().time()
        assert await reads(new, await new.start()) == [1]
        assert asyncio.get_running_loop().time() - begun < 0.1

    virtual(work())


def test_after_a_crash_the_next_start_waits_a_lease_and_a_tenth_for_all_shards_together() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store, options=ShardOptions(shards=12)), Host(store, "N")
        await old.shards.start()
        old.faults.cut("O")
        begun = asyncio.get_running_loop().time()
        await new.shards.start()
        assert len(new.shards.owned()) == 12
        assert 5.5 < asyncio.get_running_loop().time() - begun < 6.1

    virtual(work())


def test_time_without_the_store_does_not_count_against_an_owner() -> None:
    async def work() -> None:
        store = shared()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        lease = lease_of(old)
        old.faults.cut("O")
        old.shards.assign(set(), 1)
        start = starting(new)
        await passes(1)
        new.faults.cut("N")
        await passes(60)
        new.faults.mend("N")
        await passes(1)
        old.faults.mend("O")
        await start
        # It was asked, and let go by itself: nobody took it for dead.
        assert shard.is_lost
        assert lease_of(old) == lease
        assert new.shards.by_slot(0).can_answer

    virtual(work())


def test_without_a_lease_nothing_is_taken() -> None:
    async def work() -> None:
        host = Host(shared())
        host.faults.arm("replace_lease", Fault.REFUSED)
        with pytest.raises(StoreUnavailable):
            await host.shards.start()
        assert host.shards.owned() == []

    virtual(work())


def test_a_lease_whose_making_is_in_doubt_is_abandoned() -> None:
    async def work() -> None:
        store = shared()
        host = Host(store)
        host.faults.arm("replace_lease", Fault.LATE, Fault.DONE)
        made: list[str] = []
        replace = store.leases.replace_lease

        async def noted(row: LeaseRow) -> bool:
            if row.version == 0:
                made.append(row.host)
            return await replace(row)

        store.leases.replace_lease = noted  # type: ignore[method-assign]  # only here
        shard = await host.start()
        await host.faults.land()
        await passes(10)
        assert len(set(made)) == 3
        assert lease_of(host) in made
        assert shard.can_answer

    virtual(work())


def test_no_checkpoint_is_sent_when_the_lease_is_over() -> None:
    async def work() -> None:
        host = Host(shared(), options=OPTIONS)
        shard = await host.start()
        host.faults.arm("replace_lease", *[Fault.LOST] * 40)
        await until(lambda: not shard.can_answer)
        await host.role.add(shard, key(), 5)
        await passes(3)
        assert not shard.can_answer
        assert await host.role.stored_sum(key()) == 0
        await until(lambda: shard.can_answer, 60)
        await passes(3)
        assert await host.role.stored_sum(key()) == 5

    virtual(work())


def test_hosts_that_both_want_a_shard_take_it_from_one_another_less_and_less_often() -> None:
    """Until one of them learns that it isn't its own."""

    async def work() -> None:
        store = shared()
        old, new = Host(store, options=ShardOptions(shards=4)), Host(store, "N")
        await old.shards.start()
        await new.shards.start()
        await passes(60)
        rows = await store.shards.list_shards()
        assert max(row.epoch for row in rows) < 40
        await passes(60)
        later = await store.shards.list_shards()
        assert all(row.epoch - before.epoch < 20 for before, row in zip(rows, later, strict=True))
        old.shards.assign(set(), 1)
        assert await until(lambda: len(new.shards.owned()) == 4) < 12
        await passes(60)
        assert len(new.shards.owned()) == 4
        await new.shards.stop()
        old.shards.assign({row.shard for row in rows}, 2)
        assert await until(lambda: len(old.shards.owned()) == 4) < 0.1

    virtual(work())
