"""What a process remembers of a home's index: which buckets may hold rows, and where reading one need not begin.

A bucket is a partition of `offer` or `timer`: one minute of one scope (a queue, or all timers of a shard). All here is
a cache of the store's directory: it may be forgotten at any time, and is read again when it is needed. Three
invariants:
- A shelf knows every bucket of its scope up to `end` that the directory had when it was read, or that this owner has
  added to since.
- `entered` are buckets whose directory row this owner wrote for certain, after any drop of it that this owner sent: a
  former owner's drop has a lower stamp, so it hides neither that row nor what was added behind it.
- Below a mark's `low` no row stands. It rises only by a read that began and ended while no write to the bucket was
  under way, and falls before a row is written below it.
Knows neither statements nor rows.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

# Where a bucket lies in its scope: (priority, pass, minute) of an offer, (minute,) of a timer.
Place = tuple[int, ...]
Scope = tuple[str | int, ...]
Bucket = tuple[Scope, Place]
Load = Callable[[Place | None, int], Awaitable[list[Place]]]

PLACES_MAX = 8_192  # of one shelf, in memory
SHELVES_MAX = 1_024
MARKS_MAX = 8_192
ENTERED_MAX = 32_768
_PAGE = 1_000
# A bucket from which rows were removed is looked at after so long, and then less and less often. Of stamps, not clocks.
FIRST_LOOK_US = 120_000_000
LAST_LOOK_US = 3_600_000_000
# So many deletions at a bucket's head become one: Cassandra refuses a read that goes over 100,000.
TRIM_ROWS = 500

NOTHING: Final = 1 << 63  # the `low` of a bucket that is known to be empty: beyond every row


class Shelf:
    """The buckets of one scope, in order, as far as they have been read."""

    __slots__ = ("_begun", "_end", "_late", "_loading", "_places")

    def __init__(self, places: Iterable[Place] | None = None) -> None:
        """`places`: all there are; None = not known yet."""
        self._places: list[Place] = sorted(set(places or ()))
        self._begun = places is not None
        self._end: Place | None = None  # all is known up to here; None = to the end, if it is begun
        self._loading = 0
        self._late: set[Place] = set()
        self._trim()

    def add(self, place: Place) -> None:
        """The bucket may hold rows from now on."""
        if self._loading:
            self._late.add(place)
        if self._begun and (self._end is None or place <= self._end):
            at = bisect_left(self._places, place)
            if at == len(self._places) or self._places[at] != place:
                self._places.insert(at, place)
                self._trim()

    def discard(self, place: Place) -> None:
        """The bucket is gone."""
        self._late.discard(place)
        at = bisect_left(self._places, place)
        if at < len(self._places) and self._places[at] == place:
            del self._places[at]

    def is_first(self, place: Place) -> bool:
        """Whether the directory has nothing at this place or before it, with all but the minute alike. False if that
        is not known.
        """
        if not self._begun or self._loading or (self._end is not None and place > self._end):
            return False
        at = bisect_left(self._places, place[:-1])
        return at == len(self._places) or self._places[at][:-1] != place[:-1] or self._places[at] > place

    async def next(self, load: Load, place: Place | None, *, beyond: bool) -> Place | None:
        """The first bucket at `place` or later, or `beyond` it; None if there is none. `load(after, limit)` reads the
        directory.
        """
        while True:
            at = 0
            if place is not None:
                at = bisect_right(self._places, place) if beyond else bisect_left(self._places, place)
            if at < len(self._places):
                return self._places[at]
            if self._begun and self._end is None:
                return None
            if len(self._places) >= PLACES_MAX and place is not None:
                found = await load(place if beyond else _before(place), 1)
                return found[0] if found else None
            await self._load(load)

    async def _load(self, load: Load) -> None:
        begin = self._end
        self._loading += 1
        try:
            found = await load(begin, _PAGE)
            if self._begun and self._end != begin:
                return  # somebody else has read on meanwhile
            end = found[-1] if len(found) == _PAGE else None
            found += [place for place in self._late if end is None or place <= end]
            self._begun = True
            self._end = end
            self._places = sorted({*self._places, *found})
            self._trim()
        finally:
            self._loading -= 1
            if not self._loading:
                self._late.clear()

    def _trim(self) -> None:
        if len(self._places) > PLACES_MAX:
            del self._places[PLACES_MAX:]
            self._end = self._places[-1]

    @property
    def size(self) -> int:
        """How many buckets are in memory."""
        return len(self._places)


def _before(place: Place) -> Place:
    return (*place[:-1], place[-1] - 1)


class Mark:
    """`low`: no row of the bucket stands below, by the first part of its order. `since`: the stamp at which rows were
    removed, None if none were; `look_us`: the stamp at which to look whether any is left; `pause_us`: until the next.
    `gone`: how many rows were removed since it was trimmed.
    """

    __slots__ = ("gone", "look_us", "low", "pause_us", "since")

    def __init__(self) -> None:
        self.low: int | None = None
        self.since: int | None = None
        self.look_us: int | None = None
        self.pause_us = FIRST_LOOK_US
        self.gone = 0


class Side:
    """One of a home's two indexes."""

    def __init__(self) -> None:
        self.entered: dict[Bucket, None] = {}
        self._shelves: OrderedDict[Scope, Shelf] = OrderedDict()
        self._is_whole = False  # scopes without a shelf have no bucket
        self._marks: OrderedDict[Bucket, Mark] = OrderedDict()
        self._looks: list[tuple[int, Bucket]] = []
        self._writing: list[frozenset[Bucket]] = []
        self._begun = 0

    # ------------------------------------------------------------ which buckets there are

    def shelf(self, scope: Scope) -> Shelf:
        """The shelf of a scope."""
        found = self._shelves.get(scope)
        if found is None:
            found = self._shelves[scope] = Shelf(() if self._is_whole else None)
            if len(self._shelves) > SHELVES_MAX:
                self._shelves.popitem(last=False)
                self._is_whole = False
        self._shelves.move_to_end(scope)
        return found

    def fill(self, found: dict[Scope, list[Place]], *, is_whole: bool) -> None:
        """Take what a reading of the whole directory has found. `is_whole`: it has left nothing out."""
        ours = [*self.entered, *(bucket for writing in self._writing for bucket in writing)]
        if len(found) <= SHELVES_MAX:
            for scope, place in ours:
                found.setdefault(scope, []).append(place)
            for scope, places in found.items():
                self._shelves[scope] = Shelf(places)
        self._is_whole = is_whole and len(self._shelves) <= SHELVES_MAX
        while len(self._shelves) > SHELVES_MAX:
            self._shelves.popitem(last=False)

    def _adds(self, buckets: Iterable[Bucket]) -> None:
        for scope, place in buckets:
            if self._is_whole:
                self.shelf(scope).add(place)
            elif scope in self._shelves:
                self._shelves[scope].add(place)

    # ------------------------------------------------------------ writing

    def begin(self, added: Mapping[Bucket, int], removed: Mapping[Bucket, AbstractSet[int]], stamp_us: int) -> None:
        """Rows are going to be written: by bucket the lowest that is added, and those that are removed, each by the
        first part of its order.
        """
        self._begun += 1
        self._writing.append(frozenset(added))
        self._adds(added)
        for bucket, lowest in added.items():
            mark = self._marks.get(bucket)
            if mark is not None and mark.low is not None:
                mark.low = min(mark.low, lowest)
        for bucket, rows in removed.items():
            self._removed(bucket, rows, stamp_us)

    def end(self, added: Mapping[Bucket, int], *, is_durable: bool) -> None:
        """The write that began with `added` has ended."""
        self._writing.remove(frozenset(added))
        self._adds(added)  # who began to read the directory before they were there has missed them
        if is_durable:
            if len(self.entered) + len(added) > ENTERED_MAX:
                self.entered.clear()
            self.entered.update(dict.fromkeys(added))

    def _removed(self, bucket: Bucket, rows: AbstractSet[int], stamp_us: int) -> None:
        mark = self._mark(bucket)
        if mark.since is None:
            mark.since = stamp_us
        mark.gone += len(rows)
        if mark.gone >= TRIM_ROWS:
            self._look_by(bucket, mark, stamp_us)
        if mark.low is None or mark.low in rows:
            # The row for which it is kept may be the one that goes.
            mark.pause_us = FIRST_LOOK_US
            self._look_by(bucket, mark, stamp_us + FIRST_LOOK_US)
        elif mark.look_us is None:
            self._look_by(bucket, mark, stamp_us + mark.pause_us)

    def _look_by(self, bucket: Bucket, mark: Mark, at_us: int) -> None:
        """Look at `at_us`, or before if that was the plan."""
        if mark.look_us is None or mark.look_us > at_us:
            mark.look_us = at_us
            heapq.heappush(self._looks, (at_us, bucket))

    def _mark(self, bucket: Bucket) -> Mark:
        mark = self._marks.get(bucket)
        if mark is None:
            mark = self._marks[bucket] = Mark()
            if len(self._marks) > MARKS_MAX:
                self._marks.popitem(last=False)
            if len(self._looks) > 2 * MARKS_MAX:
                self._looks = [look for look in self._looks if self._is_set(*look)]
                heapq.heapify(self._looks)
        self._marks.move_to_end(bucket)
        return mark

    def _is_set(self, at_us: int, bucket: Bucket) -> bool:
        mark = self._marks.get(bucket)
        return mark is not None and mark.look_us == at_us

    # ------------------------------------------------------------ reading, and what it shows

    def low(self, bucket: Bucket) -> int | None:
        """No row stands below; NOTHING = none at all; None = not known."""
        mark = self._marks.get(bucket)
        return None if mark is None else mark.low

    def watch(self, bucket: Bucket) -> int | None:
        """Before a read of a bucket from its `low` on; the answer is for `saw`."""
        return None if any(bucket in writing for writing in self._writing) else self._begun

    def saw(self, watch: int | None, bucket: Bucket, low: int | None) -> None:
        """A read from the bucket's `low` on has found this row first; None = no row."""
        if watch is None or watch != self._begun:
            return  # a write may have added something meanwhile
        mark = self._mark(bucket)
        mark.low = NOTHING if low is None else low
        if low is None:
            self._look_by(bucket, mark, 0 if mark.since is None else mark.since + FIRST_LOOK_US)

    def candidates(self, stamp_us: int, limit: int) -> list[Bucket]:
        """Buckets to look at now, whether any row is left in them; each is returned once for each time."""
        found: list[Bucket] = []
        while self._looks and self._looks[0][0] <= stamp_us and len(found) < limit:
            at_us, bucket = heapq.heappop(self._looks)
            if not self._is_set(at_us, bucket):
                continue
            mark = self._marks[bucket]
            if mark.since is None:
                # A reader found it empty: for how long it has been is not known.
                mark.since = stamp_us
                mark.look_us = None
                self._look_by(bucket, mark, stamp_us + FIRST_LOOK_US)
                continue
            mark.look_us = None
            found.append(bucket)
        return found

    def look_later(self, bucket: Bucket, stamp_us: int) -> None:
        """Rows are left in it, or nobody could look."""
        mark = self._mark(bucket)
        mark.since = stamp_us if mark.since is None else mark.since
        mark.pause_us = min(2 * mark.pause_us, LAST_LOOK_US)
        self._look_by(bucket, mark, stamp_us + mark.pause_us)

    def trim(self, bucket: Bucket) -> int | None:
        """If many rows were removed: where rows of the bucket begin, what is before it is to be deleted at once."""
        mark = self._marks.get(bucket)
        if mark is None or mark.low is None or mark.low == NOTHING or mark.gone < TRIM_ROWS:
            return None
        mark.gone = 0
        return mark.low

    def drop(self, bucket: Bucket) -> None:
        """Its partition and its directory row are going to be deleted."""
        self.entered.pop(bucket, None)
        self._marks.pop(bucket, None)
        shelf = self._shelves.get(bucket[0])
        if shelf is not None:
            shelf.discard(bucket[1])

    def is_first(self, bucket: Bucket) -> bool:
        """Whether nothing of the directory stands at a dropped bucket or before it, but for the minute alike."""
        shelf = self._shelves.get(bucket[0])
        return shelf is not None and shelf.is_first(bucket[1])

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way."""
        return bool(self._writing)

    @property
    def size(self) -> int:
        """How many entries of all sorts are in memory."""
        shelves = sum(shelf.size + 1 for shelf in self._shelves.values())
        return shelves + len(self._marks) + len(self.entered) + len(self._looks)


class Book:
    """A home's two indexes. A new one knows nothing, which is never wrong."""

    __slots__ = ("offers", "timers", "used_ns")

    def __init__(self, used_ns: int) -> None:
        self.offers = Side()
        self.timers = Side()
        self.used_ns = used_ns

    @property
    def is_writing(self) -> bool:
        """Whether a write is under way."""
        return self.offers.is_writing or self.timers.is_writing


class Books:
    """The books of the homes that are used here; one that has not been used for long is forgotten."""

    IDLE_NS = 900 * 1_000_000_000
    BOOKS_MAX = 4_096

    def __init__(self) -> None:
        self._books: OrderedDict[str, Book] = OrderedDict()

    def of(self, shard: str, now_ns: int) -> Book:
        """The home's book, a new one if there is none."""
        book = self._books.get(shard)
        if book is None:
            book = self._books[shard] = Book(now_ns)
        book.used_ns = now_ns
        self._books.move_to_end(shard)
        for name, oldest in list(self._books.items())[:2]:
            is_old = oldest.used_ns + self.IDLE_NS < now_ns or len(self._books) > self.BOOKS_MAX
            if is_old and oldest is not book and not oldest.is_writing:
                del self._books[name]
        return book

    def renew(self, shard: str, now_ns: int) -> Book:
        """A new book: the home has an owner that knows nothing yet. Who still uses the old one does no harm."""
        self._books.pop(shard, None)
        return self.of(shard, now_ns)

    def __len__(self) -> int:
        return len(self._books)
