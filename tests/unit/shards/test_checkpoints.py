"""Checkpoints and what follows them: rules L6, L7, L8, L14, L15 of the shard log."""

import pytest

from perdure.base.errors import ResourceExhausted, Unavailable
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Checkpoint, SegmentId, ShardRow
from perdure.store.memory import MemoryStore
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.store.memory.documents import MemoryShards
from perdure.store.memory.log import MemoryLog
from perdure.testing.loop import VirtualClock, running_loop
from perdure.testing.store_faults import Fault
from tests.unit.shards.fakes import QUEUE, Host, effect, home_of, key, memory, offer, passes, timer, virtual

SMALL = ShardOptions(shards=1, segment_bytes=1)
SECOND_NS = 1_000_000_000


class Order:
    """A memory store that notes the order in which its writes are done."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.checkpoints: list[Checkpoint] = []
        steps, checkpoints = self.steps, self.checkpoints

        class Checkpoints(MemoryCheckpoints):
            async def write(self, checkpoint: Checkpoint) -> None:
                await super().write(checkpoint)
                steps.append("write")
                checkpoints.append(checkpoint)

        class Shards(MemoryShards):
            async def replace_shard(self, row: ShardRow) -> bool:
                steps.append("pointer")
                return await super().replace_shard(row)

        class Log(MemoryLog):
            async def drop_segment(self, segment: SegmentId) -> None:
                steps.append("drop")
                await super().drop_segment(segment)

        clock = VirtualClock(running_loop())
        self.store = MemoryStore(clock)
        self.store.checkpoints = Checkpoints(clock)
        self.store.shards = Shards()
        self.store.log = Log()


def test_a_short_workflow_gets_one_checkpoint() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        for value in range(7):
            await host.role.add(shard, key(), value)
            await passes(0.2)
        await passes(5)
        assert shard.checkpointer.written == 1
        assert await host.role.stored_sum(key()) == 21

    virtual(work())


def test_rows_then_the_pointer_then_the_drop() -> None:
    async def work() -> None:
        order = Order()
        host = Host(order.store, options=SMALL)
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        await host.role.add(shard, key(), 2)
        order.steps.clear()
        await passes(5)
        assert order.steps == ["write", "pointer", "drop"]

    virtual(work())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.LATE, Fault.TORN, Fault.SLOW, Fault.REFUSED])
@pytest.mark.parametrize("operation", ["write", "replace_shard", "drop_segment", "append"])
def test_a_step_is_repeated_until_it_is_done(operation: str, fault: Fault) -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=SMALL)
        shard = await host.start()
        for value in (1, 2, 4):
            await host.role.add(shard, key(), value)
        if operation != "append":
            host.faults.arm(operation, fault, fault)
        await passes(5)
        if operation == "append" and fault is not Fault.REFUSED:
            host.faults.arm(operation, fault, fault)
        await host.role.add(shard, key(), 8)
        await passes(10)
        await host.faults.land()
        assert await host.role.stored_sum(key()) == 15
        row = await store.shards.read_shard(shard.shard_id)
        assert row is not None
        assert row.first is not None
        assert row.first.number >= 2
        assert await store.log.read_header(row.first) is not None
        other = Host(store, "N")
        assert sum(await other.role.values(await other.start(), key())) == 15

    virtual(work())


@pytest.mark.parametrize("operation", ["write", "replace_shard", "drop_segment"])
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.TORN])
def test_a_crash_between_the_steps_loses_nothing(operation: str, fault: Fault) -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=SMALL)
        shard = await host.start()
        chains = [key(str(number)) for number in range(8)]
        due = timer(shard.now_ns() + 60 * SECOND_NS)
        for value in (1, 2, 4):
            for chain in chains:
                await host.role.add(shard, chain, value)
        await host.role.add(shard, key(), 1, offer(), due)
        host.faults.arm(operation, fault, *[Fault.LOST] * 1000)
        await passes(4)
        host.faults.cut("O")
        other = Host(store, "N")
        taken = await other.start()
        for chain in chains:
            assert await other.role.values(taken, chain) == [1, 2, 4]
        assert (await taken.read_offers(QUEUE, None, 10))[0] == [offer()]
        await passes(10)
        assert taken.offers.backlog(QUEUE).count == 1
        for chain in chains:
            assert await other.role.stored_sum(chain) == 7
        await passes(60)
        assert [fired for fired, _ in other.role.fired] == [due]

    virtual(work())


def test_a_late_checkpoint_of_a_former_owner_never_covers_a_newer_one() -> None:
    async def work() -> None:
        order = Order()
        old, new = Host(order.store), Host(order.store, "N")
        new.clock.offset_ns = -3600 * SECOND_NS
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        await passes(5)
        taken = await new.start()
        await new.role.add(taken, key(), 2)
        await passes(5)
        assert await new.role.stored_sum(key()) == 3
        await order.store.checkpoints.write(order.checkpoints[0])
        assert await new.role.stored_sum(key()) == 3

    virtual(work())


def test_stamps_of_a_new_owner_are_above_all_of_the_old_one() -> None:
    async def work() -> None:
        order = Order()
        old, new = Host(order.store), Host(order.store, "N")
        new.clock.offset_ns = -3600 * SECOND_NS
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        await passes(5)
        taken = await new.start()
        await new.role.add(taken, key(), 2)
        await passes(5)
        stamps = [checkpoint.stamp_us for checkpoint in order.checkpoints]
        assert stamps == sorted(set(stamps))
        assert len(stamps) == 2

    virtual(work())


def test_effects_are_done_before_the_log_lets_go_of_them() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.role.fail("perform", *[Unavailable("the lists are away")] * 20)
        await host.role.add(shard, key(), 1, effect())
        await passes(5)
        assert not host.role.performed
        assert await host.role.stored_sum(key()) == 0
        await passes(60)
        assert host.role.performed == [effect()]
        assert await host.role.stored_sum(key()) == 1

    virtual(work())


def test_a_chain_without_rows_keeps_its_log_and_stops_no_other() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store, options=SMALL)
        shard = await host.start()
        await host.role.add(shard, key("first"), 1)
        host.role.broken.add(key("broken"))
        await host.role.add(shard, key("broken"), 2)
        for value in range(4):
            await host.role.add(shard, key("good"), value)
        await passes(5)
        assert await host.role.stored_sum(key("good")) == 6
        assert list(shard.checkpointer.blocked) == [key("broken")]
        other = Host(store, "N")
        taken = await other.start()
        assert await other.role.values(taken, key("broken")) == [2]

    virtual(work())


def test_what_a_checkpoint_holds_is_not_replayed() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        await host.role.add(shard, key("a"), 1)
        await passes(5)
        await host.role.add(shard, key("b"), 2)
        other = Host(store, "N")
        taken = await other.start()
        assert list(other.role.chains[taken.shard_id]) == [key("b")]

    virtual(work())


async def fill(host: Host, shard: OwnedShard) -> None:
    for value in range(1000):
        await host.role.add(shard, key(str(value)), value)


def test_with_too_much_not_checkpointed_new_work_is_refused_and_the_rest_passes() -> None:
    async def work() -> None:
        options = ShardOptions(shards=1, segment_bytes=200, hurry_bytes=1000, refuse_bytes=4000)
        host = Host(memory(), options=options)
        shard = await host.start()
        host.faults.arm("write", *[Fault.REFUSED] * 100)
        with pytest.raises(ResourceExhausted):
            await fill(host, shard)
        assert shard.checkpointer.load >= 4000
        await shard.durable(host.role.put(shard, key("0"), 1, urgent=True))
        host.faults.heal()
        await passes(30)
        await host.role.add(shard, key("0"), 2)
        assert shard.checkpointer.load < 1000

    virtual(work())


def test_much_to_write_does_not_wait_for_its_age() -> None:
    async def work() -> None:
        options = ShardOptions(shards=1, segment_bytes=200, hurry_bytes=1000, checkpoint_age_s=1000.0)
        host = Host(memory(), options=options)
        shard = await host.start()
        for value in range(100):
            await host.role.add(shard, key(str(value)), value)
            await passes(0.01)
        assert shard.checkpointer.written > 0
        assert shard.checkpointer.load < 2000

    virtual(work())


def test_index_rows_leave_memory_and_the_store_with_their_tasks() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        far = timer(shard.now_ns() + 86_400 * SECOND_NS)
        await host.role.add(shard, key(), 1, offer(), far)
        await passes(5)
        assert not shard.offers.is_fresh(offer())
        assert not shard.timers.is_armed(far)
        assert await shard.timers.holds(far)
        assert (await shard.read_offers(QUEUE, None, 10))[0] == [offer()]
        await shard.durable(host.role.put(shard, key(), 2, removed=[offer(), far]))
        assert (await shard.read_offers(QUEUE, None, 10))[0] == []
        assert not await shard.timers.holds(far)
        await passes(5)
        assert not await store.checkpoints.read_timers(home_of(shard), None, 10)
        assert not await store.checkpoints.count_offers(home_of(shard))
        assert shard.offers.partitions() == []

    virtual(work())
