"""A role that adds up numbers, so that a transition lost or applied twice shows, and hosts that share one store."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import msgspec

from perdure.base.errors import Bug, PerdureError, ShardLost
from perdure.base.slots import ChainKey
from perdure.shards.acquire import create_shards
from perdure.shards.contract import ChainRows, Shard, Transition
from perdure.shards.controller import Shards
from perdure.shards.measured import ShardMeters
from perdure.shards.options import ShardOptions, World
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Home, Snapshot, Store
from perdure.store.memory import MemoryStore
from perdure.testing.entropy import SeededEntropy
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import VirtualClock, run_virtual, running_loop
from perdure.testing.store_faults import Faults
from perdure.workflow.tasks import (
    Backlog,
    Effect,
    EffectKind,
    Offer,
    QueueKey,
    QueueKind,
    Task,
    Timer,
    TimerKind,
)

RUN = "run"
QUEUE = QueueKey("ns", "queue", QueueKind.WORKFLOW)


def home_of(shard: OwnedShard) -> Home:
    """Whose rows a shard's index rows are."""
    return Home(shard.shard_id, shard.slots)


class Deed(msgspec.Struct, array_like=True):
    """A record: add `value` to the chain's sum; its tasks change."""

    key: ChainKey
    value: int
    added: list[Offer | Timer | Effect]
    removed: list[Offer | Timer | Effect]


class Chain(msgspec.Struct):
    key: ChainKey
    values: list[int]
    tasks: list[Offer | Timer | Effect]
    position: int = 0
    stored: set[Task] = set()


_deeds = msgspec.msgpack.Decoder(Deed)


class AddingRole:
    """`Executions` over chains of numbers. `broken` are chains that can be neither replayed nor written."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.chains: dict[str, dict[ChainKey, Chain]] = {}
        self.fired: list[tuple[Timer, int]] = []
        self.offered: list[Offer] = []
        self.backlogs: list[Backlog] = []
        self.withdrawn: list[Offer] = []
        self.performed: list[Effect] = []
        self.unloaded: list[int] = []
        self.broken: set[ChainKey] = set()
        self.asked: list[ChainKey] = []
        self.errors: dict[str, list[Exception]] = {}
        self.forgetful = False  # forgets to remove a timer that it fired

    def fail(self, method: str, *errors: Exception) -> None:
        """The next calls of `method` raise these."""
        self.errors.setdefault(method, []).extend(errors)

    def _raise(self, method: str) -> None:
        errors = self.errors.get(method)
        if errors:
            raise errors.pop(0)

    def chain(self, shard: Shard, key: ChainKey) -> Chain:
        chains = self.chains.setdefault(shard.shard_id, {})
        if key not in chains:
            assert shard.epoch == 1, "only the first owner knows that a chain is new without looking"
            chains[key] = Chain(key, [], [])
        return chains[key]

    async def values(self, shard: Shard, key: ChainKey) -> list[int]:
        """What was added to the chain so far; loads it."""
        chains = self.chains.setdefault(shard.shard_id, {})
        if key not in chains:
            chain = await self._load(key)
            if self.chains.get(shard.shard_id) is not chains:
                raise ShardLost("lost while loading")
            chains.setdefault(key, chain)
        return chains[key].values

    def put(
        self,
        shard: Shard,
        key: ChainKey,
        value: int,
        added: Iterable[Task] = (),
        removed: Iterable[Task] = (),
        urgent: bool = False,
    ) -> int:
        """Append one deed and adopt it; returns its position."""
        deed = Deed(key, value, list(added), list(removed))
        expected = shard.next_position
        transition = Transition(key, msgspec.msgpack.encode(deed), deed.added, deed.removed)
        position = shard.append(transition, urgent=urgent)
        assert position == expected
        self._apply(self.chain(shard, key), deed, position)
        return position

    async def add(self, shard: Shard, key: ChainKey, value: int, *tasks: Task) -> int:
        """As `put`, and wait until it is durable."""
        await self.values(shard, key)
        position = self.put(shard, key, value, tasks)
        await shard.durable(position)
        return position

    def _apply(self, chain: Chain, deed: Deed, position: int) -> None:
        chain.values.append(deed.value)
        chain.tasks = [task for task in chain.tasks if task not in deed.removed] + deed.added
        chain.position = position

    async def recover(self, shard: Shard, records: Sequence[tuple[int, bytes]]) -> dict[ChainKey, list[Task] | None]:
        self._raise("recover")
        chains = self.chains[shard.shard_id] = {}
        for position, body in records:
            deed = _deeds.decode(body)
            chain = chains.get(deed.key)
            if chain is None:
                chain = chains[deed.key] = await self._load(deed.key)
            chain.stored.update(deed.added)
            if position > chain.position and deed.key not in self.broken:
                self._apply(chain, deed, position)
        return {key: list(chain.tasks) if key not in self.broken else None for key, chain in chains.items()}

    async def _load(self, key: ChainKey) -> Chain:
        snapshot = await self.store.checkpoints.read_snapshot(key, RUN)
        if snapshot is None or snapshot.body is None:
            return Chain(key, [], [])
        chain = msgspec.msgpack.decode(snapshot.body, type=Chain)
        assert chain.position == snapshot.applied
        chain.stored = set(chain.tasks)
        return chain

    async def stored_sum(self, key: ChainKey) -> int:
        """What the newest checkpoint says."""
        return sum((await self._load(key)).values)

    def rows(self, shard: Shard, key: ChainKey) -> ChainRows:
        if key in self.broken:
            raise PerdureError("quarantined")
        chain = self.chains[shard.shard_id][key]
        wanted = {task for task in chain.tasks if not isinstance(task, Effect)}
        added, removed = wanted, chain.stored - wanted
        chain.stored = set(wanted)
        slim = Chain(key, chain.values, chain.tasks, chain.position)
        return ChainRows(
            chain.position,
            [Snapshot(key, RUN, chain.position, msgspec.msgpack.encode(slim))],
            [],
            [],
            [],
            [task for task in added if isinstance(task, Offer)],
            [task for task in removed if isinstance(task, Offer)],
            [task for task in added if isinstance(task, Timer)],
            [task for task in removed if isinstance(task, Timer)],
        )

    def checkpointed(self, shard: Shard, key: ChainKey, rows: ChainRows) -> None:
        assert rows.snapshots[0].key == key

    def unload(self, shard: Shard) -> None:
        self.unloaded.append(shard.epoch)
        self.chains.pop(shard.shard_id, None)

    async def fire(self, shard: Shard, timer: Timer) -> None:
        self._raise("fire")
        await self.values(shard, timer.key)
        self.fired.append((timer, shard.now_ns()))
        if timer in self.chain(shard, timer.key).tasks and not self.forgetful:
            await shard.durable(self.put(shard, timer.key, 0, removed=[timer], urgent=True))

    async def offer(self, shard: Shard, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        self._raise("offer")
        self.offered += offers
        self.backlogs.append(backlog)

    async def withdraw(self, shard: Shard, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        self._raise("withdraw")
        self.withdrawn += offers

    async def perform(self, shard: Shard, effects: Sequence[Effect]) -> None:
        self._raise("perform")
        self.performed += effects

    def audit(self, shard: Shard, limit: int) -> dict[ChainKey, list[Task]]:
        found = self.chains.get(shard.shard_id, {})
        return {key: list(chain.tasks) for key, chain in list(found.items())[:limit]}

    async def left_of(self, shard: Shard, key: ChainKey, run_id: str, start_ns: int) -> Timer | Effect | None:
        """A chain without numbers is gone; its retention is a timer of that kind."""
        if key in self.broken:
            raise Bug("quarantined")
        self._raise("left_of")
        self.asked.append(key)
        if not await self.values(shard, key):
            return Effect(key, run_id, EffectKind.VISIBILITY_DELETE, 2**62, start_ns)
        timers = [task for task in self.chain(shard, key).tasks if isinstance(task, Timer)]
        return next((timer for timer in timers if timer.kind == TimerKind.RETENTION), None)


class Host:
    """One process: its view of the shared store, its role, its shards."""

    def __init__(
        self, inner: Store, name: str = "O", options: ShardOptions | None = None, faults: Faults | None = None
    ) -> None:
        loop = running_loop()
        self.faults = faults or Faults(loop.entropy.fork(f"faults {name}"))
        self.store = FaultyStore(inner, self.faults, name)
        self.clock = VirtualClock(loop)
        self.role = AddingRole(self.store)
        entropy: SeededEntropy = loop.entropy.fork(name)
        self.options = options or ShardOptions(shards=1)
        self.world = World(self.store, self.role, self.clock, entropy, self.options)
        self.meters = ShardMeters()
        self.shards = Shards(self.store, self.role, self.clock, entropy, self.options, self.meters)

    async def start_with(self, *places: int) -> None:
        """Take some shards, by their place among all."""
        rows = await create_shards(self.world)
        self.shards.assign({rows[place].shard for place in places}, 1)
        await self.shards.start()

    async def start(self) -> OwnedShard:
        """Take everything; the shard of slot 0."""
        await self.shards.start()
        return self.shards.by_slot(0)


def key(name: str = "wf") -> ChainKey:
    return ChainKey("ns", name)


def offer(number: int = 1, name: str = "wf", *, queue: QueueKey = QUEUE, time_ns: int = 0, priority: int = 3) -> Offer:
    return Offer(key(name), RUN, queue, number, 1, 0, time_ns, priority=priority)


def timer(due_ns: int, name: str = "wf", number: int = 1) -> Timer:
    return Timer(due_ns, key(name), RUN, TimerKind.USER, number)


def effect(version: int = 1, name: str = "wf") -> Effect:
    return Effect(key(name), RUN, EffectKind.VISIBILITY, version)


def virtual(work: Coroutine[Any, Any, None], seed: int = 0) -> None:
    run_virtual(work, seed)


async def passes(seconds: float) -> None:
    """Virtual time goes on."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done


def memory() -> MemoryStore:
    return MemoryStore(VirtualClock(running_loop()))
