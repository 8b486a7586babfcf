"""Checkpoints: the rows of dirty chains, and after them the end of the log behind.

Invariants (L6, L8): rows are written once their position is durable and the effects up to it are done, under a stamp
below the committed ceiling; they are acknowledged before the begin of the log moves, and that is definite before
segments are dropped. A step of unknown outcome is repeated. A chain whose rows can't be made keeps its log.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

import msgspec
import structlog

from perdure.base.errors import ShardLost, StoreUnavailable, Unavailable
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.shards.claim import Claim
from perdure.shards.contract import ChainRows, Oversized, Shard
from perdure.shards.homes import Homes
from perdure.shards.index import OfferIndex
from perdure.shards.log import ShardLog
from perdure.shards.options import World
from perdure.shards.pumps import EffectPump
from perdure.shards.retrying import delay_s, settled
from perdure.shards.strays import Strays
from perdure.shards.timers import TimerIndex
from perdure.store.contract import Checkpoint, Home, SegmentId

log = structlog.get_logger(__name__)

# Checkpoints of a shard are at least so far apart, as a part of their age: rows gather meanwhile.
_SPACING = 0.25


class Parts(msgspec.Struct, frozen=True):
    """The parts of one owned shard that a checkpoint has to do with."""

    log: ShardLog
    claim: Claim
    homes: Homes
    offers: OfferIndex
    timers: TimerIndex
    effects: EffectPump
    strays: Strays


class _Dirty:
    """A chain that the log alone knows: since which position, since when (loop time), and how many bytes of records."""

    __slots__ = ("bytes", "oldest", "since")

    def __init__(self, oldest: int, since: float, size: int) -> None:
        self.oldest = oldest
        self.since = since
        self.bytes = size


class _Batch:
    """What one checkpoint writes. It keeps its values until they are durable: the role makes rows only once."""

    __slots__ = ("bytes", "checkpoint", "position", "rows")

    def __init__(self, home: Home, strays: Strays) -> None:
        self.rows: dict[ChainKey, ChainRows] = {}
        self.position = 0
        self.bytes = 0
        self.checkpoint = Checkpoint(
            0,
            home,
            [],
            [],
            [],
            [],
            strays.added_offers,
            strays.removed_offers,
            strays.added_timers,
            strays.removed_timers,
        )

    def add(self, key: ChainKey, rows: ChainRows) -> None:
        self.rows[key] = rows
        self.position = max(self.position, rows.position)
        self.bytes += sum(len(snapshot.body or b"") for snapshot in rows.snapshots)
        self.bytes += sum(len(node.body) for node in rows.nodes)
        checkpoint = self.checkpoint
        checkpoint.snapshots += rows.snapshots
        checkpoint.pointers += rows.pointers
        checkpoint.nodes += rows.nodes
        checkpoint.dropped_branches += rows.dropped_branches
        checkpoint.added_offers += rows.added_offers
        checkpoint.removed_offers += rows.removed_offers
        checkpoint.added_timers += rows.added_timers
        checkpoint.removed_timers += rows.removed_timers


class Checkpointer:
    """`written`: checkpoints so far; `blocked`: chains whose rows the role can't make, with the position they need."""

    def __init__(self, world: World, shard: Shard, parts: Parts, background: Background) -> None:
        self._world = world
        self._shard = shard
        self._parts = parts
        self._background = background
        self._dirty: dict[ChainKey, _Dirty] = {}  # by `oldest`, rising
        self._taking: dict[ChainKey, _Dirty] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._overtaken_s: float | None = None  # loop time: since when a newer epoch is known of
        self._until = 0.0  # loop time: what is dirty since before then is checkpointed without waiting for its age
        # One thing at a time changes rows: what is read while nobody else writes is what there is.
        self.writing = asyncio.Lock()
        self.blocked: dict[ChainKey, int] = {}
        self._oversized: set[ChainKey] = set()  # of these: nothing else is wrong with them
        self.dirty_bytes = 0
        self.written = 0

    def mark(self, key: ChainKey, position: int, size: int) -> None:
        """A transition of the chain was appended."""
        self.dirty_bytes += size
        dirty = self._dirty.get(key)
        if dirty is not None:
            dirty.bytes += size
            return
        loop = asyncio.get_running_loop()
        self._dirty[key] = _Dirty(position, loop.time(), size)
        if self._handle is None and self._work is None and not self._is_stopped:
            self._handle = loop.call_later(self._world.options.checkpoint_age_s, self._begin)

    def recover(self, keys: Iterable[ChainKey], oldest: int) -> None:
        """These chains are in the log since `oldest` at the earliest."""
        for key in keys:
            self.mark(key, oldest, 0)

    def floor(self) -> int:
        """The oldest position that no checkpoint holds."""
        found = [self._parts.log.next_position, *self.blocked.values()]
        for dirty in (self._dirty, self._taking):
            first = next(iter(dirty.values()), None)
            if first is not None:
                found.append(first.oldest)
        return min(found)

    @property
    def load(self) -> int:
        """Bytes that a next owner would have to read, and that are dirty."""
        # What a chain without rows pins can't be shortened: it must not stop the others.
        return self.dirty_bytes + (0 if self.blocked else self._parts.log.tail_bytes)

    @property
    def is_hurried(self) -> bool:
        """Whether checkpoints shouldn't wait for their age."""
        return self.load >= self._world.options.hurry_bytes and bool(self._dirty)

    def hurry(self) -> None:
        """Begin now; nothing happens if one is under way."""
        if self._work is None and not self._is_stopped:
            if self._handle is not None:
                self._handle.cancel()
            self._begin()

    def _begin(self) -> None:
        self._handle = None
        self._work = self._background.spawn(self._run(), "checkpoint")

    async def _run(self) -> None:
        try:
            while await self._next(everything=self.is_hurried):
                await self._release()
            await self._release()
        except ShardLost as error:
            self._parts.log.fail(error.message)
        finally:
            self._work = None
            self._arm()

    async def _next(self, *, everything: bool) -> bool:
        """Make one checkpoint; False if there is nothing for one. Raises ShardLost."""
        async with self.writing:
            if self._parts.log.failure is not None:
                raise ShardLost(self._parts.log.failure)
            batch = self._take(everything=everything)
            if batch is not None:
                await self._checkpoint(batch)
        return batch is not None

    async def catch_up(self) -> None:
        """Checkpoint what is dirty now, while others go on to make more of it dirty. Raises ShardLost."""
        self._until = asyncio.get_running_loop().time()
        while self._parts.log.failure is None and not self._is_stopped:
            first = next(iter(self._dirty.values()), None)
            if self._work is None and (first is None or first.since > self._until):
                return
            self.hurry()
            if self._work is not None:
                await asyncio.wait([self._work])
        raise ShardLost(self._parts.log.failure or "The shard is being released.")

    @property
    def is_clean(self) -> bool:
        """Whether checkpoints hold all that was appended."""
        return not (self._dirty or self._taking or self.blocked)

    def _arm(self) -> None:
        if self._is_stopped or self._parts.log.failure is not None:
            return
        loop = asyncio.get_running_loop()
        age_s = self._world.options.checkpoint_age_s
        first = next(iter(self._dirty.values()), None)
        if first is not None:
            self._handle = loop.call_at(max(first.since + age_s, loop.time() + age_s * _SPACING), self._begin)
        elif self._parts.log.releasable(self.floor()):
            self._handle = loop.call_later(age_s, self._begin)

    async def finish(self, *, is_last: bool = False) -> None:
        """Checkpoint everything, then leave an empty log, unless it `is_last`: nobody will read it. Raises ShardLost,
        StoreUnavailable.
        """
        self._is_stopped = True
        if self._handle is not None:
            self._handle.cancel()
        if self._work is not None:
            await asyncio.wait([self._work])
        while await self._next(everything=True):
            pass
        if is_last:
            return
        segments = self._parts.log.segments
        if len(segments) > 1 or segments[0].records:
            await self._parts.log.commit_empty(roll=True)
        await self._release()

    def _take(self, *, everything: bool) -> _Batch | None:
        """The rows of the chains dirty for longest, as they are now; None if no chain is old enough."""
        options = self._world.options
        until = max(asyncio.get_running_loop().time() - options.checkpoint_age_s, self._until)
        strays = self._parts.strays.take()
        batch = _Batch(self._parts.homes.own, strays)
        for key, dirty in list(islice(self._dirty.items(), options.checkpoint_chains)):
            if (dirty.since > until and not everything) or batch.bytes >= options.checkpoint_bytes:
                break
            del self._dirty[key]
            try:
                rows = self._world.executions.rows(self._shard, key)
            except ShardLost:
                raise
            except Exception as error:
                # Whatever it is, it concerns this chain: its log stays as long as this owner, and the shard goes on.
                log.exception("chain can't be checkpointed", wf_id=key.workflow_id)
                self.dirty_bytes -= dirty.bytes
                if isinstance(error, Oversized) and key not in self.blocked:
                    self._oversized.add(key)
                elif not isinstance(error, Oversized):
                    self._oversized.discard(key)
                self.blocked.setdefault(key, dirty.oldest)
                continue
            self._taking[key] = dirty
            batch.add(key, rows)
        if not batch.rows and not strays:
            return None
        checkpoint = batch.checkpoint
        # What is committed from now on happens to rows that are already on their way.
        self._parts.offers.begin(checkpoint.added_offers, checkpoint.removed_offers)
        self._parts.timers.begin(checkpoint.added_timers, checkpoint.removed_timers)
        return batch

    async def _checkpoint(self, batch: _Batch) -> None:
        """Write a batch, however often it takes. Raises ShardLost."""
        parts = self._parts
        await parts.log.durable(batch.position)
        await parts.effects.settled(batch.position)
        checkpoint = batch.checkpoint
        checkpoint.stamp_us = await parts.log.stamp_us()
        await self._write(checkpoint)
        parts.offers.written(checkpoint.added_offers, checkpoint.removed_offers)
        parts.timers.written(checkpoint.added_timers, checkpoint.removed_timers)
        for key, rows in batch.rows.items():
            self.dirty_bytes -= self._taking.pop(key).bytes
            self._world.executions.checkpointed(self._shard, key, rows)
            if key in self._oversized:
                self._oversized.discard(key)
                del self.blocked[key]
        self.written += 1
        if parts.offers.is_uncertain:
            await self.count()

    async def _write(self, checkpoint: Checkpoint) -> None:
        """Write rows under the own home, and take away what they replace under others."""
        for removal in self._parts.homes.removals(checkpoint):
            await self.send(removal)
        await self.send(checkpoint)

    async def send(self, checkpoint: Checkpoint) -> None:
        """Send the same rows under the same stamp until they are durable, as long as the shard is this owner's. Raises
        ShardLost.
        """
        attempt = 0
        while True:
            if self._parts.log.failure is not None:
                raise ShardLost(self._parts.log.failure)
            try:
                if not self._world.tenure.is_valid():  # L9
                    raise Unavailable("This host may have lost the shard.")
                async with asyncio.timeout(self._world.options.checkpoint_timeout_s):
                    await self._world.store.checkpoints.write(checkpoint)
                return
            except (Unavailable, TimeoutError) as error:
                attempt += 1
                if attempt.bit_count() == 1:
                    log.warning("checkpoint not written yet", shard=self._shard.shard_id, error=str(error))
            await asyncio.sleep(delay_s(self._world, attempt))

    async def count(self) -> None:
        """Count the rows of offers anew, while nothing is written. Where that fails, the next checkpoint counts."""
        try:
            await self._parts.offers.count()
        except Unavailable as error:
            log.warning("offers not counted", shard=self._shard.shard_id, error=error.message)

    async def _release(self) -> None:
        """Move the begin of the log to what is still needed, then drop what is before it. Raises ShardLost."""
        parts = self._parts
        segments = parts.log.releasable(self.floor())
        if not segments:
            return
        first = parts.log.segments[len(segments)].segment
        try:
            await parts.claim.begin_at(first)
        except StoreUnavailable as error:
            log.warning("log not shortened yet", shard=self._shard.shard_id, error=error.message)
            return
        except ShardLost:
            self._overtaken()
            return
        parts.log.forget(segments)
        await self._drop(segments)

    def _overtaken(self) -> None:
        """A newer epoch was drawn. The log is this owner's until it is sealed, but for its begin, on which whoever drew
        counts. If nobody comes, the shard is given up, so that its log can be shortened again. Raises ShardLost.
        """
        now_s = asyncio.get_running_loop().time()
        if self._overtaken_s is None:
            self._overtaken_s = now_s
        elif now_s - self._overtaken_s > self._world.options.overtaken_s:
            raise ShardLost("Another host was going to take the shard, and did not.")

    async def _drop(self, segments: Sequence[SegmentId]) -> None:
        """Nothing leads to these any more; one that can't be dropped is garbage, never data."""
        for segment in segments:
            try:
                await settled(self._world, partial(self._world.store.log.drop_segment, segment))
            except StoreUnavailable as error:
                log.warning("segment not dropped", shard=segment.shard, error=error.message)
