"""The shards of this process: its share is taken at start, lost ones again after a while, all are released at the end.

Invariant: at most one `OwnedShard` per shard serves here, and it is the one of the newest epoch. A shard whose log
can't be read stays away, with the reason, until the process is started again. On a shared store whoever starts takes
the shards of its share from those who have them; who lost one to a living process stands by until that is gone.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Mapping

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import PerdureError, Unavailable
from perdure.base.framing import CorruptFrame
from perdure.base.tasks import Background
from perdure.cluster.lease import Lease
from perdure.shards.acquire import create_shards, draw, take
from perdure.shards.contract import Executions
from perdure.shards.groups import CorruptLog
from perdure.shards.leased import Leased, lease_options
from perdure.shards.measured import ShardMeters
from perdure.shards.options import ShardOptions, World
from perdure.shards.overdue import OverdueWalk, Retentions
from perdure.shards.shard import OwnedShard
from perdure.shards.sweeping import Sweeper
from perdure.store.contract import ShardRow, Store

log = structlog.get_logger(__name__)


def _unheard(is_here: bool) -> None:
    """Nobody wants to know."""


class _Place:
    """Where a shard is, if it is here; else why it is not. `taking`: the one that is going to be here. `epoch`: the
    newest that was drawn here, 0 if none was.
    """

    __slots__ = ("attempt", "epoch", "reason", "row", "shard", "taking")

    def __init__(self, row: ShardRow) -> None:
        self.row = row
        self.shard: OwnedShard | None = None
        self.taking: OwnedShard | None = None
        self.reason = "The shard is being taken."
        self.attempt = 0
        self.epoch = 0


class Shards:
    """`executions` is what the history role gives; `start` before use, `stop` at the end. `retentions`: without them
    nothing looks for runs that are overdue.
    """

    def __init__(
        self,
        store: Store,
        executions: Executions,
        clock: Clock,
        entropy: Entropy,
        options: ShardOptions | None = None,
        meters: ShardMeters | None = None,
        retentions: Retentions | None = None,
    ) -> None:
        world = World(store, executions, clock, entropy, options or ShardOptions(), meters or ShardMeters())
        if store.is_shared:
            lease = Lease(store.leases, clock, entropy, lease_options(world.options))
            lease.add_holder(self)
            world = msgspec.structs.replace(world, tenure=Leased(world, lease))
        self._world = world
        self._room = asyncio.Semaphore(self._world.options.acquire_parallel)
        self._places: list[_Place] = []
        self._firsts: list[int] = []
        self._by_id: dict[str, _Place] = {}
        self._background = Background(self._failed)
        self._is_stopping = False
        self._sought: dict[str, None] = {}
        self._none_sought = asyncio.Event()
        # Called when the first shard has come, and when the last one is gone.
        self.on_presence: Callable[[bool], None] = _unheard
        self._sweeper = Sweeper(self._world, self.owned, self._background)
        self._overdue = OverdueWalk(self._world, self, retentions, self._background) if retentions else None

    async def start(self) -> None:
        """Take the shards of its share, made first if the store has none; some at a time. Returns when each was tried
        once, and goes on with those that could not be taken. Raises StoreUnavailable if there is no reaching the store.
        """
        begun_ns = self._world.clock.monotonic_ns()
        first, step = self._world.options.share
        rows = (await create_shards(self._world))[first::step]
        self._places = [_Place(row) for row in rows]
        self._firsts = [row.slots.first for row in rows]
        self._by_id = {place.row.shard: place for place in self._places}
        self._sought = dict.fromkeys(self._by_id)
        if not self._sought:
            self._none_sought.set()
        await self._world.tenure.begin()
        async with asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(self._take(place))
        self._sweeper.start()
        if self._overdue is not None:
            self._overdue.start()
        self._world.meters.start.observe((self._world.clock.monotonic_ns() - begun_ns) / SECOND_NS)

    async def settled(self) -> None:
        """Return when each shard of the share has been here, or is kept away by more than the store."""
        await self._none_sought.wait()

    def by_slot(self, slot: int) -> OwnedShard:
        """The shard of a slot. Raises Unavailable while this process does not have it."""
        index = bisect_right(self._firsts, slot) - 1
        return self._found(self._places[index] if index >= 0 and slot in self._places[index].row.slots else None)

    def by_id(self, shard: str) -> OwnedShard:
        """A shard by its id. Raises Unavailable while this process does not have it."""
        return self._found(self._by_id.get(shard))

    def _found(self, place: _Place | None) -> OwnedShard:
        if place is None:
            raise Unavailable("The shard is not here.")
        if place.shard is None:
            raise Unavailable(place.reason)
        return place.shard

    def owned(self) -> list[OwnedShard]:
        """All shards that are here now."""
        return [place.shard for place in self._places if place.shard is not None]

    async def stop(self) -> None:
        """Release all shards, each with a last checkpoint; returns in bounded time."""
        self._is_stopping = True
        await self._background.close()
        async with asyncio.TaskGroup() as group:
            for shard in self.owned():
                group.create_task(shard.stop())
        await self._world.tenure.end()

    def revoked(self, epochs: Mapping[str, int]) -> None:
        """`perdure.cluster.lease.Holder`."""
        for shard, epoch in epochs.items():
            place = self._by_id.get(shard)
            for owned in (place.shard, place.taking) if place is not None else ():
                if owned is not None and owned.epoch < epoch:
                    owned.fail("Another host has taken the shard.")

    def evicted(self) -> None:
        """`perdure.cluster.lease.Holder`."""
        for place in self._places:
            for owned in (place.shard, place.taking):
                if owned is not None:
                    owned.fail("This host has lost its lease.")

    async def _take(self, place: _Place) -> None:
        """One attempt; another is scheduled if it fails."""
        shard: OwnedShard | None = None
        begun_ns = self._world.clock.monotonic_ns()
        try:
            drawn = await draw(self._world, place.row.shard)
            place.epoch = drawn.claim.row.epoch
            async with self._room:
                shard = place.taking = OwnedShard(self._world, await take(self._world, drawn), self._lost)
                await shard.recover()
        except PerdureError as error:
            place.reason = error.message
            if shard is not None:
                shard.fail(error.message)
                await shard.close()
            if isinstance(error, CorruptLog | CorruptFrame):
                log.exception("shard stays away", shard=place.row.shard, error=error.message)
                self._no_longer_sought(place)
            else:
                log.warning("shard not taken", shard=place.row.shard, error=error.message)
                self._again(place)
            return
        except asyncio.CancelledError:
            if shard is not None:
                shard.fail("The process stops.")
                await shard.close()
            raise
        except Exception:
            # A defect in taking one shard must keep neither the others nor the process from serving.
            place.reason = "The shard can't be taken."
            if shard is not None:
                shard.fail(place.reason)
                await shard.close()
            log.exception("shard not taken", shard=place.row.shard)
            self._no_longer_sought(place)
            self._again(place)
            return
        finally:
            place.taking = None
        if shard.is_lost:
            await shard.close()
            self._again(place)
            return
        place.attempt = 0
        is_first = not self.owned()
        place.shard = shard
        if is_first:
            self.on_presence(True)
        self._no_longer_sought(place)
        meters = self._world.meters
        meters.created.inc()
        meters.acquisition.observe((self._world.clock.monotonic_ns() - begun_ns) / SECOND_NS)

    def _no_longer_sought(self, place: _Place) -> None:
        self._sought.pop(place.row.shard, None)
        if not self._sought:
            self._none_sought.set()

    def _lost(self, shard: OwnedShard) -> None:
        place = self._by_id[shard.shard_id]
        if place.shard is not shard:
            return
        place.shard = None
        place.reason = shard.log.failure or "The shard was lost."
        self._world.meters.removed.inc()
        self._world.meters.closed.inc()
        if not self.owned():
            self.on_presence(False)
        if not self._is_stopping:
            self._background.spawn(self._replace(shard, place), "closing a lost shard")

    async def _replace(self, shard: OwnedShard, place: _Place) -> None:
        self._world.tenure.hurry()
        await shard.close()
        self._again(place)

    def _again(self, place: _Place) -> None:
        if self._is_stopping:
            return
        options = self._world.options
        place.attempt += 1
        full = min(options.reacquire_max_s, options.reacquire_first_s * (1 << min(place.attempt - 1, 16)))
        self._background.spawn(self._later(place, full * (1 - self._world.entropy.fraction() / 2)), "taking a shard")

    async def _later(self, place: _Place, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            if place.epoch:  # else it was never tried: whoever starts takes
                await self._world.tenure.until_free(place.row.shard, place.epoch)
        except Unavailable as error:
            place.reason = error.message
            self._again(place)
        else:
            await self._take(place)

    def _failed(self, error: BaseException) -> None:
        log.error("taking a shard failed", exc_info=error)
