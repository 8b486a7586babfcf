"""What a process remembers of buckets: never more than so much, and what it forgets it reads again."""

import pytest

from perdure.store.cassandra import buckets
from perdure.store.cassandra.buckets import (
    FIRST_LOOK_US,
    LAST_LOOK_US,
    NOTHING,
    Book,
    Books,
    Bucket,
    Place,
    Scope,
    Shelf,
    Side,
)

SCOPE: Scope = ("ns", "queue", 2, "")
SECOND_US = 1_000_000


def bucket(minute: int, scope: Scope = SCOPE) -> Bucket:
    return scope, (3, 0, minute)


class Directory:
    """A scope's places, and how often it was asked for them."""

    def __init__(self, minutes: range) -> None:
        self.places: list[Place] = [(minute,) for minute in minutes]
        self.asked = 0

    async def load(self, after: Place | None, limit: int) -> list[Place]:
        self.asked += 1
        return [place for place in self.places if after is None or place > after][:limit]


async def walked(shelf: Shelf, directory: Directory, place: Place | None = None) -> list[Place]:
    found: list[Place] = []
    at = await shelf.next(directory.load, place, beyond=False)
    while at is not None:
        found.append(at)
        at = await shelf.next(directory.load, at, beyond=True)
    return found


async def test_a_shelf_reads_the_directory_once_and_knows_what_is_added_since() -> None:
    directory, shelf = Directory(range(0, 2_500, 2)), Shelf()
    assert await walked(shelf, directory) == directory.places
    assert directory.asked == 2
    shelf.add((7,))
    shelf.discard((8,))
    assert (await walked(shelf, directory, (5,)))[:3] == [(6,), (7,), (10,)]
    assert directory.asked == 2


async def test_a_shelf_that_is_known_whole_asks_nobody() -> None:
    directory, shelf = Directory(range(0)), Shelf([(5,), (3,)])
    shelf.add((4,))
    assert await walked(shelf, directory) == [(3,), (4,), (5,)]
    assert await shelf.next(directory.load, (6,), beyond=False) is None
    assert directory.asked == 0


async def test_a_full_shelf_forgets_its_end_and_reads_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "PLACES_MAX", 10)
    directory, shelf = Directory(range(25)), Shelf()
    assert await walked(shelf, directory) == directory.places
    assert shelf.size == 10
    directory.places.insert(0, (-1,))
    shelf.add((-1,))
    assert await walked(shelf, directory) == directory.places
    assert shelf.size == 10


async def test_what_many_writes_leave_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLACES_MAX", "SHELVES_MAX", "MARKS_MAX", "ENTERED_MAX"):
        monkeypatch.setattr(buckets, name, 20)
    side = Side()
    side.fill({}, is_whole=True)
    for n in range(1_000):
        one = bucket(n, ("ns", f"queue {n % 100}", 2, ""))
        side.begin({one: n}, {}, n)
        side.end({one: n}, is_durable=True)
        side.begin({}, {one: {n}}, n)
        side.end({}, is_durable=True)
        side.saw(side.watch(one), one, n)
    assert side.size <= 20 * 21 + 20 + 20 + 41


async def test_a_scope_whose_shelf_was_forgotten_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "SHELVES_MAX", 2)
    side = Side()
    side.fill({}, is_whole=True)
    directory = Directory(range(3))
    assert await walked(side.shelf(("new",)), directory) == []
    for n in range(2):
        side.shelf((f"queue {n}",))
    assert await walked(side.shelf(("new",)), directory) == directory.places


def test_a_bucket_is_looked_at_after_two_minutes_and_then_less_and_less_often() -> None:
    side = Side()
    one = bucket(1)
    side.begin({}, {one: {70}}, 5)
    side.end({}, is_durable=True)
    assert side.candidates(5 + FIRST_LOOK_US - 1, 9) == []
    stamp = 5
    for times in (1, 2, 4, 8, 16):
        stamp += min(times * FIRST_LOOK_US, LAST_LOOK_US)
        assert side.candidates(stamp - 1, 9) == []
        assert side.candidates(stamp, 9) == [one]
        side.saw(side.watch(one), one, 80)
        side.look_later(one, stamp)
    # The row for which it was kept goes: it is looked at soon again.
    side.begin({}, {one: {80}}, stamp)
    assert side.candidates(stamp + FIRST_LOOK_US, 9) == [one]


def test_what_a_reader_finds_empty_is_looked_at_too_and_not_read_again() -> None:
    side = Side()
    one = bucket(1)
    side.saw(side.watch(one), one, None)
    assert side.low(one) == NOTHING
    assert side.candidates(SECOND_US, 9) == []
    assert side.candidates(SECOND_US + FIRST_LOOK_US, 9) == [one]


def test_a_low_mark_rises_only_while_nobody_adds_to_the_bucket_and_falls_before() -> None:
    side = Side()
    one, other = bucket(1), bucket(2)
    watch = side.watch(one)
    side.begin({one: 60}, {}, 1)
    side.saw(watch, one, None)
    side.saw(side.watch(one), one, None)
    assert side.low(one) is None
    side.saw(side.watch(other), other, 130)
    assert side.low(other) == 130
    side.end({one: 60}, is_durable=False)
    side.saw(side.watch(one), one, None)
    side.begin({one: 60, other: 120}, {}, 1)
    assert side.low(one) == 60
    assert side.low(other) == 120


def test_a_dropped_bucket_has_to_be_entered_again() -> None:
    side = Side()
    one = bucket(1)
    side.begin({one: 60}, {}, 1)
    assert one not in side.entered
    side.end({one: 60}, is_durable=True)
    assert one in side.entered
    side.drop(one)
    assert one not in side.entered


def test_a_book_that_nobody_uses_is_forgotten_but_not_while_something_is_written() -> None:
    books = Books()
    first, second = books.of("first", 0), books.of("second", 0)
    first.offers.begin({bucket(1): 60}, {}, 1)
    for n in range(3):
        books.of(f"other {n}", Books.IDLE_NS + 1)
    assert books.of("first", Books.IDLE_NS + 1) is first
    assert books.of("second", Books.IDLE_NS + 1) is not second


def test_books_are_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Books, "BOOKS_MAX", 5)
    books = Books()
    made: list[Book] = [books.of(str(n), 0) for n in range(50)]
    assert len(books) <= 6
    assert books.of("49", 0) is made[-1]
    assert books.renew("49", 0) is not made[-1]
