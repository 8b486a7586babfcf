"""The shards of this process: it takes those that it is told are its own, and keeps others until it is asked for them.

Invariant: at most one `OwnedShard` per shard serves here, and it is the one of the newest epoch. What it is told is a
wish: who owns a shard the store decides. A shard whose log can't be read stays away, with the reason, until the process
is started again. A process that nobody tells wants all shards: its store is its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import FailedPrecondition, PerdureError, ShardElsewhere
from perdure.base.framing import CorruptFrame
from perdure.base.tasks import Background
from perdure.cluster.lease import Lease
from perdure.cluster.shard_host import ShardView
from perdure.shards.acquire import create_shards
from perdure.shards.claim import ShardRetired
from perdure.shards.contract import Executions
from perdure.shards.groups import CorruptLog
from perdure.shards.leased import Leased, lease_options
from perdure.shards.leaving import Leaving
from perdure.shards.map_changes import MapChanges
from perdure.shards.measured import ShardMeters
from perdure.shards.moving import Moving
from perdure.shards.neighbours import Alone, Neighbours, OwnerOf, nobody
from perdure.shards.options import ShardOptions, World
from perdure.shards.overdue import OverdueWalk, Retentions
from perdure.shards.places import Place, Places
from perdure.shards.shard import OwnedShard
from perdure.shards.sweeping import Sweeper
from perdure.store.contract import ShardMap, Store
from perdure.workflow.tasks import QueueKey

log = structlog.get_logger(__name__)

# A shard that was here for so many times the longest pause between attempts was not taken in vain.
_STEADY = 2


def _unheard(is_here: bool) -> None:
    """Nobody wants to know."""


class Shards:
    """`executions` is what the history role gives; `start` before use, `stop` at the end. `retentions`: without them
    nothing looks for runs that are overdue. `lease`: of this process, None where the store is its own. `neighbours` is
    set, before the start, by who knows other hosts.
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
        self.lease: Lease | None = None
        if store.is_shared:
            self.lease = Lease(store.leases, clock, entropy, lease_options(world.options))
            self.lease.add_holder(self)
            world = msgspec.structs.replace(world, tenure=Leased(world, self.lease))
        self._world = world
        self._places = Places()
        self._moving = Moving(world, self._places)
        self._leaving = Leaving(world, self._places)
        self._changes = MapChanges(world, self._places, self._take_made)
        self._background = Background(self._failed)
        self._is_started = False
        self._is_stopping = False
        self._is_leaving = False
        self._sought: dict[str, None] = {}
        self._none_sought = asyncio.Event()
        self._changed = asyncio.Event()  # set, and replaced, whenever a shard went or the members changed
        self.neighbours: Neighbours = Alone()
        # Called when the first shard has come, and when the last one is gone.
        self.on_presence: Callable[[bool], None] = _unheard
        self._sweeper = Sweeper(self._world, self.owned, self._background)
        self._overdue = OverdueWalk(self._world, self, retentions, self._background) if retentions else None

    def assign(
        self, wanted: AbstractSet[str], view: int, shards: ShardMap | None = None, owner_of: OwnerOf = nobody
    ) -> None:
        """Have these shards, by version `view` of the members: take what is not here, and keep what is here and not
        wanted until it is asked for. `shards`: the newest map that is known; `owner_of`: whose the others are. Call it
        whenever one of these has changed, before the start too; what is older than what was said before is passed over.
        """
        before = self._places.version, self._places.wanted
        if not self._places.assign(wanted if not self._is_leaving else frozenset(), view, shards, owner_of):
            return
        if self._is_started:
            self._follow(is_news=before != (view, self._places.wanted))
        self._tell()

    async def start(self) -> None:
        """Take the shards that are wanted, made first if the store has none; some at a time. Returns when each was
        tried once, and goes on with those that could not be taken. Raises StoreUnavailable if there is no reaching the
        store.
        """
        begun_ns = self._world.clock.monotonic_ns()
        rows = await create_shards(self._world)
        self._places.know(rows)
        if self._places.wanted is None:
            self._places.wanted = {row.shard for row in rows}
        await self._world.tenure.begin()
        self._sought = dict.fromkeys(row.shard for row in rows if row.shard in self._places.wanted)
        if not self._sought:
            self._none_sought.set()
        self._is_started = True
        await self._take_now(list(self._sought))
        self._changes.watch(self._world.options.auto_split, self._world.options.auto_merge)
        self._follow(is_news=False)
        self._sweeper.start()
        if self._overdue is not None:
            self._overdue.start()
        self._world.meters.starts.inc()
        self._world.meters.start.observe((self._world.clock.monotonic_ns() - begun_ns) / SECOND_NS)

    async def _take_now(self, shards: Sequence[str]) -> None:
        """Take these, some at a time; returns when each was tried once."""
        async with asyncio.TaskGroup() as group:
            for shard in shards:
                place = self._places.make(shard)
                if place.shard is None and not place.is_busy:
                    place.is_busy = True
                    group.create_task(self._take(place))
        self._tell()

    async def _take_made(self, shards: Sequence[str]) -> None:
        """Take what was made here; then hear from the ring whose it is."""
        await self._take_now(shards)
        await self.neighbours.refresh(self._places.version + 1)

    async def settled(self) -> None:
        """Return when each shard that was wanted at the start has been here, or is kept away by more than the store."""
        await self._none_sought.wait()

    def by_slot(self, slot: int) -> OwnedShard:
        """The shard of a slot. Raises ShardElsewhere with what is known of who has it: this host itself, if it is going
        to; Unavailable if nobody can have it.
        """
        return self._places.by_slot(slot, self._world.tenure.host)

    def by_id(self, shard: str) -> OwnedShard:
        """A shard by its id. Raises as `by_slot`."""
        return self._places.by_id(shard, self._world.tenure.host)

    def owned(self) -> list[OwnedShard]:
        """All shards that are here now."""
        return list(self._places.owned)

    async def list_shards(self) -> list[ShardView]:
        """`perdure.cluster.shard_host.ShardHost`."""
        views = [place.view(is_wanted=self._places.wants(place.shard_id)) for place in self._places]
        return sorted(views, key=lambda view: (view.slots is None, view.slots, view.shard))

    async def let_go(self, host: str, shard: str, epoch: int, view: int) -> None:
        """`perdure.cluster.shard_host.ShardHost`."""
        if view > self._places.version:
            await self.neighbours.refresh(view)
        if host != self._world.tenure.host:
            raise ShardElsewhere("Another host is at this address now.", "", self._places.version)
        place = self._places.get(shard)
        if place is None:
            return
        if view < self._places.version and self._places.wants(shard) and self._places.names(shard):
            raise FailedPrecondition(f"By version {self._places.version} of the members the shard belongs here.")
        await self._leaving.let_go(place, epoch)

    async def split(self, shard: str, parts: int) -> list[str]:
        """`perdure.cluster.shard_host.ShardHost`."""
        return await self._changes.split(shard, parts)

    async def merge(self, shards: Sequence[str]) -> str:
        """`perdure.cluster.shard_host.ShardHost`."""
        return await self._changes.merge(shards)

    async def leave(self, within_s: float | None = None) -> None:
        """Wait until others have asked for all shards, while they are served: take none any more. The members' document
        must say that this host leaves. Returns after `within_s` (`leave_s`) in any case, or when there is nobody else;
        `stop` then.
        """
        self._is_leaving = True
        self._places.wanted = frozenset()
        self._follow(is_news=True)
        try:
            async with asyncio.timeout(self._world.options.leave_s if within_s is None else within_s):
                while any(place.is_busy or self._is_awaited(place) for place in self._places):
                    await self._changed.wait()
        except TimeoutError:
            log.warning("nobody has asked for some shards", shards=len(self._places.owned))

    def _is_awaited(self, place: Place) -> bool:
        return place.shard is not None and self._places.owner_of(place.shard_id) != ""

    def reoffer(self, moved: Callable[[QueueKey], bool]) -> None:
        """These task-queue partitions have other owners now: offer there what is outstanding."""
        for shard in self.owned():
            shard.pump.reoffer(moved)

    async def stop(self) -> None:
        """Release all shards, each with a last checkpoint; returns in bounded time."""
        self._is_stopping = True
        await self._changes.close()
        await self._background.close()
        await self._leaving.stop()
        await self._world.tenure.end()

    def revoked(self, epochs: Mapping[str, int]) -> None:
        """`perdure.cluster.lease.Holder`."""
        for shard, epoch in epochs.items():
            place = self._places.get(shard)
            for owned in list(place.here()) if place is not None else ():
                if owned.epoch < epoch:
                    owned.fail("Another host has taken the shard.")

    def evicted(self) -> None:
        """`perdure.cluster.lease.Holder`."""
        for place in self._places:
            for owned in list(place.here()):
                owned.fail("This host has lost its lease.")

    def _tell(self) -> None:
        """Wake who waits for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _follow(self, *, is_news: bool) -> None:
        """Begin to take what is wanted and not here; forget what is neither. On news who waits tries at once."""
        for place in self._places:
            if is_news:
                place.nudge.set()
            if not self._places.names(place.shard_id):
                for owned in list(place.here()):
                    owned.fail("The shard was split or merged.")
            if place.shard is None and not place.is_busy and not self._places.wants(place.shard_id):
                self._places.drop(place)
        for shard in sorted(self._places.wanted or ()):
            place = self._places.make(shard)
            if place.shard is None and not place.is_busy and not place.is_stuck:
                place.is_busy = True
                self._background.spawn(self._take(place), "taking a shard")

    async def _take(self, place: Place) -> None:
        """One attempt; another is scheduled if it fails."""
        begun_ns = self._world.clock.monotonic_ns()
        try:
            shard = await self._moving.take(place, self.neighbours, self._lost)
        except ShardRetired as error:
            self._forget(place, error.message)
        except PerdureError as error:
            place.reason = error.message
            if isinstance(error, CorruptLog | CorruptFrame):
                log.exception("shard stays away", shard=place.shard_id, error=error.message)
                place.is_stuck, place.is_busy = True, False
                self._no_longer_sought(place)
            else:
                log.warning("shard not taken", shard=place.shard_id, error=error.message)
                self._again(place)
        except Exception:
            # A defect in taking one shard must keep neither the others nor the process from serving.
            place.reason = "The shard can't be taken."
            log.exception("shard not taken", shard=place.shard_id)
            self._no_longer_sought(place)
            self._again(place)
        else:
            self._enter(place, shard)
            meters = self._world.meters
            meters.created.inc()
            meters.acquisition.observe((self._world.clock.monotonic_ns() - begun_ns) / SECOND_NS)

    def _enter(self, place: Place, shard: OwnedShard) -> None:
        place.is_busy = False
        place.taken_s = asyncio.get_running_loop().time()
        is_first = not self._places.owned
        self._places.enter(place, shard)
        if is_first:
            self.on_presence(True)
        self._no_longer_sought(place)

    def _no_longer_sought(self, place: Place) -> None:
        self._sought.pop(place.shard_id, None)
        if not self._sought:
            self._none_sought.set()

    def _forget(self, place: Place, reason: str) -> None:
        """Nothing of it is here, nor will be."""
        place.reason, place.is_busy = reason, False
        self._places.drop(place)
        self._no_longer_sought(place)
        self._tell()

    def _lost(self, shard: OwnedShard) -> None:
        place = self._places.get(shard.shard_id)
        if place is None or place.shard is not shard:
            return
        self._places.leave(place)
        place.is_busy = True
        place.reason = shard.log.failure or "The shard was lost."
        self._world.meters.removed.inc()
        self._world.meters.closed.inc()
        if not self._places.owned:
            self.on_presence(False)
        if not self._is_stopping:
            self._background.spawn(self._replace(shard, place), "closing a lost shard")

    async def _replace(self, shard: OwnedShard, place: Place) -> None:
        options = self._world.options
        self._world.tenure.hurry()
        await shard.close()
        if asyncio.get_running_loop().time() - place.taken_s > options.reacquire_max_s * _STEADY:
            place.attempt = 0
        if self._places.wants(place.shard_id):
            # If another has taken it, that is in newer members than are known here.
            await self.neighbours.refresh(self._places.version + 1)
        self._again(place)

    def _again(self, place: Place) -> None:
        """Try later, if it is still wanted then: less and less often, so that hosts of different views don't take a
        shard from one another all the time.
        """
        self._tell()
        if self._is_stopping:
            return
        if not self._places.wants(place.shard_id):
            self._forget(place, place.reason)
            return
        options = self._world.options
        place.attempt += 1
        full = min(options.reacquire_max_s, options.reacquire_first_s * (1 << min(place.attempt - 1, 16)))
        self._background.spawn(self._later(place, full * (1 - self._world.entropy.fraction() / 2)), "taking a shard")

    async def _later(self, place: Place, wait_s: float) -> None:
        place.nudge.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await place.nudge.wait()
        if self._places.wants(place.shard_id):
            await self._take(place)
        else:
            self._forget(place, place.reason)

    def _failed(self, error: BaseException) -> None:
        log.error("taking a shard failed", exc_info=error)
