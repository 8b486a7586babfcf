"""Writing the index rows that a shard has from those it was made of under its own home; then it inherits nothing.

Invariant: a page is read and written while no checkpoint of the shard is under way. So a row that was read is
outstanding, or its removal has a higher stamp than its copy. Nothing is deleted under the other home: others may read
there still, and it goes as a whole when nobody does (`perdure.shards.retired`). It can begin anew at any time.
"""

import asyncio
from collections.abc import AsyncIterator

import structlog

from perdure.base.errors import ShardLost, Unavailable
from perdure.shards.checkpoint import Checkpointer, Parts
from perdure.shards.homes import index_rows
from perdure.shards.options import World
from perdure.shards.retrying import delay_s
from perdure.store.contract import Home
from perdure.workflow.tasks import Offer, QueueKey, Timer

log = structlog.get_logger(__name__)


class Inheriting:
    """Of one owned shard. A page of rows each `inherit_interval_s`."""

    def __init__(self, world: World, parts: Parts, checkpointer: Checkpointer) -> None:
        self._world = world
        self._store = world.store.checkpoints
        self._parts = parts
        self._checkpointer = checkpointer
        self._attempt = 0
        self._done = asyncio.Event()
        if not parts.homes.inherited:
            self._done.set()

    async def wait(self) -> None:
        """Return when nothing is inherited; never if the shard is lost before."""
        await self._done.wait()

    async def run(self) -> None:
        """Until all rows lie under the own home, and the shard's row says so; or until the shard is lost."""
        homes = self._parts.homes
        inherited = homes.inherited
        try:
            copied = 0
            for home in inherited:
                async for rows in self._pages(home):
                    copied += rows
            await self._disinherit()
        except ShardLost:
            await self._overtaken()
            return  # whoever takes it begins anew
        homes.settle()
        # What was counted, or guessed, under several homes is counted once more under the one.
        self._parts.offers.is_uncertain = True
        async with self._checkpointer.writing:
            await self._checkpointer.count()
        self._done.set()
        log.info("inherited index rows written anew", shard=homes.own.shard, homes=len(inherited), rows=copied)

    async def _pages(self, home: Home) -> AsyncIterator[int]:
        """How many rows were written, page by page."""
        after: Timer | None = None
        while True:
            size, after = await self._timers(home, after)
            yield size
            if after is None:
                break
        for queue in await self._queues(home):
            last: Offer | None = None
            while True:
                size, last = await self._offers(home, queue, last)
                yield size
                if last is None:
                    break

    async def _queues(self, home: Home) -> list[QueueKey]:
        """The partitions that have rows there; no others come."""
        while True:
            try:
                return [counted.queue for counted in await self._store.count_offers(home)]
            except Unavailable as error:
                await self._pause(error)

    async def _timers(self, home: Home, after: Timer | None) -> tuple[int, Timer | None]:
        """Write a page of timers; where the next begins, None if there is none. Raises ShardLost."""
        homes, limit = self._parts.homes, self._world.options.page
        while True:
            await asyncio.sleep(self._world.options.inherit_interval_s)
            try:
                async with self._checkpointer.writing:
                    rows = await self._store.read_timers(home, after, limit)
                    own = homes.of_slots(rows)
                    if own:
                        stamp_us = await self._parts.log.stamp_us()
                        await self._checkpointer.send(index_rows(stamp_us, homes.own, added_timers=own))
            except ShardLost:
                raise
            except Unavailable as error:
                await self._pause(error)
            else:
                self._attempt = 0
                return len(own), rows[-1] if len(rows) == limit else None

    async def _offers(self, home: Home, queue: QueueKey, after: Offer | None) -> tuple[int, Offer | None]:
        """As `_timers`."""
        homes, limit = self._parts.homes, self._world.options.page
        while True:
            await asyncio.sleep(self._world.options.inherit_interval_s)
            try:
                async with self._checkpointer.writing:
                    rows = await self._store.read_offers(home, queue, after, limit)
                    own = homes.of_slots(rows)
                    if own:
                        stamp_us = await self._parts.log.stamp_us()
                        await self._checkpointer.send(index_rows(stamp_us, homes.own, added_offers=own))
            except ShardLost:
                raise
            except Unavailable as error:
                await self._pause(error)
            else:
                self._attempt = 0
                return len(own), rows[-1] if len(rows) == limit else None

    async def _disinherit(self) -> None:
        while True:
            try:
                await self._parts.claim.disinherit()
            except ShardLost:
                raise
            except Unavailable as error:
                await self._pause(error)
            else:
                return

    async def _overtaken(self) -> None:
        """A newer epoch was drawn, if the shard isn't lost. If nobody comes, it is given up: only its newest owner can
        say that nothing is inherited any more.
        """
        await asyncio.sleep(self._world.options.overtaken_s)
        if self._parts.log.failure is None:
            self._parts.log.fail("Another host was going to take the shard, and did not.")

    async def _pause(self, error: Unavailable) -> None:
        self._attempt += 1
        if self._attempt.bit_count() == 1:
            log.warning("inherited index rows can't be written anew yet", error=error.message)
        await asyncio.sleep(delay_s(self._world, self._attempt))
