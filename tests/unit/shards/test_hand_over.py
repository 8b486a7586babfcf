"""Planned moves of shards between hosts that know each other (0019, L11): each test is one rule or one interleaving."""

import asyncio
from functools import partial

import pytest

from perdure.base.errors import FailedPrecondition, ShardElsewhere, ShardLost
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.shards.claim import Claim
from perdure.shards.contract import Shard
from perdure.store.contract import Checkpoint, Group, SegmentId, Written
from perdure.testing.store_faults import Fault
from perdure.workflow.tasks import Task
from tests.unit.shards.circle import Circle, has, id_of, until
from tests.unit.shards.fakes import Host, key, passes, timer, virtual


async def refused(host: Host, shard: str, epoch: int, view: int) -> None:
    with pytest.raises(FailedPrecondition):
        await host.shards.let_go(id_of(host), shard, epoch, view)


def beside(work: object) -> "asyncio.Task[object]":
    return Background(lambda error: None).spawn(work)  # type: ignore[arg-type]  # any coroutine


def test_a_shard_moves_without_waiting_for_a_lease() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = has(old)
        assert shard is not None
        await old.role.add(shard, key(), 1)
        circle.give({0: "N"})
        assert await until(lambda: has(new) is not None) < 0.1
        taken = new.shards.by_slot(0)
        assert await new.role.values(taken, key()) == [1]
        assert shard.is_lost
        row = await circle.store.shards.read_shard(shard.shard_id)
        assert row is not None
        assert row.owner == id_of(new)
        lease = await circle.store.leases.read_lease(id_of(old))
        assert lease is not None
        assert lease.revoked == ()
        assert lease.version <= 1  # nothing was revoked by the way

    virtual(work())


def test_until_it_refuses_the_former_owner_serves_and_nobody_is_ever_without_a_hint() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        added: list[int] = []
        hints: set[tuple[str, str]] = set()

        async def add() -> None:
            value = 0
            while len(added) < 400:
                for name, host in circle.hosts.items():
                    try:
                        at = host.shards.by_slot(0)
                        await host.role.values(at, key())
                        value += 1
                        position = host.role.put(at, key(), value)
                    except ShardElsewhere as error:
                        value -= host.shards.owned() != [] and error.host == ""
                        hints.add((name, error.host))
                    else:
                        await at.durable(position)
                        added.append(value)
                await passes(0.001)

        adding = beside(add())
        await passes(0.1)
        circle.give({0: "N"})
        await adding
        assert shard.is_lost
        values = await new.role.values(new.shards.by_slot(0), key())
        assert [value for value in values if value in added] == added
        assert len(values) == len(set(values))
        assert hints <= {("O", id_of(new)), ("N", id_of(old)), ("N", id_of(new))}
        assert ("O", id_of(new)) in hints

    virtual(work())


def test_what_was_refused_was_not_done_and_what_was_taken_is_answered() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        append = old.store.log.append
        is_sent = asyncio.Event()

        async def slowly(segment: SegmentId, epoch: int, group: Group) -> Written:
            is_sent.set()
            await passes(0.3)
            return await append(segment, epoch, group)

        await old.role.add(shard, key(), 1)
        await passes(5)  # everything is checkpointed
        old.store.log.append = slowly  # type: ignore[method-assign]  # of this one host
        first = old.role.put(shard, key(), 2)
        await is_sent.wait()
        second = old.role.put(shard, key(), 4)  # the next group
        answers = [beside(shard.durable(position)) for position in (first, second)]
        circle.give({0: "N"})
        await until(lambda: shard.is_leaving)
        before = shard.next_position
        with pytest.raises(ShardElsewhere) as told:
            old.role.put(shard, key(), 8)
        assert told.value.host == id_of(new)
        assert told.value.view == circle.version
        assert shard.next_position == before
        with pytest.raises(ShardElsewhere):
            old.shards.by_slot(0)
        await asyncio.gather(*answers)
        await until(lambda: has(new) is not None)
        assert await new.role.values(new.shards.by_slot(0), key()) == [1, 2, 4]
        with pytest.raises(ShardElsewhere):
            old.role.put(shard, key(), 8)

    virtual(work())


def test_a_group_in_doubt_holds_a_release_up_for_a_while_only() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        await old.role.add(shard, key(), 1)
        old.faults.arm("append", Fault.DONE, *[Fault.LOST] * 10_000)
        position = old.role.put(shard, key(), 2)
        waiting = beside(shard.durable(position))
        circle.give({0: "N"})
        assert await until(lambda: has(new) is not None) < 2.5
        with pytest.raises(ShardLost):
            await waiting
        assert await new.role.values(new.shards.by_slot(0), key()) == [1, 2]

    virtual(work())


def test_a_shard_is_checkpointed_before_it_goes_and_leaves_little_to_replay() -> None:
    async def work() -> None:
        circle = Circle(checkpoint_age_s=1000.0)
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        for value in range(50):
            await old.role.add(shard, key(str(value)), value)
        replayed: list[int] = []
        recover = new.role.recover

        async def counted(of: Shard, records: list[tuple[int, bytes]]) -> dict[ChainKey, list[Task] | None]:
            replayed.append(len(records))
            return await recover(of, records)

        new.role.recover = counted  # type: ignore[method-assign, assignment]  # of this one host
        circle.give({0: "N"})
        await until(lambda: has(new) is not None)
        assert replayed == [0]
        assert await new.role.stored_sum(key("49")) == 49

    virtual(work())


def test_a_checkpoint_that_takes_too_long_doesn_t_hold_a_move_up() -> None:
    async def work() -> None:
        circle = Circle(checkpoint_age_s=1000.0)
        old, new = await circle.start("O", "N")
        await old.role.add(old.shards.by_slot(0), key(), 1)

        async def never(checkpoint: Checkpoint) -> None:
            await asyncio.get_running_loop().create_future()

        old.store.checkpoints.write = never  # type: ignore[method-assign]  # of this one host
        circle.give({0: "N"})
        assert await until(lambda: has(new) is not None) < 2.0
        assert await new.role.values(new.shards.by_slot(0), key()) == [1]
        assert len(circle.lines[new].asked) == 1

    virtual(work())


def test_asking_again_and_at_once_is_one_release_and_who_has_nothing_has_released_it() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        await old.role.add(shard, key(), 1)
        circle.give({0: "N"}, old)  # who asks is this test
        ask = partial(old.shards.let_go, id_of(old), shard.shard_id, 9, circle.version)
        gone = beside(ask())
        await passes(0)
        gone.cancel()  # a caller that is gone
        await asyncio.gather(ask(), ask())
        assert shard.is_lost
        await ask()
        await old.shards.let_go(id_of(old), "another", 1, circle.version)
        await new.shards.let_go(id_of(new), shard.shard_id, 1, circle.version)
        assert old.role.unloaded == [1]

    virtual(work())


def test_another_process_at_the_address_releases_nothing() -> None:
    async def work() -> None:
        circle = Circle()
        old, _ = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        with pytest.raises(ShardElsewhere):
            await old.shards.let_go("a former process", shard.shard_id, 9, 0)
        assert not shard.is_leaving

    virtual(work())


def test_who_has_a_newer_view_keeps_what_is_its_own_and_the_asker_learns_that() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        circle.give({0: "N"}, new)  # tells the new one only
        circle.give({0: "O"}, old)
        await until(lambda: len(circle.lines[new].asked) > 0)
        await passes(5)
        assert has(old) is shard
        assert has(new) is None
        assert len(circle.lines[new].asked) == 1
        with pytest.raises(ShardElsewhere) as told:
            new.shards.by_slot(0)
        assert (told.value.host, told.value.view) == (id_of(old), circle.version)
        await old.role.add(shard, key(), 1)
        await refused(old, shard.shard_id, 99, circle.version - 1)

    virtual(work())


def test_who_is_asked_under_a_newer_view_reads_it_first() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        circle.give({0: "N"}, new)
        await until(lambda: has(new) is not None)
        assert shard.is_lost
        await passes(60)
        assert has(new) is not None
        assert circle.lines[old].asked == []

    virtual(work())


def test_who_can_not_read_a_newer_view_lets_go_and_takes_nothing_back_for_long() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        circle.lines[old].refresh = _nothing  # type: ignore[method-assign]  # of this one host
        circle.give({0: "N"}, new)
        await until(lambda: has(new) is not None)
        await passes(30)
        assert has(new) is not None
        assert has(old) is None
        assert 1 <= len(circle.lines[old].asked) <= 10  # each time refused, less and less often

    virtual(work())


async def _nothing(view: int) -> None:
    """The members can't be read."""


def test_an_older_epoch_is_refused() -> None:
    async def work() -> None:
        circle = Circle()
        old, _ = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        await refused(old, shard.shard_id, shard.epoch, circle.version)
        assert not shard.is_leaving

    virtual(work())


def test_a_shard_that_is_let_go_while_it_is_recovered_never_serves() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        await old.role.add(old.shards.by_slot(0), key(), 1)
        recover, is_on = new.role.recover, asyncio.Event()

        async def slowly(of: Shard, records: list[tuple[int, bytes]]) -> dict[ChainKey, list[Task] | None]:
            is_on.set()
            await passes(1)
            return await recover(of, records)

        new.role.recover = slowly  # type: ignore[method-assign, assignment]  # of this one host
        circle.give({0: "N"})
        await is_on.wait()
        circle.give({0: "O"})
        assert await until(lambda: has(old) is not None) < 0.5
        assert await old.role.values(old.shards.by_slot(0), key()) == [1]
        while has(new) is None and asyncio.get_running_loop().time() < 20:
            await passes(0.01)
        assert has(new) is None
        await old.role.add(old.shards.by_slot(0), key(), 2)

    virtual(work())


@pytest.mark.parametrize("operation", ["link", "replace_shard", "read_header"])
def test_a_shard_that_is_let_go_while_it_is_taken_never_serves(operation: str) -> None:
    """Its row may name this host already, so that the next one asks it."""

    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        of = {"link": new.store.log, "read_header": new.store.log, "replace_shard": new.store.shards}[operation]
        call, calls = getattr(of, operation), []

        async def slowly(*given: object) -> object:
            done = await call(*given)
            calls.append(given)
            await passes(0.4)
            return done

        setattr(of, operation, slowly)
        circle.give({0: "N"})
        await until(lambda: len(calls) > (operation == "replace_shard"))
        circle.give({0: "O"})
        await new.shards.let_go(id_of(new), shard.shard_id, 77, circle.version)
        for _ in range(3000):
            await passes(0.001)
            assert has(new) is None
        await until(lambda: has(old) is not None)

    virtual(work())


def test_a_taker_that_dies_after_it_drew_costs_the_owner_nothing_but_a_moment_later() -> None:
    async def work() -> None:
        circle = Circle(checkpoint_age_s=0.2, segment_bytes=1, overtaken_s=5.0)
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        await Claim.draw(new.world, shard.shard_id)  # and no more of it
        added: list[int] = []
        for value in range(40):
            if old.shards.owned():
                await old.role.add(old.shards.by_slot(0), key(), value)
                added.append(value)
            await passes(0.2)
        assert len(added) > 35
        taken = old.shards.by_slot(0)
        assert taken.epoch > shard.epoch
        assert await old.role.values(taken, key()) == added
        await passes(2)
        assert len(taken.log.segments) < 5

    virtual(work())


def test_a_taker_that_dies_after_the_release_leaves_the_shard_to_the_next() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        await old.role.add(shard, key(), 1)

        async def die() -> None:
            circle.kill("N")
            await passes(1)

        circle.lines[new].after = die
        circle.give({0: "N"})
        await until(lambda: shard.is_lost)
        assert not old.shards.owned()
        circle.give({0: "O"})
        # Its row still names this host, which has nothing of it.
        assert await until(lambda: has(old) is not None) < 0.2
        assert await old.role.values(old.shards.by_slot(0), key()) == [1]
        assert not new.shards.owned()

    virtual(work())


def test_an_owner_that_dies_between_its_checkpoint_and_the_release_is_outlived() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        await old.role.add(shard, key(), 1)

        async def die() -> None:
            circle.kill("O")
            await asyncio.get_running_loop().create_future()

        shard.drained = die  # type: ignore[method-assign]  # of this one shard
        circle.give({0: "N"})
        await until(lambda: "O" not in circle.hosts)
        assert 2 < await until(lambda: has(new) is not None) < 9
        assert not shard.can_answer
        assert await new.role.values(new.shards.by_slot(0), key()) == [1]

    virtual(work())


def test_an_owner_that_doesn_t_answer_loses_the_shard_by_its_lease() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        circle.lines[old].is_cut = True  # from the peers, not from the store
        circle.give({0: "N"}, new)
        assert await until(lambda: has(new) is not None) < 1.6  # its next renewal says so
        assert shard.is_lost
        circle.lines[old].is_cut = False
        await passes(60)
        assert has(new) is not None

    virtual(work())


def test_the_answer_that_is_lost_on_its_way_costs_a_revocation() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        await old.role.add(old.shards.by_slot(0), key(), 1)
        circle.lines[new].after = partial(passes, 60)
        circle.give({0: "N"})
        assert 2.5 < await until(lambda: has(new) is not None) < 4.5
        assert await new.role.values(new.shards.by_slot(0), key()) == [1]

    virtual(work())


def test_a_host_that_is_gone_is_neither_asked_nor_waited_for() -> None:
    async def work() -> None:
        circle = Circle(shards=64)
        old, new = await circle.start("O", "N")
        for shard in old.shards.owned():
            await old.role.add(shard, ChainKey("ns", shard.shard_id), 1)
        lease = await circle.store.leases.read_lease(id_of(old))
        assert lease is not None
        circle.kill("O")
        await circle.store.leases.remove_lease(lease.host, lease.version)  # its neighbour did
        circle.give(dict.fromkeys(range(64), "N"))
        assert await until(lambda: len(new.shards.owned()) == 64) < 0.5
        assert circle.lines[new].asked == []

    virtual(work())


def test_two_takers_get_it_one_after_the_other() -> None:
    async def work() -> None:
        circle = Circle()
        old, one, two = await circle.start("O", "1", "2")
        await old.role.add(old.shards.by_slot(0), key(), 1)
        circle.give({0: "1"}, one)
        circle.give({0: "2"}, two)
        answering: list[Host] = []
        for _ in range(20_000):
            await passes(0.001)
            answering = [host for host in (old, one, two) if any(shard.can_answer for shard in host.shards.owned())]
            assert len(answering) <= 1
        assert answering == [two]
        assert await two.role.values(two.shards.by_slot(0), key()) == [1]

    virtual(work())


def test_timers_of_a_shard_that_moves_fire_once() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        soon = [timer(shard.now_ns() + at * 100_000_000, f"w{at}") for at in range(1, 40)]
        for each in soon:
            await old.role.add(shard, each.key, 1, each)
        await passes(1.95)
        circle.give({0: "N"})
        await passes(5)
        fired = [each for host in (old, new) for each, _ in host.role.fired]
        assert sorted(fired, key=lambda each: each.due_ns) == soon
        assert old.role.fired
        assert new.role.fired

    virtual(work())
