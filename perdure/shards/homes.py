"""Where a shard's index rows lie: under its own home, and until they were written anew there under those of the shards
that it was made of.

Invariant: a row that lies under several homes is one row, and a row of a slot that isn't the shard's is none of its. So
whoever reads here reads what one home would have. Rows are added under the own home only; they are removed under
every home that may have them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from perdure.store.contract import Checkpoint, Checkpoints, Home, QueueCount
from perdure.workflow.tasks import Offer, QueueKey, Timer

T = TypeVar("T", Offer, Timer)

# Up to so many rows of inherited homes are counted one by one; of more the shard's part is guessed by its slots.
COUNTED_MAX = 20_000
_PAGE = 1_000


class Homes:
    """`own` and `inherited`; `settle` when all rows lie under the own one."""

    def __init__(self, checkpoints: Checkpoints, own: Home, inherited: Sequence[Home] = ()) -> None:
        self.own = own
        self.inherited = tuple(inherited)
        self._checkpoints = checkpoints

    def adopt(self) -> None:
        """They are a new owner's."""
        for home in (self.own, *self.inherited):
            self._checkpoints.adopt(home)

    def settle(self) -> None:
        """Nothing has to be read under the inherited homes any more."""
        self.inherited = ()

    async def read_offers(self, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        """As `Checkpoints.read_offers`."""
        if not self.inherited:
            return await self._checkpoints.read_offers(self.own, queue, after, limit)
        read = self._checkpoints.read_offers
        found = await self._pages(lambda home, at, size: read(home, queue, at, size), after, limit)
        rows = {row.order: row for page in found for row in page}
        return [rows[order] for order in sorted(rows)[:limit]]

    async def read_timers(self, after: Timer | None, limit: int) -> list[Timer]:
        """As `Checkpoints.read_timers`."""
        if not self.inherited:
            return await self._checkpoints.read_timers(self.own, after, limit)
        found = await self._pages(self._checkpoints.read_timers, after, limit)
        return sorted({row for page in found for row in page}, key=_timer_order)[:limit]

    async def _pages(
        self, read: Callable[[Home, T | None, int], Awaitable[list[T]]], after: T | None, limit: int
    ) -> list[list[T]]:
        """Of each home the first `limit` rows of the shard's slots."""

        async def first(home: Home) -> list[T]:
            rows: list[T] = []
            at, size = after, max(limit, 1)
            while len(rows) < limit:
                page = await read(home, at, size)
                rows += self.of_slots(page)
                if len(page) < size:
                    break
                at, size = page[-1], max(limit, _PAGE)
            return rows

        return await asyncio.gather(*map(first, (self.own, *self.inherited)))

    def of_slots(self, rows: Iterable[T]) -> list[T]:
        """Those whose slot is the shard's."""
        return [row for row in rows if row.key.slot in self.own.slots]

    async def count_offers(self) -> list[QueueCount]:
        """As `Checkpoints.count_offers`; of very many inherited rows it is a guess."""
        own, *others = await asyncio.gather(*map(self._checkpoints.count_offers, (self.own, *self.inherited)))
        if not self.inherited:
            return own
        counts = {counted.queue: counted for counted in own}
        shares: dict[QueueKey, list[tuple[Home, QueueCount]]] = {}
        for home, found_there in zip(self.inherited, others, strict=True):
            for counted in found_there:
                shares.setdefault(counted.queue, []).append((home, counted))
        left = COUNTED_MAX
        for queue, parts in shares.items():
            rows = sum(counted.count for _, counted in parts)
            left -= rows
            found = await self._counted(queue) if left >= 0 else self._guessed(queue, parts, counts.get(queue))
            if found.count:
                counts[queue] = found
        return [counts[queue] for queue in sorted(counts)]

    async def _counted(self, queue: QueueKey) -> QueueCount:
        times: list[int] = []
        after: Offer | None = None
        while True:
            rows = await self.read_offers(queue, after, _PAGE)
            times += [row.scheduled_time_ns for row in rows]
            if len(rows) < _PAGE:
                return QueueCount(queue, len(times), min(times, default=0))
            after = rows[-1]

    def _guessed(self, queue: QueueKey, parts: Sequence[tuple[Home, QueueCount]], own: QueueCount | None) -> QueueCount:
        """By the shard's part of each home's slots, one at least: what counts as empty is not offered."""
        count = sum(max(1, counted.count * self._shared_slots(home) // _size(home)) for home, counted in parts)
        oldest_ns = min(counted.oldest_ns for _, counted in parts)
        if own is not None:
            # Rows that were written anew already lie under both.
            count, oldest_ns = max(count, own.count), min(oldest_ns, own.oldest_ns)
        return QueueCount(queue, count, oldest_ns)

    def _shared_slots(self, home: Home) -> int:
        own = self.own.slots
        return max(0, min(own.end, home.slots.end) - max(own.first, home.slots.first))

    def removals(self, checkpoint: Checkpoint) -> list[Checkpoint]:
        """What a checkpoint under the own home has to remove under the inherited ones, with the same stamp."""
        if not (checkpoint.removed_offers or checkpoint.removed_timers):
            return []
        found: list[Checkpoint] = []
        for home in self.inherited:
            offers = [row for row in checkpoint.removed_offers if row.key.slot in home.slots]
            timers = [row for row in checkpoint.removed_timers if row.key.slot in home.slots]
            if offers or timers:
                found.append(index_rows(checkpoint.stamp_us, home, removed_offers=offers, removed_timers=timers))
        return found


def index_rows(
    stamp_us: int,
    home: Home,
    *,
    added_offers: Sequence[Offer] = (),
    removed_offers: Sequence[Offer] = (),
    added_timers: Sequence[Timer] = (),
    removed_timers: Sequence[Timer] = (),
) -> Checkpoint:
    """A checkpoint of index rows alone."""
    return Checkpoint(
        stamp_us,
        home,
        snapshots=[],
        pointers=[],
        nodes=[],
        dropped_branches=[],
        added_offers=list(added_offers),
        removed_offers=list(removed_offers),
        added_timers=list(added_timers),
        removed_timers=list(removed_timers),
    )


def _size(home: Home) -> int:
    return home.slots.end - home.slots.first


def _timer_order(timer: Timer) -> tuple[object, ...]:
    return (timer.due_ns, timer.key, timer.run_id, timer.kind, timer.event_id, timer.attempt, timer.stamp)
