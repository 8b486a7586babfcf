"""Hosts without a controller, for reshaping: each step of theirs is made by the test, and can be the last."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from perdure.base.errors import StoreUnavailable, Unavailable
from perdure.base.slots import ChainKey
from perdure.shards.acquire import create_shards, draw, take
from perdure.shards.claim import ShardRetired
from perdure.shards.options import ShardOptions, World
from perdure.shards.reshaping import parts_of, reshape, whole_of
from perdure.shards.shard import OwnedShard
from perdure.shards.tenure import Sole
from perdure.store.contract import OutcomeUnknown, Store
from perdure.store.memory import MemoryStore
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import VirtualClock, running_loop
from perdure.testing.store_faults import Faults
from perdure.workflow.tasks import Task
from tests.unit.shards.fakes import AddingRole, passes

T = TypeVar("T")


class Steps(Faults):
    """Faults by number: what befalls the `at`-th operation (from 1) after `arm`.

    `deed`: "die" (nothing gets through any more, before or "after" it), "lost" and "done" (the outcome is not known; it
    was not, or was done), "refused", "stop" (it waits for `go`), "stop after" (it was done, and waits for `go`,
    when its outcome isn't known).
    """

    def __init__(self) -> None:
        super().__init__(running_loop().entropy.fork("steps"))
        self.count = 0
        self.at = 0
        self.deed = ""
        self.is_dead = False
        self.stopped = asyncio.Event()
        self.go = asyncio.Event()

    def arm(self, at: int, deed: str) -> None:  # type: ignore[override]  # by number, not by operation
        self.count, self.at, self.deed = 0, at, deed

    async def perform(
        self,
        operation: str,
        do: Callable[[], Awaitable[T]],
        *,
        host: str = "",
        write: bool = False,
        part: Callable[[], Awaitable[object]] | None = None,
        place: object = None,
    ) -> T:
        if self.is_dead:
            raise OutcomeUnknown("The host is dead.")
        self.count += 1
        if not self.at or self.count != self.at:
            return await do()
        if self.deed == "refused":
            raise StoreUnavailable("Refused.")
        if self.deed == "lost":
            raise OutcomeUnknown("Lost.")
        if self.deed == "stop":
            self.stopped.set()
            await self.go.wait()
            return await do()
        if self.deed == "stop after":
            await do()
            self.stopped.set()
            await self.go.wait()
            raise OutcomeUnknown("Done.")
        self.is_dead = self.deed.startswith("die")
        if self.deed != "die":
            await do()
        raise OutcomeUnknown("Done, or dead.")


class _Named(Sole):
    """Nobody has to be outlived: of a host that a test stops, only commits are looked at."""

    def __init__(self, host: str) -> None:
        self.host = host


class Keeper:
    """A host. `acknowledged`: by chain what it was told to add and has said to have."""

    def __init__(
        self, inner: Store, name: str, acknowledged: dict[ChainKey, list[int]], inherit_interval_s: float = 0.05
    ) -> None:
        self.faults = Steps()
        self.store = FaultyStore(inner, self.faults, name)
        self.role = AddingRole(self.store)
        loop = running_loop()
        options = ShardOptions(
            shards=2,
            checkpoint_age_s=0.2,
            audit_interval_s=1e6,
            retry_max_s=0.05,
            inherit_interval_s=inherit_interval_s,
        )
        self.world = World(
            self.store, self.role, VirtualClock(loop), loop.entropy.fork(name), options, tenure=_Named(name)
        )
        self.owned: dict[str, OwnedShard] = {}
        self.acknowledged = acknowledged

    async def take_all(self) -> None:
        """Take all shards, as often as the map changes meanwhile."""
        while True:
            rows = await create_shards(self.world)
            try:
                for row in rows:
                    if row.shard not in self.owned:
                        await self.take(row.shard)
                return
            except ShardRetired:
                continue

    async def take(self, shard_id: str) -> None:
        """Take one shard."""
        taken = await take(self.world, await draw(self.world, shard_id))
        shard = OwnedShard(self.world, taken, self._lost)
        await shard.recover()
        assert not shard.is_lost
        self.owned[shard_id] = shard

    def _lost(self, shard: OwnedShard) -> None:
        self.owned.pop(shard.shard_id, None)

    def of(self, chain: ChainKey) -> OwnedShard:
        """The shard of a chain."""
        [shard] = [shard for shard in self.owned.values() if chain.slot in shard.slots]
        return shard

    async def add(self, chain: ChainKey, value: int, *tasks: Task) -> None:
        """Add a number, and say so once it is durable."""
        await self.role.add(self.of(chain), chain, value, *tasks)
        self.acknowledged.setdefault(chain, []).append(value)

    async def end(self, chain: ChainKey, value: int, removed: Iterable[Task]) -> None:
        """Add a number and take tasks away."""
        shard = self.of(chain)
        await self.role.values(shard, chain)
        await shard.durable(self.role.put(shard, chain, value, removed=list(removed)))
        self.acknowledged.setdefault(chain, []).append(value)

    async def split(self, shard: OwnedShard, parts: int) -> None:
        await self._reshape([shard], parts)

    async def merge(self, shards: Sequence[OwnedShard]) -> None:
        await self._reshape(shards, 1)

    async def _reshape(self, parents: Sequence[OwnedShard], parts: int) -> None:
        slots = parents[0].slots if len(parents) == 1 else whole_of([parent.slots for parent in parents])
        await reshape(self.world, parents, parts_of(slots, parts) if parts > 1 else [slots])
        for parent in parents:
            await parent.close()
        await self.take_all()

    async def settle(self) -> None:
        """Wait until no shard inherits any more."""
        while any(shard.claim.row.inherits for shard in self.owned.values()):
            await passes(0.1)

    async def stop(self) -> None:
        """Give everything up, without a last checkpoint."""
        for shard in list(self.owned.values()):
            shard.fail("The process ends.")
            await shard.close()

    async def verify(self) -> None:
        """Whoever says it has everything has it."""
        for chain, values in self.acknowledged.items():
            found = await self.role.values(self.of(chain), chain)
            assert [value for value in found if value] == values


async def heirs_of(inner: Store, keeper: Keeper) -> Keeper:
    """Another host takes everything, and finds what was acknowledged."""
    heir = Keeper(inner, "heir", keeper.acknowledged)
    await heir.take_all()
    standing = await inner.shards.read_map()
    assert standing is not None
    rows = await inner.shards.list_shards()
    assert [row.slots.first for row in rows] == [0, *(row.slots.end for row in rows[:-1])]
    assert rows[-1].slots.end == 65_536
    assert sorted(heir.owned) == sorted(shard for _, shard in standing.shards)
    await heir.verify()
    return heir


def shared() -> MemoryStore:
    """Index rows lie by shard, as in Cassandra."""
    return MemoryStore(VirtualClock(running_loop()), is_shared=True)


def unavailable(error: BaseException | None) -> bool:
    """Whether that is what a host may be told whose reshaping comes to nothing."""
    return error is None or isinstance(error, Unavailable)
