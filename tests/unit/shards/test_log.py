"""Group commit under one owner: rules L2, L3, L10, L12 of the shard log."""

import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from perdure.base.errors import ShardLost, Unavailable
from perdure.shards.contract import Transition
from perdure.shards.controller import Shards
from perdure.shards.groups import decode_group
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Group, SegmentHeader, SegmentId, Written
from perdure.store.memory import MemoryStore
from perdure.store.memory.log import MemoryLog
from perdure.testing.loop import VirtualClock, running_loop
from perdure.testing.store_faults import Fault
from tests.unit.shards.fakes import Deed, Host, key, memory, passes, virtual


class ListeningLog(MemoryLog):
    """Keeps every append that arrived, applied or not."""

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[Group] = []

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        self.appends.append(group)
        return await super().append(segment, epoch, group)


def listening() -> tuple[MemoryStore, ListeningLog]:
    store = memory()
    store.log = log = ListeningLog()
    return store, log


class RunningClock(VirtualClock):
    """A microsecond passes whenever it is looked at."""

    def now_ns(self) -> int:
        self.offset_ns += 1_000
        return super().now_ns()


def sizes(log: ListeningLog) -> list[int]:
    return [len(decode_group(group.body).records) for group in log.appends]


def test_transitions_of_one_turn_are_one_group() -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store)
        shard = await host.start()
        positions = [host.role.put(shard, key(str(n)), n) for n in range(10)]
        await shard.durable(positions[-1])
        assert sizes(log) == [10]
        assert positions == sorted(set(positions))

    virtual(work())


def test_a_group_ends_at_256_transitions() -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store)
        shard = await host.start()
        positions = [host.role.put(shard, key(), n) for n in range(600)]
        await shard.durable(positions[-1])
        assert sizes(log) == [256, 256, 88]
        assert positions == sorted(set(positions))

    virtual(work())


def test_a_group_ends_with_the_transition_that_fills_its_bytes() -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store, options=ShardOptions(shards=1, group_bytes=60))
        shard = await host.start()
        await shard.durable([host.role.put(shard, key("x" * 40), n) for n in range(4)][-1])
        assert sizes(log) == [2, 2]

    virtual(work())


def test_a_group_gathers_while_the_one_before_is_written() -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store)
        shard = await host.start()
        host.faults.arm("append", Fault.SLOW)
        first = host.role.put(shard, key(), 1)
        await passes(0.0001)
        last = first
        for value in range(20):
            last = host.role.put(shard, key(), value)
            await passes(0.0001)
        with pytest.raises(StopIteration):
            shard.durable(first - 1).send(None)
        await shard.durable(last)
        assert sizes(log) == [1, 20]

    virtual(work())


def test_what_is_durable_is_known_without_a_task_switch() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        position = await host.role.add(shard, key(), 1)
        with pytest.raises(StopIteration):
            shard.durable(position).send(None)
        with pytest.raises(StopIteration):
            shard.durable(shard.next_position - 1).send(None)

    virtual(work())


def test_waiters_go_on_in_log_order_after_the_callbacks() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, group_transitions=3))
        shard = await host.start()
        seen: list[int] = []

        async def wait(position: int) -> None:
            await shard.durable(position)
            seen.append(position)

        host.faults.arm("append", Fault.LOST)
        positions = [host.role.put(shard, key(), n) for n in range(10)]
        async with asyncio.TaskGroup() as group:
            for position in reversed(positions):
                group.create_task(wait(position))
        assert [position >> 8 for position in seen] == [position >> 8 for position in positions]

    virtual(work())


def test_one_cancelled_waiter_does_not_disturb_the_others() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.faults.arm("append", Fault.LOST)
        position = host.role.put(shard, key(), 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await shard.durable(position)
        await shard.durable(position)
        assert shard.log.committed >= position

    virtual(work())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.LATE, Fault.SLOW, Fault.CUT])
def test_an_append_of_unknown_outcome_is_sent_again_with_the_same_bytes(fault: Fault) -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store)
        shard = await host.start()
        host.faults.arm("append", fault, fault, fault)
        first = host.role.put(shard, key(), 1)
        await passes(0.0001)
        host.role.put(shard, key(), 2)
        await shard.durable(first)
        await host.role.add(shard, key(), 4)
        bodies: dict[int, set[bytes]] = {}
        for group in log.appends:
            bodies.setdefault(group.n, set()).add(group.body)
        assert {len(same) for same in bodies.values()} == {1}
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == [1, 2, 4]
        assert host.faults.fired[fault] >= 1

    virtual(work())


def test_a_caller_does_not_wait_as_long_as_an_outcome_is_unknown() -> None:
    """It would rather ask again; what it asked for is done once the store answers."""

    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, call_timeout_s=1.0, answer_s=2.0))
        loop = asyncio.get_running_loop()
        shard = await host.start()
        host.faults.arm("append", *[Fault.LOST] * 20)
        first = host.role.put(shard, key(), 1)
        patient = loop.create_task(shard.log.durable(first))
        begun = loop.time()
        with pytest.raises(Unavailable, match="no definite answer") as told:
            await shard.durable(first)
        assert not isinstance(told.value, ShardLost)
        assert 2 <= loop.time() - begun < 4
        second = host.role.put(shard, key(), 2)
        with pytest.raises(Unavailable):
            await shard.durable(second)
        assert not patient.done()
        await patient
        await shard.durable(second)
        assert await host.role.values(shard, key()) == [1, 2]
        await host.role.add(shard, key(), 4)

    virtual(work())


def test_a_refused_append_loses_the_shard_and_all_that_was_not_committed() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.arm("append", Fault.REFUSED)
        doomed = host.role.put(shard, key(), 2)
        with pytest.raises(ShardLost, match="Injected: append was refused"):
            await shard.durable(doomed)
        with pytest.raises(ShardLost):
            host.role.put(shard, key(), 4)
        with pytest.raises(ShardLost):
            await shard.durable(doomed - 256)
        with pytest.raises(Unavailable):
            host.shards.by_slot(0)
        assert host.role.unloaded == [1]
        await passes(1)
        again = host.shards.by_slot(0)
        assert again.epoch == 2
        assert await host.role.values(again, key()) == [1]
        await host.role.add(again, key(), 8)

    virtual(work())


def test_a_raising_callback_loses_the_shard_not_the_process() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        transition_position = _append_raising(shard)
        await shard.durable(transition_position)
        await passes(1)
        assert shard.is_lost
        assert host.shards.by_slot(0).epoch == 2

    virtual(work())


def _append_raising(shard: OwnedShard) -> int:
    def fail() -> None:
        raise ZeroDivisionError

    return shard.append(Transition(key(), msgspec.msgpack.encode(Deed(key(), 1, [], [])), [], [], fail))


def test_segments_are_linked_before_they_are_used_and_followed_in_order() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=ShardOptions(shards=1, segment_bytes=1, checkpoint_age_s=1000.0))
        shard = await host.start()
        for value in range(5):
            await host.role.add(shard, key(), value)
        row = await store.shards.read_shard(shard.shard_id)
        assert row is not None
        at, chain = row.first, []
        while at is not None:
            header = await store.log.read_header(at)
            assert header is not None
            chain.append(at.number)
            at = header.next
        assert chain == [0, 1, 2, 3, 4]

    virtual(work())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.LATE])
def test_a_segment_whose_opening_is_in_doubt_is_never_linked(fault: Fault) -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=ShardOptions(shards=1, segment_bytes=1, checkpoint_age_s=1000.0))
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.arm("open_segment", fault)
        await host.role.add(shard, key(), 2)
        await host.faults.land()
        header = await store.log.read_header(SegmentId(shard.shard_id, 1, 0))
        assert header is not None
        assert header.next == SegmentId(shard.shard_id, 1, 2)
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == [1, 2]

    virtual(work())


@pytest.mark.parametrize("operation", ["open_segment", "link"])
def test_where_no_segment_can_be_opened_the_old_one_goes_on(operation: str) -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=ShardOptions(shards=1, segment_bytes=1))
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.arm(operation, Fault.REFUSED)
        await host.role.add(shard, key(), 2)
        assert isinstance(await store.log.read_header(SegmentId(shard.shard_id, 1, 0)), SegmentHeader)
        assert not shard.is_lost
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == [1, 2]

    virtual(work())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.LATE])
def test_a_link_of_unknown_outcome_is_made_once(fault: Fault) -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=ShardOptions(shards=1, segment_bytes=1))
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.arm("link", fault, fault)
        await host.role.add(shard, key(), 2)
        await host.faults.land()
        await host.role.add(shard, key(), 4)
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == [1, 2, 4]

    virtual(work())


def test_stamps_rise_and_stay_below_the_committed_ceiling() -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store, options=ShardOptions(shards=1, ceiling_ahead_us=3))
        shard = await host.start()
        await _stamps_stay_below(shard, log)

    virtual(work())


def test_no_stamp_passes_the_ceiling_while_the_clock_runs() -> None:
    async def work() -> None:
        store, log = listening()
        host = Host(store)
        loop = running_loop()
        options = ShardOptions(shards=1, ceiling_ahead_us=3)
        shards = Shards(host.store, host.role, RunningClock(loop), loop.entropy, options)
        await shards.start()
        await _stamps_stay_below(shards.by_slot(0), log)

    virtual(work())


async def _stamps_stay_below(shard: OwnedShard, log: ListeningLog) -> None:
    stamps = []
    for _ in range(10):
        stamps.append(await shard.log.stamp_us())
        assert stamps[-1] <= log.appends[-1].ceiling_us
    assert stamps == sorted(set(stamps))
    assert len(log.appends) > 1


def test_a_shard_that_is_lost_before_its_group_is_sent_is_no_defect() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        await passes(1)
        host.role.put(shard, key(), 2)
        shard.log.fail("It is gone.")
        await passes(5)

    with capture_logs() as logs:
        virtual(work())
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == []
