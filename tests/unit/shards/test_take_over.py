"""Two owners over one store: rules L1, L2, L4, L5, L8, M5, I3."""

import asyncio
import copy
from collections.abc import Awaitable, Callable

import pytest

from perdure.base.errors import PerdureError, ShardElsewhere, ShardLost, Unavailable
from perdure.shards.acquire import create_shards, draw, take
from perdure.shards.claim import Claim
from perdure.shards.options import ShardOptions
from perdure.shards.timers import timer_order
from perdure.store.contract import Group, Home, SegmentId, ShardRow
from perdure.store.memory import MemoryStore
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.store.memory.documents import MemoryShards
from perdure.store.memory.log import MemoryLog
from perdure.testing.loop import running_loop
from perdure.testing.store_faults import Fault, FaultPlan, Faults
from perdure.workflow.tasks import Timer
from tests.unit.shards.fakes import Host, key, memory, offer, passes, timer, virtual

SMALL = ShardOptions(shards=1, segment_bytes=1, checkpoint_age_s=0.05, reacquire_first_s=2.0)


def test_what_was_added_is_there_after_a_take_over() -> None:
    async def work() -> None:
        store = memory()
        # It doesn't take back what it has lost.
        first = Host(store, options=ShardOptions(shards=1, reacquire_first_s=1e6, reacquire_max_s=1e6))
        shard = await first.start()
        soon = timer(shard.now_ns() + 3_000_000_000)
        await first.role.add(shard, key(), 1, offer(), soon)
        for value in range(2, 11):
            await first.role.add(shard, key(), value)
        await passes(1)
        second = Host(store, "N")
        shard = await second.start()
        assert sum(await second.role.values(shard, key())) == 55
        await passes(5)
        assert [fired for fired, _ in second.role.fired] == [soon]
        assert await second.role.stored_sum(key()) == 55
        assert second.role.offered == [offer(1)]

    virtual(work())


class Remembering(MemoryCheckpoints):
    """What one process sees of the checkpoints of all: it reads a home's timers once."""

    def __init__(self, all_rows: MemoryCheckpoints) -> None:
        self.__dict__.update(all_rows.__dict__)
        self._remembered: dict[str, list[Timer]] = {}

    def adopt(self, home: Home) -> None:
        self._remembered.pop(home.shard, None)

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        if home.shard not in self._remembered:
            self._remembered[home.shard] = await super().read_timers(home, None, 1_000)
        rows = self._remembered[home.shard]
        return [row for row in rows if after is None or timer_order(row) > timer_order(after)][:limit]


def test_who_takes_a_shard_back_reads_what_others_have_written_since() -> None:
    async def work() -> None:
        store = memory()
        here = copy.copy(store)
        here.checkpoints = Remembering(store.checkpoints)
        options = ShardOptions(shards=1, reacquire_first_s=1e6, reacquire_max_s=1e6)
        before = Host(here, options=options)
        await before.start()
        there = Host(store, "N")
        shard = await there.start()
        later = timer(shard.now_ns() + 3_000_000_000)
        await there.role.add(shard, key(), 1, later)
        await there.shards.stop()
        again = Host(here, "O2")
        await again.start()
        await passes(5)
        assert [fired for fired, _ in again.role.fired] == [later]

    virtual(work())


class Writer:
    """Adds 1, 2, 4, ... through whatever shard its host has, and remembers what was acknowledged."""

    def __init__(self, host: Host, base: int) -> None:
        self.host = host
        self.next = base
        self.acknowledged: list[int] = []
        self.tried: list[int] = []

    async def run(self, times: int) -> None:
        for _ in range(times):
            value, self.next = self.next, self.next + 1
            try:
                shard = self.host.shards.by_slot(0)
                self.tried.append(value)
                await self.host.role.add(shard, key(), value)
            except Unavailable:
                await passes(0.2)
            else:
                self.acknowledged.append(value)


STORMY = FaultPlan(lost=0.06, done=0.06, late=0.06, raised=0.04, torn=0.04, slow=0.3, refused=0.01, slow_s_max=0.05)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_goes_wrong_an_acknowledged_deed_is_there_once(seed: int) -> None:
    async def work() -> None:
        store = memory()
        faults = Faults(running_loop().entropy.fork("faults"), STORMY)
        hosts = [Host(store, name, SMALL, faults) for name in ("O", "N", "M")]
        writers = [Writer(host, 1000 * (at + 1)) for at, host in enumerate(hosts)]
        for host in hosts:
            host.clock.offset_ns = round((faults._entropy.fraction() - 0.5) * 1e11)
        async with asyncio.TaskGroup() as group:
            for at, (host, writer) in enumerate(zip(hosts, writers, strict=True)):
                await passes(0.3 * at)
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
        values = await last.role.values(await last.start(), key())
        assert len(values) == len(set(values))
        acknowledged = {value for writer in writers for value in writer.acknowledged}
        tried = {value for writer in writers for value in writer.tried}
        assert acknowledged <= set(values) <= tried
        assert len(acknowledged) > 5
        for writer in writers:
            assert [value for value in values if value in writer.acknowledged] == writer.acknowledged

    virtual(work(), seed)


def test_the_former_owner_learns_it_with_its_next_append() -> None:
    async def work() -> None:
        store = memory()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        taken = await new.start()
        with pytest.raises(ShardLost):
            await old.role.add(shard, key(), 2)
        assert old.role.unloaded == [1]
        await new.role.add(taken, key(), 4)
        assert await new.role.values(taken, key()) == [1, 4]

    virtual(work())


def test_an_append_that_lands_after_the_seal_is_not_applied() -> None:
    async def work() -> None:
        store = memory()
        faults = Faults(running_loop().entropy)
        old, new = Host(store, "O", faults=faults), Host(store, "N", faults=faults)
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        faults.arm("append", Fault.RAISED)
        lost = old.role.put(shard, key(), 2)
        await passes(0.0001)
        faults.cut("O")
        taken = await new.start()
        await new.role.add(taken, key(), 4)
        await faults.land()
        assert faults.fired[Fault.RAISED] == 1
        faults.mend("O")
        with pytest.raises(ShardLost):
            await shard.durable(lost)
        other = Host(store, "M")
        assert await other.role.values(await other.start(), key()) == [1, 4]

    virtual(work())


def test_an_owner_that_wakes_after_its_segments_were_dropped_can_not_append() -> None:
    async def work() -> None:
        store = memory()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        taken = await new.start()
        await new.role.add(taken, key(), 2)
        await passes(10)
        assert await store.log.read_header(SegmentId(shard.shard_id, 1, 0)) is None
        with pytest.raises(ShardLost):
            await old.role.add(shard, key(), 4)
        assert await new.role.stored_sum(key()) == 3

    virtual(work())


def test_an_epoch_is_drawn_once_even_if_nobody_knows_whether_it_was() -> None:
    async def work() -> None:
        store = memory()
        hosts = [Host(store, name) for name in ("O", "N")]
        (row,) = await create_shards(hosts[0].world)
        for host in hosts:
            host.faults.arm("replace_shard", Fault.DONE, Fault.LOST)
        claims = [await Claim.draw(host.world, row.shard) for host in hosts]
        epochs = [claim.row.epoch for claim in claims]
        assert epochs == sorted(set(epochs))
        assert epochs[0] > 1

    virtual(work())


def test_only_the_newest_claim_moves_the_begin_of_the_log() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        (row,) = await create_shards(host.world)
        older = await Claim.draw(host.world, row.shard)
        newer = await Claim.draw(host.world, row.shard)
        with pytest.raises(ShardLost):
            await older.begin_at(SegmentId(row.shard, 1, 0))
        host.faults.arm("replace_shard", Fault.DONE, Fault.LOST)
        await newer.begin_at(SegmentId(row.shard, 2, 0))
        stored = await store.shards.read_shard(row.shard)
        assert stored is not None
        assert stored.first == SegmentId(row.shard, 2, 0)

    virtual(work())


class _LateShards(MemoryShards):
    """The first change is told late."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Event] = []

    async def replace_shard(self, row: ShardRow) -> bool:
        is_done = await super().replace_shard(row)
        if self.gates:
            await self.gates.pop().wait()
        return is_done


def test_a_claim_that_hears_late_of_a_change_does_not_forget_the_next_one() -> None:
    async def work() -> None:
        store, late, gate = memory(), _LateShards(), asyncio.Event()
        store.shards = late
        host = Host(store)
        (row,) = await create_shards(host.world)
        claim = await Claim.draw(host.world, row.shard)
        late.gates.append(gate)
        async with asyncio.TaskGroup() as group:
            group.create_task(claim.begin_at(SegmentId(row.shard, 1, 0)))
            await passes(0.001)
            await claim.answer_as("host")
            gate.set()
        assert (claim.row.first, claim.row.owner) == (SegmentId(row.shard, 1, 0), "host")
        assert claim.row == await store.shards.read_shard(row.shard)

    virtual(work())


def test_a_slow_taker_does_not_put_the_epoch_back() -> None:
    async def work() -> None:
        store = memory()
        old, slow, fast = Host(store), Host(store, "N1"), Host(store, "N2")
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        slow.faults.arm("open_segment", Fault.LOST, Fault.LOST)
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(_taken(slow, shard.shard_id))
            await passes(0.001)
            taken = await fast.start()
            await fast.role.add(taken, key(), 2)
        assert taking.result() == "lost"
        await fast.role.add(taken, key(), 4)
        assert await fast.role.values(taken, key()) == [1, 2, 4]

    virtual(work())


async def _taken(host: Host, shard: str) -> str:
    try:
        await take(host.world, await draw(host.world, shard))
    except ShardLost:
        return "lost"
    return "taken"


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.LATE, Fault.SLOW, Fault.REFUSED])
@pytest.mark.parametrize(
    "operation",
    [
        "read_shard",
        "replace_shard",
        "open_segment",
        "read_header",
        "link",
        "read_groups",
        "count_offers",
        "read_timers",
        "read_snapshot",
    ],
)
def test_a_take_over_survives_any_outcome_of_any_step(operation: str, fault: Fault) -> None:
    async def work() -> None:
        store = memory()
        old = Host(store, options=SMALL)
        shard = await old.start()
        for value in (1, 2, 4):
            await old.role.add(shard, key(), value)
        old.faults.cut("O")
        new = Host(store, "N", SMALL)
        new.faults.arm(operation, fault, fault)
        await new.shards.start()
        await passes(5)
        taken = new.shards.by_slot(0)
        await new.role.add(taken, key(), 8)
        assert await new.role.values(taken, key()) == [1, 2, 4, 8]
        assert new.faults.fired[fault] >= 1

    virtual(work())


class DroppedLog(MemoryLog):
    """What is to be read of it is dropped before, by a newer owner."""

    def __init__(self) -> None:
        super().__init__()
        self.overtake: Callable[[], Awaitable[None]] | None = None

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            await overtake()
            await self.drop_segment(segment)
        return await super().read_groups(segment, after, limit)


def test_a_log_that_a_newer_owner_has_dropped_is_not_taken_for_a_broken_one() -> None:
    async def work() -> None:
        store = MemoryStore()
        store.log = log = DroppedLog()
        old, slow, fast = Host(store), Host(store, "N1"), Host(store, "N2")
        shard = await old.start()
        await old.role.add(shard, key(), 1)

        async def overtake() -> None:
            assert await _taken(fast, shard.shard_id) == "taken"

        log.overtake = overtake
        assert await _taken(slow, shard.shard_id) == "lost"

    virtual(work())


class SickLog(MemoryLog):
    """Answers reads with what `sick` makes of the groups, for one shard."""

    def __init__(self) -> None:
        super().__init__()
        self.sick_shard = ""
        self.is_rotten = False

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        groups = await super().read_groups(segment, after, limit)
        if segment.shard != self.sick_shard:
            return groups
        if self.is_rotten:
            return [Group(group.n, group.body[:-1] + b"\0", group.ceiling_us) for group in groups]
        return [group for group in groups if group.n % 2]


@pytest.mark.parametrize("is_rotten", [True, False])
def test_a_log_that_can_not_be_read_stops_its_shard_and_no_other(is_rotten: bool) -> None:
    async def work() -> None:
        store = MemoryStore()
        store.log = log = SickLog()
        options = ShardOptions(shards=2)
        old = Host(store, options=options)
        shard = await old.start()
        for value in range(3):
            await old.role.add(shard, key(), value)
        log.sick_shard, log.is_rotten = shard.shard_id, is_rotten
        new = Host(store, "N", options)
        await new.shards.start()
        await passes(100)
        with pytest.raises(Unavailable, match="log"):
            new.shards.by_slot(0)
        assert new.shards.by_slot(65_535).epoch == 2
        assert new.shards.by_id(new.shards.by_slot(65_535).shard_id) in new.shards.owned()

    virtual(work())


def test_the_time_of_a_shard_never_goes_back() -> None:
    async def work() -> None:
        store = memory()
        old, new = Host(store), Host(store, "N")
        old.clock.offset_ns = 3_600_000_000_000
        shard = await old.start()
        await old.role.add(shard, key(), 1)
        before = shard.now_ns()
        await old.shards.stop()
        taken = await new.start()
        assert taken.now_ns() >= before > new.clock.now_ns()

    virtual(work())


def test_a_released_shard_leaves_nothing_to_replay() -> None:
    async def work() -> None:
        store = memory()
        old, new = Host(store), Host(store, "N")
        shard = await old.start()
        for value in range(10):
            await old.role.add(shard, key(str(value)), value)
        await old.shards.stop()
        with pytest.raises(ShardElsewhere):
            old.role.put(shard, key(), 1)
        taken = await take(new.world, await draw(new.world, shard.shard_id))
        assert not taken.records
        assert len(taken.start.behind) == 1
        assert await new.role.stored_sum(key("7")) == 7

    virtual(work())
