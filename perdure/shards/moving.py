"""Taking a shard for this process: from nobody, from an owner that is asked for it, or from one that doesn't answer.

Invariants (L11): nothing is answered here before the former owner has said that it has let go, or its lease was given
up or outlived. Who is asked goes on serving until then, so a planned move is begun by as much as can be done before.
Few shards move at a time, and not too many a second; those that nobody serves don't wait for them. One that was just
made stays where it was made until it inherits nothing any more, or for a while.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from perdure.base.clock import MS_NS
from perdure.base.errors import FailedPrecondition, PerdureError, ShardLost, Unavailable
from perdure.shards.acquire import Ahead, Drawn, draw, drawn_for, read_ahead, take
from perdure.shards.neighbours import Neighbours
from perdure.shards.options import World
from perdure.shards.places import Place, Places
from perdure.shards.retrying import settled
from perdure.shards.shard import OwnedShard
from perdure.shards.turns import Turns

log = structlog.get_logger(__name__)

OnLost = Callable[[OwnedShard], None]
_TAKE = "Take"
_LOOK_S = 0.5
_TAKEN_S = 1.0


class Moving:
    """How this process takes shards."""

    def __init__(self, world: World, places: Places) -> None:
        options = world.options
        self._world = world
        self._places = places
        self._room = asyncio.Semaphore(options.acquire_parallel)
        self._turns = Turns(world.clock, options.moves_parallel, options.moves_per_s)

    async def take(self, place: Place, neighbours: Neighbours, on_lost: OnLost) -> OwnedShard:
        """Take a shard; it is recovered. Raises PerdureError: nothing of it is here then."""
        try:
            if place.made is not None:
                return await self._made(place, on_lost)
            await self._calm(place, neighbours)
            if not place.former:
                async with self._room:
                    drawn = await self._drawn(place)
            else:
                async with self._turns.turn():
                    drawn = await self._drawn(place)
                    ahead = await read_ahead(self._world, drawn)
                    if await self._asked(place, drawn, neighbours):
                        return await self._owned(place, drawn, ahead, on_lost)
            await self._outlived(drawn)
            async with self._room:
                return await self._owned(place, drawn, {}, on_lost)
        finally:
            place.former = ""
            place.taking = None

    async def _made(self, place: Place, on_lost: OnLost) -> OwnedShard:
        """Take a shard that was made here a moment ago: its row says that it is this host's."""
        row, place.made = place.made, None
        assert row is not None
        async with self._room:
            place.epoch = row.epoch
            return await self._owned(place, await drawn_for(self._world, row), {}, on_lost)

    async def _calm(self, place: Place, neighbours: Neighbours) -> None:
        """Find the host that serves the shard now, and can be asked for it. Whoever has just made the shard is let be
        for a while: it takes it at once, and what it has begun with its index would have to be begun anew here.
        """
        if not self._world.store.is_shared:
            return
        loop = asyncio.get_running_loop()
        begun_s, calm_s = loop.time(), self._world.options.calm_s
        while True:
            row = await settled(self._world, lambda: self._world.store.shards.read_shard(place.shard_id))
            owner = row.owner if row is not None else ""
            is_other = owner not in ("", self._world.tenure.host) and neighbours.is_member(owner)
            place.former = owner if is_other else ""
            is_begun = row is not None and row.first is not None
            is_new = not is_begun or (row is not None and bool(row.inherits))
            # Whoever did not come to taking it will hardly do so later.
            is_over = loop.time() - begun_s >= (calm_s if is_begun else min(calm_s, _TAKEN_S))
            if not is_other or not is_new or is_over or not self._places.wants(place.shard_id):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S * (0.75 + self._world.entropy.fraction() / 2)):
                    await place.nudge.wait()
                    place.nudge.clear()

    async def _drawn(self, place: Place) -> Drawn:
        if not self._places.wants(place.shard_id):
            raise Unavailable("The shard belongs to another host.")
        drawn = await draw(self._world, place.shard_id)
        place.epoch = drawn.claim.row.epoch
        return drawn

    async def _asked(self, place: Place, drawn: Drawn, neighbours: Neighbours) -> bool:
        """Whether the former owner has let go, or there is none. Raises FailedPrecondition if it says that it won't."""
        former, row = drawn.former, drawn.claim.row
        if not former:
            return True
        try:
            async with asyncio.timeout(self._world.options.hand_over_s):
                await neighbours.ask(former, row.shard, row.epoch, self._places.version)
        except FailedPrecondition:
            self._world.meters.handed_over(_TAKE, "refused")
            # Its view is newer than this process's, or its claim is.
            await neighbours.refresh(self._places.version + 1)
            raise
        except (PerdureError, TimeoutError) as error:
            self._world.meters.handed_over(_TAKE, "unanswered")
            log.warning("owner does not let go", shard=row.shard, host=former, error=str(error))
            return False
        self._world.meters.handed_over(_TAKE, "released")
        place.former = ""
        return True

    async def _outlived(self, drawn: Drawn) -> None:
        """Return when the former owner answers nothing more, whatever it does. Raises Unavailable."""
        if not drawn.former:
            return
        row = drawn.claim.row
        over = self._world.tenure.outlive(drawn.former, row.shard, row.epoch)
        await asyncio.wait([over])
        if over.cancelled():
            raise Unavailable(f"The former owner of shard {row.shard} is still there.")

    async def _owned(self, place: Place, drawn: Drawn, ahead: Ahead, on_lost: OnLost) -> OwnedShard:
        """Read what there is, recover it, and serve. Raises PerdureError."""
        begun_ns = self._world.clock.monotonic_ns()
        taken = await take(self._world, drawn, ahead)
        if place.asked > place.epoch:
            raise ShardLost("Another host was told that the shard is not here.")
        shard = place.taking = OwnedShard(self._world, taken, on_lost)
        try:
            await shard.recover()
        except BaseException as error:
            shard.fail(str(error) or "The process stops.")
            await shard.close()
            raise
        if shard.log.failure is not None:
            await shard.close()
            raise ShardLost(shard.log.failure)
        took_ms = (self._world.clock.monotonic_ns() - begun_ns) / MS_NS
        log.info("shard serves", shard=place.shard_id, epoch=place.epoch, took_ms=round(took_ms, 1))
        return shard
