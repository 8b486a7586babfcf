"""Letting go of shards: to who asks for one, and of all in the end.

Invariants (L11): who was told that a shard was let go can count on it: nothing that was known of it before the asker's
epoch is answered here any more, nor is a shard that is only being taken here going to serve under a lower one. Until it
refuses, a shard serves as ever; what it has refused was not done, and what it has taken is definite when it goes, if
the store tells in time.
"""

import asyncio
from functools import partial

import structlog

from perdure.base.clock import MS_NS
from perdure.base.errors import FailedPrecondition, ShardElsewhere, ShardLost, Unavailable
from perdure.base.tasks import Background
from perdure.shards.options import World
from perdure.shards.places import Place, Places
from perdure.shards.shard import OwnedShard

log = structlog.get_logger(__name__)

_LET_GO = "LetGo"
# Of the time that an asker gives, so much is for the checkpoint, and so much for what is on its way.
_CHECKPOINT_PART = 0.5
_DRAIN_PART = 0.3


class Leaving:
    """How this process lets go of shards."""

    def __init__(self, world: World, places: Places) -> None:
        self._world = world
        self._places = places
        self._room = asyncio.Semaphore(world.options.leave_parallel)
        self._background = Background(_failed)

    async def let_go(self, place: Place, epoch: int) -> None:
        """Let go of a shard to an owner of `epoch`; done whatever becomes of the caller. Raises FailedPrecondition
        if what is here has a newer epoch.
        """
        if any(owned.epoch >= epoch for owned in place.here()):
            self._world.meters.handed_over(_LET_GO, "refused")
            raise FailedPrecondition("The shard's owner has a newer epoch.")
        place.asked = max(place.asked, epoch)
        if place.taking is not None:
            place.taking.fail("Another host takes the shard.")
        shard = place.shard
        if shard is None:
            return
        if place.leaving is None or place.leaving.done():
            place.leaving = self._background.spawn(self._hand_over(shard), "letting go of a shard")
        await asyncio.wait([place.leaving])
        if not shard.is_lost:
            raise Unavailable("The shard was not let go.")

    async def _hand_over(self, shard: OwnedShard) -> None:
        options, clock = self._world.options, self._world.clock
        async with self._room:
            try:
                async with asyncio.timeout(options.hand_over_s * _CHECKPOINT_PART):
                    await shard.catch_up()
                    await shard.log.commit_empty()  # says from where on it has to be replayed
            except (Unavailable, TimeoutError) as error:
                log.warning("shard goes without a checkpoint", shard=shard.shard_id, error=str(error))
            begun_ns = clock.monotonic_ns()
            shard.refuse(partial(self._elsewhere, shard.shard_id))
            try:
                async with asyncio.timeout(options.hand_over_s * _DRAIN_PART):
                    await shard.drained()
            except (ShardLost, TimeoutError) as error:
                log.warning("shard goes with a group in doubt", shard=shard.shard_id, error=str(error))
            shard.fail("The shard was let go.")
            took_ms = (clock.monotonic_ns() - begun_ns) / MS_NS
            log.info("shard let go", shard=shard.shard_id, epoch=shard.epoch, took_ms=round(took_ms, 1))
            self._world.meters.handed_over(_LET_GO, "released")

    def _elsewhere(self, shard: str) -> ShardElsewhere:
        return ShardElsewhere("Another host takes the shard.", self._places.owner_of(shard), self._places.version)

    async def stop(self) -> None:
        """Release all, each with a last checkpoint, some at a time; what has none when time is over has a log."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._world.options.stop_timeout_s

        async def release(shard: OwnedShard, leaving: asyncio.Task[None] | None) -> None:
            if leaving is not None:
                await asyncio.wait([leaving])
            async with self._room:
                await shard.stop(max(0.0, end_s - loop.time()))

        async with asyncio.TaskGroup() as group:
            for place in self._places:
                if place.shard is not None:
                    group.create_task(release(place.shard, place.leaving))
        await self._background.close()


def _failed(error: BaseException) -> None:
    log.error("letting go of a shard failed", exc_info=error)
