"""Changing the map of shards from this process: on request, and by load if that is switched on.

Invariant: what was begun goes on, whatever becomes of who asked for it. The children are wanted here until the ring
says otherwise, so that they serve at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

import structlog

from perdure.base.errors import InvalidArgument, PerdureError, Unavailable
from perdure.base.slots import SlotRange
from perdure.base.tasks import Background
from perdure.shards.merging import Idle, MergePolicy
from perdure.shards.options import World
from perdure.shards.places import Places
from perdure.shards.reshaping import forget, parts_of, reshape, whole_of
from perdure.shards.shard import OwnedShard
from perdure.shards.splitting import Loads, SplitPolicy

log = structlog.get_logger(__name__)

# Take these shards now; returns when each was tried once.
TakeNow = Callable[[Sequence[str]], Awaitable[None]]


class MapChanges:
    """How a process splits and merges shards that it has."""

    def __init__(self, world: World, places: Places, take_now: TakeNow) -> None:
        self._world = world
        self._places = places
        self._take_now = take_now
        self._background = Background(_failed)

    async def split(self, shard: str, parts: int) -> list[str]:
        """`perdure.cluster.shard_host.ShardHost`."""
        owned = self._places.by_id(shard, self._world.tenure.host)
        return await self._change([owned], parts_of(owned.slots, parts))

    async def merge(self, shards: Sequence[str]) -> str:
        """`perdure.cluster.shard_host.ShardHost`."""
        if len(set(shards)) != len(shards):
            raise InvalidArgument("A shard is merged with others only.")
        owned = [self._places.by_id(shard, self._world.tenure.host) for shard in shards]
        return (await self._change(owned, [whole_of([one.slots for one in owned])]))[0]

    async def _change(self, parents: Sequence[OwnedShard], ranges: Sequence[SlotRange]) -> list[str]:
        outcome: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._background.spawn(self._run(parents, ranges, outcome), "reshaping")
        return await asyncio.shield(outcome)

    async def _run(
        self, parents: Sequence[OwnedShard], ranges: Sequence[SlotRange], outcome: "asyncio.Future[list[str]]"
    ) -> None:
        retired = [parent.shard_id for parent in parents]
        kind = "Split" if len(parents) == 1 else "Merge"
        try:
            reshaped = await reshape(self._world, parents, ranges)
        except Exception as error:
            if not isinstance(error, PerdureError):
                log.exception("reshaping failed", shards=retired)
            self._world.meters.reshaped(kind, "failed")
            _end(outcome, error if isinstance(error, PerdureError) else Unavailable("The shards were not reshaped."))
            return
        except BaseException:
            _end(outcome, Unavailable("The process stops."))
            raise
        created = [row.shard for row in reshaped.rows]
        self._places.reshaped(retired, reshaped.rows, reshaped.shards)
        self._world.meters.reshaped(kind, "done")
        try:
            await self._take_now(created)
        finally:
            if not outcome.done():
                outcome.set_result(created)
        await forget(self._world, parents)

    def watch(self, split: SplitPolicy | None, merge: MergePolicy | None) -> None:
        """Split shards, and merge neighbours, by their load from now on."""
        if split is not None:
            self._background.spawn(self._watch_busy(split), "automatic splitting")
        if merge is not None:
            self._background.spawn(self._watch_idle(merge.beside(split)), "automatic merging")

    async def _watch_idle(self, policy: MergePolicy) -> None:
        idle, loop = Idle(policy), asyncio.get_running_loop()
        while True:
            await asyncio.sleep(policy.look_s)
            idle.look(loop.time(), self._appended(), self._pairs())
            pair = idle.to_merge(self._places.count)
            if pair is None:
                continue
            idle.rest()
            log.info("shards are merged, for they have little to do", shards=pair)
            try:
                await self.merge(pair)
            except PerdureError as error:
                log.warning("shards not merged for their load", error=error.message)

    def _appended(self) -> dict[str, int]:
        return {shard.shard_id: shard.log.appended for shard in self._places.owned}

    def _pairs(self) -> list[tuple[str, str]]:
        """Who is side by side here, and stays here."""
        return [
            (one.shard_id, other.shard_id)
            for one, other in pairwise(self._places.owned)
            if one.slots.end == other.slots.first
            and not any(shard.is_leaving or not self._places.wants(shard.shard_id) for shard in (one, other))
        ]

    async def _watch_busy(self, policy: SplitPolicy) -> None:
        loads, loop = Loads(policy), asyncio.get_running_loop()
        while True:
            await asyncio.sleep(policy.look_s)
            loads.look(loop.time(), self._appended())
            try:
                shard = loads.to_split(self._places.count)
                if shard is None:
                    continue
                loads.rest()
                log.info("shard is split by its load", shard=shard)
                await self.split(shard, policy.parts)
            except PerdureError as error:
                log.warning("shard not split by its load", error=error.message)

    async def close(self) -> None:
        """Begin nothing any more; what is under way is left, and found by whoever takes the shards."""
        await self._background.close()


def _end(outcome: "asyncio.Future[list[str]]", error: PerdureError) -> None:
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # who asked may be gone


def _failed(error: BaseException) -> None:
    log.error("changing the map of shards failed", exc_info=error)
