"""The sweeper: walks, slowly and for ever, over the segments that the store has, and drops those that nothing leads to.

Invariant: no segment is dropped that some owner's log has or will have. A log's segments rise by (epoch, number); an
owner's chain, from the row's `first` to the segment it appends to, never gets another one in between, since a header
that has a `next` never changes again; and whoever takes the shard next begins at a `first` that this owner still has in
its chain, because after the draw nobody else moves it. So a segment below the newest of a chain and not in it is in no
log for ever: one that was dropped and came back, one whose opening was in doubt, a taker's that was too late, or a
zombie's, whatever it still tries. Segments at or above the newest, which may be about to be linked by this owner or by
a taker of a higher epoch, are left alone. None of this needs the owner to be the owner still.

One process looks after the shards it has; those of shards that nobody has stay until somebody has them. Whoever has the
first slot looks after what retired shards left, too: a segment is made only for a shard that the map names, so of one
that a map doesn't name which was read after the segment was seen nothing is needed any more.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog

from perdure.base.errors import StoreUnavailable, Unavailable
from perdure.base.tasks import Background
from perdure.shards.options import World
from perdure.shards.retired import remove_retired
from perdure.shards.retrying import once, settled
from perdure.shards.shard import OwnedShard
from perdure.store.contract import SegmentId

log = structlog.get_logger(__name__)

# Every so many turns are not for segments, but for what retired shards left besides.
_RETIRED_EVERY = 10


class Sweeper:
    """`owned`: the shards that are here now. It asks one thing of the store each `sweep_interval_s`, whatever their
    number, unless it has found something.
    """

    def __init__(self, world: World, owned: Callable[[], Iterable[OwnedShard]], background: Background) -> None:
        self._world = world
        self._owned = owned
        self._background = background
        self._place = b""

    def start(self) -> None:
        """Walk until the background is closed."""
        self._background.spawn(self._run(), "sweeper")

    async def _run(self) -> None:
        suspects: Sequence[SegmentId] = ()
        turn = 0
        while True:
            await asyncio.sleep(self._world.options.sweep_interval_s)
            try:
                turn += 1
                if turn % _RETIRED_EVERY == 0 and self._has_first_slot():
                    await remove_retired(self._world)
                else:
                    suspects = await self._look(frozenset(suspects))
            except Unavailable as error:
                log.info("the store's segments can't be looked at now", error=error.message)
            except Exception:
                # A defect here must not let the store fill up.
                log.exception("looking at the store's segments failed")

    async def _look(self, suspects: frozenset[SegmentId]) -> Sequence[SegmentId]:
        """Look at one page. What nothing leads to is returned, and dropped if a second look finds it still there: what
        was just released is on its way out. Raises Unavailable.
        """
        logs = {shard.shard_id: shard.log for shard in self._owned()}
        if not logs:
            return ()
        list_segments = self._world.store.log.list_segments
        found, following = await once(self._world, lambda: list_segments(self._place, self._world.options.sweep_page))
        orphans = [segment for segment in found if segment.shard in logs and logs[segment.shard].is_orphan(segment)]
        if self._has_first_slot():
            orphans += await self._of_retired([segment for segment in found if segment.shard not in logs])
        if orphans and not suspects:
            return orphans
        for segment in orphans:
            if segment in suspects:
                await self._drop(segment)
        self._place = following
        return ()

    def _has_first_slot(self) -> bool:
        return any(0 in shard.slots for shard in self._owned())

    async def _of_retired(self, segments: Sequence[SegmentId]) -> list[SegmentId]:
        """Those whose shard the map does not name. Raises Unavailable."""
        standing = await settled(self._world, self._world.store.shards.read_map) if segments else None
        named = {shard for _, shard in standing.shards} if standing is not None else set()
        return [segment for segment in segments if segment.shard not in named] if named else []

    async def _drop(self, segment: SegmentId) -> None:
        """Drop it; where the store refuses, a later walk finds it again."""
        about = {"shard": segment.shard, "epoch": segment.epoch, "number": segment.number}
        try:
            await settled(self._world, partial(self._world.store.log.drop_segment, segment))
        except StoreUnavailable as error:
            log.warning("segment not dropped", error=error.message, **about)
            return
        self._world.meters.orphans.inc()
        log.warning("segment dropped that nothing led to", **about)
