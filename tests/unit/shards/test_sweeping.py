"""Segments that nothing leads to are found and dropped, and no other ever is: an interleaving each."""

import asyncio
import itertools

import msgspec
import pytest

from perdure.base.errors import PerdureError, ShardLost
from perdure.shards.acquire import draw, take
from perdure.shards.options import ShardOptions
from perdure.store.contract import Group, SegmentHeader, SegmentId, Store
from perdure.store.memory.log import MemoryLog
from perdure.testing.loop import running_loop
from perdure.testing.store_faults import Fault, Faults
from tests.unit.shards.fakes import Host, key, memory, passes, virtual
from tests.unit.shards.test_take_over import STORMY, Writer

# A segment a group, and pages of two.
SMALL = ShardOptions(
    shards=1, segment_bytes=1, checkpoint_age_s=0.05, reacquire_first_s=2.0, sweep_interval_s=0.5, sweep_page=2
)
# Nothing is checkpointed for as long as a test takes, and who has lost a shard doesn't come back.
DIRTY = ShardOptions(
    shards=1,
    segment_bytes=1,
    checkpoint_age_s=1e6,
    reacquire_first_s=1e6,
    reacquire_max_s=1e6,
    sweep_interval_s=0.5,
    sweep_page=2,
)
LONG = 30.0


async def _stored(store: Store) -> set[SegmentId]:
    return set((await store.log.list_segments(b"", 1000))[0])


def _dropped(host: Host) -> float:
    """What the metric says."""
    return sum(sample.value for metric in host.meters.orphans.collect() for sample in metric.samples)


async def _leave(store: Store, shard: str, epoch: int, number: int) -> SegmentId:
    """A segment that somebody opened."""
    segment = SegmentId(shard, epoch, number)
    assert (await store.log.open_segment(segment, SegmentHeader(epoch, 0, 0))).applied
    return segment


def test_a_segment_whose_opening_was_in_doubt_is_dropped() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=DIRTY)
        shard = await host.start()
        for value in range(5):
            await host.role.add(shard, key(), value)
        host.faults.arm("open_segment", Fault.DONE, Fault.DONE)
        await host.role.add(shard, key(), 5)
        before = await _stored(store)
        chain = {stretch.segment for stretch in shard.log.segments}
        assert len(before - chain) == 2
        await passes(LONG)
        assert await _stored(store) == chain
        assert _dropped(host) == 2
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == list(range(6))

    virtual(work())


def test_an_opening_that_lands_behind_the_segment_in_use_stays_until_another_is() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=DIRTY)
        shard = await host.start()
        late = await _leave(store, shard.shard_id, 1, 1)
        await passes(LONG)
        assert late in await _stored(store), "it might be linked yet"
        for value in (1, 2):
            await host.role.add(shard, key(), value)
        await passes(LONG)
        assert await _stored(store) == {stretch.segment for stretch in shard.log.segments}
        assert late not in await _stored(store)

    virtual(work())


def test_a_segment_that_its_owner_has_opened_and_not_linked_yet_is_kept() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=DIRTY)
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.arm("link", *[Fault.LOST] * 60)
        position = host.role.put(shard, key(), 2)
        await passes(LONG)
        assert host.faults.fired[Fault.LOST] > 20, "many looks lie between opening and link"
        assert len(await _stored(store)) == 2
        host.faults.heal()
        await shard.log.durable(position)
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == [1, 2]

    virtual(work())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE])
def test_a_taker_between_its_draw_and_its_seal_keeps_its_segment(fault: Fault) -> None:
    """Both the owner that is there and the one that was look at it."""

    async def work() -> None:
        store = memory()
        old, new = Host(store, options=DIRTY), Host(store, "N", DIRTY)
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        new.faults.arm("link", *[fault] * 60)
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(new.shards.start())
            await passes(LONG)
            assert SegmentId(shard.shard_id, 2, 0) in await _stored(store)
            assert not taking.done()
            new.faults.heal()
        taken = new.shards.by_slot(0)
        await new.role.add(taken, key(), 2)
        assert await new.role.values(taken, key()) == [1, 2]

    virtual(work())


def test_a_takers_segment_that_came_too_late_is_dropped() -> None:
    async def work() -> None:
        store = memory()
        old, slow, fast = (Host(store, name, DIRTY) for name in ("O", "N1", "N2"))
        await old.role.add(await old.start(), key(), 1)
        drawn = await draw(slow.world, (await store.shards.list_shards())[0].shard)
        shard = await fast.start()
        assert shard.epoch == 3
        with pytest.raises(ShardLost):
            await take(slow.world, drawn)
        late = SegmentId(shard.shard_id, 2, 0)
        assert late in await _stored(store)
        await passes(LONG)
        assert await _stored(store) == {stretch.segment for stretch in shard.log.segments}
        assert _dropped(fast) == 1
        await fast.role.add(shard, key(), 2)
        assert await fast.role.values(shard, key()) == [1, 2]

    virtual(work())


def test_of_two_first_takers_the_later_keeps_its_log() -> None:
    """The shard's row names no first segment yet."""

    async def work() -> None:
        store = memory()
        slow, fast = Host(store, "N1", DIRTY), Host(store, "N2", DIRTY)
        slow.faults.arm("open_segment", *[Fault.LOST] * 12)
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(slow.shards.start())
            await passes(0.1)
            shard = await fast.start()
            assert not starting.done()
        await passes(LONG)
        assert shard.epoch == 2
        assert not slow.shards.owned()
        for value in (1, 2):
            await fast.role.values(shard, key())
            await fast.role.add(shard, key(), value)
        await passes(LONG)
        assert len(shard.log.segments) == 2
        assert await _stored(store) == {stretch.segment for stretch in shard.log.segments}

    virtual(work())


def test_what_a_zombie_opens_later_is_dropped_and_takes_nothing() -> None:
    async def work() -> None:
        store = memory()
        slowly = msgspec.structs.replace(DIRTY, sweep_interval_s=6.0)
        old, new = Host(store, options=slowly), Host(store, "N", slowly)
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        old.faults.arm("open_segment", *[Fault.LOST] * 4)
        lost = old.role.put(shard, key(), 2)  # it is about to roll
        taken = await new.start()
        await passes(2)
        with pytest.raises(ShardLost):
            await shard.durable(lost)
        opened = await _stored(store) - {stretch.segment for stretch in taken.log.segments}
        assert [segment.epoch for segment in opened] == [1], "the zombie has opened one, and could not link it"
        await passes(LONG)
        assert await _stored(store) == {stretch.segment for stretch in taken.log.segments}
        for segment in opened:
            assert not (await store.log.append(segment, 1, Group(1, b"late", 1))).applied
        assert await new.role.values(taken, key()) == [1]

    virtual(work())


def test_a_former_owners_log_that_no_checkpoint_holds_is_kept() -> None:
    async def work() -> None:
        store = memory()
        old, new = Host(store, options=DIRTY), Host(store, "N", DIRTY)
        shard = await old.start()
        for value in (1, 2, 4):
            await old.role.add(shard, key(), value)
        old.faults.cut("O")
        taken = await new.start()
        await new.role.add(taken, key(), 8)
        await passes(LONG)
        assert {segment.epoch for segment in await _stored(store)} == {1, 2}
        assert _dropped(new) == 0
        new.faults.cut("N")
        last = Host(store, "M", DIRTY)
        assert await last.role.values(await last.start(), key()) == [1, 2, 4, 8]

    virtual(work())


def test_an_owner_that_does_not_know_that_it_was_lost_harms_nothing() -> None:
    async def work() -> None:
        store = memory()
        old, new = Host(store, options=DIRTY), Host(store, "N", SMALL)
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        taken = await new.start()
        for value in range(2, 12):
            await new.role.add(taken, key(), value)
            await passes(5)
            assert {stretch.segment for stretch in taken.log.segments} <= await _stored(store)
        assert old.shards.owned() == [shard], "it has looked all the time"
        assert _dropped(old) == 0
        assert await new.role.values(taken, key()) == list(range(1, 12))

    virtual(work())


def test_a_dropped_segment_that_comes_back_is_dropped_again() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=SMALL)
        shard = await host.start()
        for value in range(5):
            await host.role.add(shard, key(), value)
            await passes(1)
        first = (await store.shards.list_shards())[0].first
        assert first is not None
        assert first.number > 1
        again = [await _leave(store, shard.shard_id, 1, number) for number in range(first.number)]
        await passes(LONG)
        assert not set(again) & await _stored(store)
        assert _dropped(host) == len(again)

    virtual(work())


class _SlowLog(MemoryLog):
    """What is released takes a while to be dropped."""

    async def drop_segment(self, segment: SegmentId) -> None:
        await passes(0.2)
        await super().drop_segment(segment)


def test_what_was_just_released_is_no_orphan() -> None:
    async def work() -> None:
        store = memory()
        store.log = _SlowLog()
        host = Host(store, options=SMALL)
        shard = await host.start()
        for value in range(300):
            await host.role.add(shard, key(), value)
            await passes(0.3)
        assert await _stored(store) < {SegmentId(shard.shard_id, 1, number) for number in range(297, 301)}
        assert _dropped(host) == 0

    virtual(work())


@pytest.mark.parametrize("which", [0, 1])
def test_shards_of_others_are_left_alone(which: int) -> None:
    async def work() -> None:
        store = memory()
        options = ShardOptions(shards=2, sweep_interval_s=0.5, sweep_page=2)
        host = Host(store, options=options)
        await host.start_with(which)
        (mine,) = host.shards.owned()
        other = next(row.shard for row in await store.shards.list_shards() if row.shard != mine.shard_id)
        left = [await _leave(store, shard, 0, number) for shard in (mine.shard_id, other) for number in (0, 1)]
        await passes(LONG)
        assert set(left) & await _stored(store) == {segment for segment in left if segment.shard == other}

    virtual(work())


def test_a_store_that_is_away_or_refuses_is_asked_again() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=SMALL)
        shard = await host.start()
        await _leave(store, shard.shard_id, 0, 1)
        host.faults.arm("list_segments", Fault.REFUSED, Fault.LOST)
        host.faults.arm("drop_segment", Fault.REFUSED, Fault.LOST, Fault.DONE)
        await passes(LONG)
        assert await _stored(store) == {stretch.segment for stretch in shard.log.segments}
        assert _dropped(host) == 1

    virtual(work())


def test_idle_costs_the_same_whatever_the_number_of_shards() -> None:
    async def work() -> None:
        asked = []
        for shards in (1, 64):
            host = Host(memory(), options=ShardOptions(shards=shards))
            await host.shards.start()
            await passes(1000)
            before = host.faults.operations
            await passes(1000)
            asked.append(host.faults.operations - before)
            await host.shards.stop()
        assert asked[0] == asked[1] == pytest.approx(1000 / 30, abs=1)

    virtual(work())


@pytest.mark.parametrize("seed", range(10))
def test_whatever_goes_wrong_the_log_is_whole_and_in_the_end_nothing_else_is_there(seed: int) -> None:
    async def work() -> None:
        store = memory()
        faults = Faults(running_loop().entropy.fork("faults"), STORMY)
        hosts = [Host(store, name, SMALL, faults) for name in ("O", "N", "M")]
        writers = [Writer(host, 1000 * at) for at, host in zip(itertools.count(1), hosts, strict=False)]
        async with asyncio.TaskGroup() as group:
            for host, writer in zip(hosts, writers, strict=True):
                await passes(0.3)
                try:
                    await host.shards.start()
                except PerdureError:
                    await host.shards.start()
                group.create_task(writer.run(150))
        await passes(2)
        faults.heal()
        for name in ("O", "N", "M"):
            faults.cut(name)
        await faults.land()
        last = Host(store, "last", SMALL)
        shard = await last.start()
        await last.role.add(shard, key(), 1)
        await passes(2 * LONG)
        assert await _stored(store) == {stretch.segment for stretch in shard.log.segments}
        values = await last.role.values(shard, key())
        assert len(values) == len(set(values))
        for writer in writers:
            assert [value for value in values if value in writer.acknowledged] == writer.acknowledged

    virtual(work(), seed)
