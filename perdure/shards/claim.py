"""A claim on a shard: the epoch that was drawn for this owner in the shard's row, and where its log begins.

Invariant: an epoch is drawn once. A draw whose outcome is unknown is never taken for one's own, because another
process may have written the very same row; the next is drawn instead. Only the newest epoch moves `first`, so that
whoever drew an epoch can rely on the segments it found there, and only it changes the owner that it found, so that
whoever may answer still is known to all who draw later. No epoch is drawn for a shard of which a reshaping may still
make others: the map is asked first, and moved on where it has not decided yet (0019). Who makes a shard has its first
epoch without a draw: nobody else can have written a row of that id, nor serve it before the map names it.
"""

import asyncio
from typing import Any

import msgspec

from perdure.base.errors import ShardLost
from perdure.shards.options import World
from perdure.shards.retrying import delay_s, once, settled
from perdure.store.contract import OutcomeUnknown, SegmentId, ShardRow


class ShardRetired(ShardLost):
    """The map does not name this shard: others have its slots."""


class Claim:
    """The row as this owner last wrote or read it."""

    __slots__ = ("_world", "row")

    def __init__(self, world: World, row: ShardRow) -> None:
        self._world = world
        self.row = row

    @classmethod
    async def draw(cls, world: World, shard: str) -> "Claim":
        """Draw the next epoch of a shard. Raises StoreUnavailable, ShardRetired."""
        attempt = 0
        while True:
            row = await settled(world, lambda: world.store.shards.read_shard(shard))
            if row is None:
                raise ShardRetired(f"There is no shard {shard} any more.")
            if row.reshaping is not None:
                await _forbid(world, shard, row.reshaping)
            wanted = msgspec.structs.replace(row, epoch=row.epoch + 1, version=row.version + 1, reshaping=None)
            if await _replace(world, wanted):
                return cls(world, wanted)
            attempt += 1
            await asyncio.sleep(delay_s(world, attempt))

    async def begin_at(self, first: SegmentId) -> None:
        """Move the begin of the log to `first`; returns when that is definite. Raises ShardLost, StoreUnavailable."""
        await self._change(first=first)

    async def answer_as(self, owner: str) -> None:
        """Make `owner` the one who answers for the shard; returns when that is definite. The former one's time must be
        over. Raises ShardLost, StoreUnavailable.
        """
        await self._change(owner=owner)

    async def announce(self, version: int, after_us: int) -> None:
        """Say that the shard is retired as soon as the map of this version is replaced; returns when that is definite.
        No stamp beyond `after_us` was used. Nothing may be committed from then on. Raises ShardLost, StoreUnavailable.
        """
        await self._change(reshaping=version, after_us=after_us)

    async def disinherit(self) -> None:
        """All index rows lie under the shard's own home; returns when that is definite. Raises ShardLost,
        StoreUnavailable.
        """
        await self._change(inherits=())

    async def _change(self, **fields: Any) -> None:
        attempt = 0
        while any(getattr(self.row, name) != value for name, value in fields.items()):
            wanted = msgspec.structs.replace(self.row, **fields, version=self.row.version + 1)
            if await _replace(self._world, wanted):
                self._learn(wanted)
                return
            await self.check()
            attempt += 1
            if any(getattr(self.row, name) != value for name, value in fields.items()):
                await asyncio.sleep(delay_s(self._world, attempt))

    async def check(self) -> None:
        """Read the row again. Raises ShardLost if a newer epoch was drawn."""
        row = await settled(self._world, lambda: self._world.store.shards.read_shard(self.row.shard))
        if row is None or row.epoch != self.row.epoch:
            raise ShardLost(f"Another owner claims the shard {self.row.shard}.")
        self._learn(row)

    def _learn(self, row: ShardRow) -> None:
        """Have the newest row: answers to changes at the same time come in any order."""
        if row.version > self.row.version:
            self.row = row


async def _forbid(world: World, shard: str, reshaping: int) -> None:
    """Return when nothing can come any more of the reshaping of this version. Raises ShardRetired if the shard is not
    one that the map names, StoreUnavailable.
    """
    shards = world.store.shards
    while True:
        standing = await settled(world, shards.read_map)
        if standing is None or all(named != shard for _, named in standing.shards):
            raise ShardRetired(f"The shard {shard} was split or merged.")
        if standing.version > reshaping:
            return
        await settled(world, lambda: shards.reshape(reshaping, (), ()))


async def _replace(world: World, row: ShardRow) -> bool:
    """One compare-and-set. False if it is not known to be done."""
    try:
        return await once(world, lambda: world.store.shards.replace_shard(row))
    except OutcomeUnknown:
        return False
