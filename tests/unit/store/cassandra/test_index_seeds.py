"""Offers and timers by the minute, under every interleaving that chance finds: owners that follow one another on two
processes, writes of unknown outcome that land late, whole checkpoints of owners that have lost the shard, readers in
between.
"""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from perdure.base.errors import Unavailable
from perdure.base.slots import ChainKey, SlotRange
from perdure.store.cassandra import buckets
from perdure.store.cassandra.buckets import FIRST_LOOK_US, Books
from perdure.store.cassandra.index import CassandraIndex, IndexWrite
from perdure.store.cassandra.session import Session
from perdure.store.contract import Checkpoint, Home
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import VirtualClock, run_virtual, running_loop
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer, TimerKind, partition_of
from tests.unit.shards.fakes import passes
from tests.unit.store.cassandra.cells import Cells

HOME = Home("shard", SlotRange())
QUEUES = [QueueKey("ns", name, QueueKind.ACTIVITY) for name in ("a", "b")]
MINUTE_NS = 60_000_000_000

Task = Offer | Timer


def _tasks() -> list[Task]:
    tasks: list[Task] = []
    for number in range(14):
        time_ns = (number % 6 // 2) * MINUTE_NS + number
        key = ChainKey("ns", f"w{number}")
        queue = QUEUES[number % 2]
        tasks.append(Offer(key, f"r{number}", queue, 5, 1, 0, time_ns, priority=3 + number // 7))
        tasks.append(Timer(time_ns, key, f"r{number}", TimerKind.USER, 5))
    return tasks


TASKS = _tasks()


class Shard:
    """What every owner of the shard would know from its log: what is outstanding, and what the rows may not say."""

    def __init__(self, chance: SeededEntropy) -> None:
        self.chance = chance
        self.cells = Cells(chance)
        self.wanted: set[Task] = set()
        self.doubtful: set[Task] = set()  # changed since it was last checkpointed for certain
        self.stamp_us = 0
        self.owner = 0

    def change(self) -> None:
        task = TASKS[self.chance.below(len(TASKS))]
        if task in self.wanted or not self.chance.below(3):
            self.wanted ^= {task}
        self.doubtful.add(task)


class Owner:
    """One tenure of a shard in a process."""

    def __init__(self, shard: Shard, index: CassandraIndex) -> None:
        shard.owner += 1
        self.number = shard.owner
        self.shard = shard
        self.index = index
        self.moving: set[Task] = set()
        self.ceiling_us = shard.stamp_us

    @property
    def is_owner(self) -> bool:
        return self.number == self.shard.owner

    async def take(self) -> None:
        self.index.adopt(HOME)
        while True:
            try:
                counts = await self.index.count_offers(HOME)
                break
            except Unavailable:
                continue
        settled = {task for task in self.shard.wanted - self.shard.doubtful if isinstance(task, Offer)}
        for queue in QUEUES:
            least = sum(partition_of(task) == queue for task in settled)
            most = least + sum(isinstance(task, Offer) and partition_of(task) == queue for task in self.shard.doubtful)
            assert least <= sum(count.count for count in counts if count.queue == queue) <= most

    async def checkpoint(self) -> None:
        """Some of what is in doubt, until it is certain or the shard is lost."""
        shard = self.shard
        shard.stamp_us += 1 + shard.chance.below(180_000_000)
        self.moving = {task for task in shard.doubtful if shard.chance.below(3)}
        written = self._rows(shard.stamp_us)
        before = set(shard.wanted)
        while True:
            if await self._write(written):
                break
            if not self.is_owner:
                return
            if not shard.chance.below(8):
                shard.cells.land()
        if self.is_owner:
            shard.doubtful -= {task for task in self.moving if (task in before) == (task in shard.wanted)}
        self.moving = set()

    def _rows(self, stamp_us: int) -> Checkpoint:
        added = sorted(self.moving & self.shard.wanted, key=repr)
        removed = sorted(self.moving - self.shard.wanted, key=repr)
        return Checkpoint(
            stamp_us,
            HOME,
            [],
            [],
            [],
            [],
            [task for task in added if isinstance(task, Offer)],
            [task for task in removed if isinstance(task, Offer)],
            [task for task in added if isinstance(task, Timer)],
            [task for task in removed if isinstance(task, Timer)],
        )

    async def _write(self, checkpoint: Checkpoint) -> bool:
        index = self.index.begin(checkpoint)
        is_durable = False
        try:
            await index.find_empty()
            await self.shard.cells.all(index.statements())
            is_durable = True
        except Unavailable:
            return False
        finally:
            index.end(is_durable=is_durable)
        return True

    async def check(self) -> None:
        """What is read is what is settled, in order, each once; what is in doubt may be there or not."""
        mark = set(self.shard.doubtful) | self.moving
        before = set(self.shard.wanted)
        try:
            timers = await self._timers()
            offers = [offer for queue in QUEUES for offer in await self._offers(queue)]
        except Unavailable:
            return
        doubtful = mark | self.shard.doubtful | self.moving
        assert {*offers, *timers} - doubtful == before - doubtful

    async def _offers(self, queue: QueueKey) -> list[Offer]:
        found: list[Offer] = []
        limit = 1 + self.shard.chance.below(5)
        while page := await self.index.read_offers(HOME, queue, found[-1] if found else None, limit):
            assert len(page) <= limit
            found += page
            if len(page) < limit:
                break
        orders = [offer.order for offer in found]
        assert orders == sorted(set(orders))
        return found

    async def _timers(self) -> list[Timer]:
        found: list[Timer] = []
        while page := await self.index.read_timers(HOME, found[-1] if found else None, 4):
            found += page
        assert [timer.due_ns for timer in found] == sorted(timer.due_ns for timer in found)
        return found


async def _serve(shard: Shard, owner: Owner, group: asyncio.TaskGroup) -> None:
    for _ in range(shard.chance.below(30)):
        for _ in range(shard.chance.below(6)):
            shard.change()
        writing = group.create_task(owner.checkpoint())
        if shard.chance.below(2):
            await passes(shard.chance.below(4) * 0.001)
            await owner.check()
        if not shard.chance.below(12):
            return  # it goes on, and another owner takes the shard
        await writing
        if not shard.chance.below(6):
            owner.index.books = Books()  # nobody used the home for long
        await owner.check()
        shard.cells.land()


async def _play(seed: int) -> int:
    chance = SeededEntropy(seed)
    shard = Shard(chance)
    shard.cells.is_faulty = seed % 3 > 0
    clock = VirtualClock(running_loop())
    indexes = [CassandraIndex(cast(Session, shard.cells), clock) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            owner = Owner(shard, indexes[chance.below(2)])
            await owner.take()
            await _serve(shard, owner, group)
    shard.cells.is_faulty = False
    shard.cells.land(every=True)
    last = Owner(shard, indexes[0])
    await last.take()
    await last.check()
    return sum(cql.startswith("DELETE FROM timer_bucket") for cql in shard.cells.writes)


@pytest.mark.parametrize("block", range(4))
def test_what_is_settled_is_read_exactly_whoever_owns_the_shard(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "TRIM_ROWS", 1 + block)
    dropped = sum(run_virtual(_play(seed), seed) for seed in range(block * 25, block * 25 + 25))
    assert dropped > 100


def test_a_drop_spares_a_minute_before_it_that_only_its_own_checkpoint_knows_of() -> None:
    async def play() -> None:
        shard = Shard(SeededEntropy(1))
        clock = VirtualClock(running_loop())
        index = CassandraIndex(cast(Session, shard.cells), clock)
        key = ChainKey("ns", "w")
        first, second = (Timer(minute * MINUTE_NS, key, "r", TimerKind.USER) for minute in (0, 1))
        await _send(shard, index.begin(_timers(10, added=[second])))
        await _send(shard, index.begin(_timers(20, removed=[second])))
        writing = index.begin(_timers(20 + FIRST_LOOK_US, added=[first]))
        assert await index.read_timers(HOME, None, 9) == []  # the directory, as it is before that is written
        await _send(shard, writing)
        assert any(cql.startswith("DELETE FROM timer_bucket") for cql in shard.cells.writes)
        assert await CassandraIndex(cast(Session, shard.cells), clock).read_timers(HOME, None, 9) == [first]

    run_virtual(play())


async def _send(shard: Shard, writing: IndexWrite) -> None:
    await writing.find_empty()
    await shard.cells.all(writing.statements())
    writing.end(is_durable=True)


def _timers(stamp_us: int, added: Sequence[Timer] = (), removed: Sequence[Timer] = ()) -> Checkpoint:
    return Checkpoint(stamp_us, HOME, [], [], [], [], [], [], list(added), list(removed))
