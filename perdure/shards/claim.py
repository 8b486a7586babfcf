"""A claim on a shard: the epoch that was drawn for this owner in the shard's row, and where its log begins.

Invariant: an epoch is drawn once. A draw whose outcome is unknown is never taken for one's own, because another
process may have written the very same row; the next is drawn instead. Only the newest epoch moves `first`, so that
whoever drew an epoch can rely on the segments it found there, and only it changes the owner that it found, so that
whoever may answer still is known to all who draw later.
"""

import asyncio

import msgspec

from perdure.base.errors import Bug, ShardLost
from perdure.shards.options import World
from perdure.shards.retrying import delay_s, once, settled
from perdure.store.contract import OutcomeUnknown, SegmentId, ShardRow


class Claim:
    """The row as this owner last wrote or read it."""

    __slots__ = ("_world", "row")

    def __init__(self, world: World, row: ShardRow) -> None:
        self._world = world
        self.row = row

    @classmethod
    async def draw(cls, world: World, shard: str) -> "Claim":
        """Draw the next epoch of a shard. Raises StoreUnavailable; Bug if there is no such shard."""
        attempt = 0
        while True:
            row = await settled(world, lambda: world.store.shards.read_shard(shard))
            if row is None:
                raise Bug(f"There is no shard {shard}.")
            wanted = msgspec.structs.replace(row, epoch=row.epoch + 1, version=row.version + 1)
            if await _replace(world, wanted):
                return cls(world, wanted)
            attempt += 1
            await asyncio.sleep(delay_s(world, attempt))

    async def begin_at(self, first: SegmentId) -> None:
        """Move the begin of the log to `first`; returns when that is definite. Raises ShardLost, StoreUnavailable."""
        await self._change(first, self.row.owner)

    async def answer_as(self, owner: str) -> None:
        """Make `owner` the one who answers for the shard; returns when that is definite. The former one's time must be
        over. Raises ShardLost, StoreUnavailable.
        """
        await self._change(self.row.first, owner)

    async def _change(self, first: SegmentId | None, owner: str) -> None:
        attempt = 0
        while (self.row.first, self.row.owner) != (first, owner):
            wanted = msgspec.structs.replace(self.row, first=first, owner=owner, version=self.row.version + 1)
            if await _replace(self._world, wanted):
                self.row = wanted
                return
            await self.check()
            attempt += 1
            if (self.row.first, self.row.owner) != (first, owner):
                await asyncio.sleep(delay_s(self._world, attempt))

    async def check(self) -> None:
        """Read the row again. Raises ShardLost if a newer epoch was drawn."""
        row = await settled(self._world, lambda: self._world.store.shards.read_shard(self.row.shard))
        if row is None or row.epoch != self.row.epoch:
            raise ShardLost(f"Another owner claims the shard {self.row.shard}.")
        self.row = row


async def _replace(world: World, row: ShardRow) -> bool:
    """One compare-and-set. False if it is not known to be done."""
    try:
        return await once(world, lambda: world.store.shards.replace_shard(row))
    except OutcomeUnknown:
        return False
