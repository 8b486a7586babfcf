"""Offers and timers in Cassandra: rows in partitions of a minute each, and a directory of those that may have any.

Invariants, behind which `Books` stands: a bucket's directory row is durable when rows in it count, under a stamp of the
owner that added them; a bucket goes only when it was read empty, under the stamp of a checkpoint that adds nothing to
it. So a drop that arrives late hides nothing: rows that were added since have higher stamps, and so has the directory
row before them. What a former owner's torn checkpoint adds behind a drop is in the log, and the next owner adds it
anew. A read passes the deletions of one bucket at most, and those at a bucket's head only once.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Generic, TypeVar

from perdure.base.clock import Clock
from perdure.base.errors import Unavailable
from perdure.store.cassandra.buckets import NOTHING, Book, Books, Bucket, Place, Scope, Side
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.tables import OFFERS, TIMERS, Sent, Table
from perdure.store.contract import Checkpoint, Home, QueueCount
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer

T = TypeVar("T", Offer, Timer)

LOOKS_MAX = 32  # buckets looked at by one checkpoint, of each sort
_ROWS_MAX = 1_000  # of one read
_COUNTED_TOGETHER = 100


class CassandraIndex:
    """The index rows of every home that is used here."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self.books = Books()

    def adopt(self, home: Home) -> None:
        """See `perdure.store.contract.Checkpoints`."""
        self.books.renew(home.shard, self._clock.monotonic_ns())

    def begin(self, checkpoint: Checkpoint) -> "IndexWrite":
        """A checkpoint's index rows; its `end` has to follow."""
        return IndexWrite(self._session, self._book(checkpoint.home), checkpoint)

    def _book(self, home: Home) -> Book:
        return self.books.of(home.shard, self._clock.monotonic_ns())

    async def read_offers(self, home: Home, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        """See `perdure.store.contract.Checkpoints`."""
        scope = (queue.namespace_id, queue.name, int(queue.kind), queue.version)
        return await self._read(OFFERS, self._book(home).offers, home.shard, scope, after, limit)

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        """See `perdure.store.contract.Checkpoints`."""
        return await self._read(TIMERS, self._book(home).timers, home.shard, (), after, limit)

    async def _read(
        self, table: Table[T], side: Side, shard: str, scope: Scope, after: T | None, limit: int
    ) -> list[T]:
        rows: list[T] = []
        load = partial(self._load, table, shard, scope)
        first = None if after is None else table.bucket(after)[1]
        place = await side.shelf(scope).next(load, first, beyond=False)
        while place is not None and len(rows) < limit:
            begin = after if place == first else None
            rows += await self._read_bucket(table, side, shard, (scope, place), begin, limit - len(rows))
            place = await side.shelf(scope).next(load, place, beyond=True)
        return rows

    async def _read_bucket(
        self, table: Table[T], side: Side, shard: str, bucket: Bucket, after: T | None, limit: int
    ) -> list[T]:
        rows: list[T] = []
        low = side.low(bucket)
        while len(rows) < limit:
            asked = min(limit - len(rows), _ROWS_MAX)
            if low == NOTHING:
                break
            if after is None or (low is not None and low > table.order(after)[0]):
                watch = side.watch(bucket)
                answer = await self._session.run(*table.read_from(shard, bucket, low, asked))
                found = [table.row(columns) for columns in answer]
                side.saw(watch, bucket, table.order(found[0])[0] if found else None)
            else:
                answer = await self._session.run(*table.read_after(shard, bucket, after, asked))
                found = [table.row(columns) for columns in answer]
            rows += found
            if len(found) < asked:
                break
            after, low = found[-1], None
        return rows

    async def _load(self, table: Table[T], shard: str, scope: Scope, after: Place | None, limit: int) -> list[Place]:
        return [tuple(row) for row in await self._session.run(*table.read_places(shard, scope, after, limit))]

    async def count_offers(self, home: Home) -> list[QueueCount]:
        """See `perdure.store.contract.Checkpoints`."""
        side = self._book(home).offers
        counts: dict[Scope, tuple[int, int]] = {}
        found: dict[Scope, list[Place]] = {}
        page: bytes | None = None
        while True:
            statement, values = OFFERS.read_scopes(home.shard)
            rows = await self._session.run(statement, values, page=page, fetch=_COUNTED_TOGETHER)
            buckets = [OFFERS.bucket_of(row) for row in rows]
            watches = [side.watch(bucket) for bucket in buckets]
            answers = await self._session.all(OFFERS.count(home.shard, bucket) for bucket in buckets)
            for bucket, watch, answer in zip(buckets, watches, answers, strict=True):
                count, oldest_ns = answer[0]
                side.saw(watch, bucket, oldest_ns)
                found.setdefault(bucket[0], []).append(bucket[1])
                if count:
                    before, before_ns = counts.get(bucket[0], (0, oldest_ns))
                    counts[bucket[0]] = before + count, min(before_ns, oldest_ns)
            page = rows.next_page
            if page is None:
                break
        side.fill(found, is_whole=True)
        return [QueueCount(_queue(scope), count, oldest_ns) for scope, (count, oldest_ns) in counts.items()]

    async def drop(self, home: Home, stamp_us: int) -> None:
        """See `perdure.store.contract.Checkpoints`."""
        await self._drop(OFFERS, home.shard, stamp_us)
        await self._drop(TIMERS, home.shard, stamp_us)

    async def _drop(self, table: Table[T], shard: str, stamp_us: int) -> None:
        """The buckets first, so that whoever comes again after half of it still finds them."""
        page: bytes | None = None
        while True:
            statement, values = table.read_scopes(shard)
            rows = await self._session.run(statement, values, page=page, fetch=_COUNTED_TOGETHER)
            await self._session.all(table.drop(shard, table.bucket_of(row), stamp_us) for row in rows)
            page = rows.next_page
            if page is None:
                break
        await self._session.run(*table.forget(shard, stamp_us))


def _queue(scope: Scope) -> QueueKey:
    namespace_id, name, kind, version = scope
    return QueueKey(str(namespace_id), str(name), QueueKind(int(kind)), str(version))


class _Part(Generic[T]):
    """The rows of one sort that a checkpoint adds and removes, by bucket. What it both removes and adds is added."""

    def __init__(self, table: Table[T], side: Side, added: Iterable[T], removed: Iterable[T]) -> None:
        self.table: Table[T] = table
        self.side = side
        self.added: dict[Bucket, dict[tuple[object, ...], T]] = {}
        self.removed: dict[Bucket, dict[tuple[object, ...], T]] = {}
        self.dropped: list[Bucket] = []
        self.trimmed: dict[Bucket, int] = {}
        for row in added:
            self.added.setdefault(table.bucket(row), {})[table.order(row)] = row
        for row in removed:
            bucket, order = table.bucket(row), table.order(row)
            if order not in self.added.get(bucket, ()):
                self.removed.setdefault(bucket, {})[order] = row
        self.lowest = {bucket: min(table.order(row)[0] for row in rows.values()) for bucket, rows in self.added.items()}

    def begin(self, stamp_us: int) -> None:
        removed = {bucket: {self.table.order(row)[0] for row in rows.values()} for bucket, rows in self.removed.items()}
        self.side.begin(self.lowest, removed, stamp_us)

    async def find_empty(self, session: Session, shard: str, stamp_us: int) -> None:
        """Look at buckets that may have nothing left. Raises nothing for a store that can't be read."""
        looked = [bucket for bucket in self.side.candidates(stamp_us, LOOKS_MAX) if self._adds_none(bucket, stamp_us)]
        if not looked:
            return
        watches = [self.side.watch(bucket) for bucket in looked]
        try:
            answers = await session.all(
                self.table.read_from(shard, bucket, self.side.low(bucket), 1) for bucket in looked
            )
        except Unavailable:
            for bucket in looked:
                self.side.look_later(bucket, stamp_us)
            return
        for bucket, watch, answer in zip(looked, watches, answers, strict=True):
            if answer:
                self.side.saw(watch, bucket, self.table.order(self.table.row(answer[0]))[0])
                self.side.look_later(bucket, stamp_us)
                low = self.side.trim(bucket)
                if low is not None:
                    self.trimmed[bucket] = low
            else:
                self.side.drop(bucket)
                self.dropped.append(bucket)

    def _leaving(self) -> Iterator[tuple[Bucket, bool]]:
        """The directory rows to be deleted, and with which of them all before go too."""
        last: dict[tuple[Scope, Place], Bucket] = {}
        for bucket in sorted(self.dropped):
            if self.side.is_first(bucket) and not self._adds_before(bucket):
                last[bucket[0], bucket[1][:-1]] = bucket
            else:
                yield bucket, False
        for bucket in last.values():
            yield bucket, True

    def _adds_before(self, bucket: Bucket) -> bool:
        """Whether this checkpoint adds to a bucket before it: a shelf that is read meanwhile may not know that yet."""
        scope, place = bucket
        return any(at == scope and added <= place for at, added in self.added)

    def _adds_none(self, bucket: Bucket, stamp_us: int) -> bool:
        if bucket in self.added:
            self.side.look_later(bucket, stamp_us)
            return False
        return True

    def statements(self, shard: str, stamp_us: int) -> Iterator[Sent]:
        """All that is to be written."""
        table = self.table
        for bucket, rows in self.added.items():
            if bucket not in self.side.entered:
                yield table.enter(shard, bucket, stamp_us)
            yield from table.add(shard, bucket, list(rows.values()), stamp_us)
        for bucket, rows in self.removed.items():
            yield from table.remove(shard, bucket, list(rows.values()), stamp_us)
        for bucket, low in self.trimmed.items():
            yield table.trim(shard, bucket, low, stamp_us)
        for bucket in self.dropped:
            yield table.drop(shard, bucket, stamp_us)
        for bucket, is_first in self._leaving():
            yield table.leave(shard, bucket, stamp_us, is_first=is_first)

    def end(self, stamp_us: int, *, is_durable: bool) -> None:
        self.side.end(self.lowest, is_durable=is_durable)
        if not is_durable:
            for bucket in self.dropped:  # perhaps they are there still
                self.side.look_later(bucket, stamp_us)


class IndexWrite:
    """A checkpoint's index rows on their way."""

    def __init__(self, session: Session, book: Book, checkpoint: Checkpoint) -> None:
        self._session = session
        self._shard = checkpoint.home.shard
        self._stamp_us = checkpoint.stamp_us
        offers, timers = book.offers, book.timers
        self._offers = _Part(OFFERS, offers, checkpoint.added_offers, checkpoint.removed_offers)
        self._timers = _Part(TIMERS, timers, checkpoint.added_timers, checkpoint.removed_timers)
        self._offers.begin(self._stamp_us)
        self._timers.begin(self._stamp_us)

    async def find_empty(self) -> None:
        """Look for buckets that have nothing left, to drop them with this checkpoint."""
        await self._offers.find_empty(self._session, self._shard, self._stamp_us)
        await self._timers.find_empty(self._session, self._shard, self._stamp_us)

    def statements(self) -> Iterator[Sent]:
        """All that is to be written."""
        yield from self._offers.statements(self._shard, self._stamp_us)
        yield from self._timers.statements(self._shard, self._stamp_us)

    def end(self, *, is_durable: bool) -> None:
        """The write has ended: all of it is durable, or nobody knows."""
        self._offers.end(self._stamp_us, is_durable=is_durable)
        self._timers.end(self._stamp_us, is_durable=is_durable)
