"""One partition's references, pollers and calls, as data: pure, without clock, loop or network.

Invariants: a reference that a shard told of is held, or lies at or beyond that shard's `gap`, from where it is pulled;
so nothing is lost. A reference is handed out only while every shard that can be asked has its gap beyond it; so the
order is exact over all shards. Calls go before references, pollers are served in order of arrival. Knows no task's
meaning: a reference is its `order`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from sortedcontainers import SortedDict

from perdure.matching.bounds import Bounds, Room

Order = tuple[Any, ...]


class Reference(Protocol):
    """What names a task and says where it stands: `order` is unique to it, the smallest goes first."""

    @property
    def order(self) -> Order: ...


class Figures(Protocol):
    """A shard's absolute figures for this partition; those of an older `epoch` are void. `oldest_ns` 0 = none."""

    @property
    def shard(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def oldest_ns(self) -> int: ...


R = TypeVar("R", bound=Reference)
P = TypeVar("P")
C = TypeVar("C")


class Place(Enum):
    """Where a held reference is: to be handed out, handed out and being started, or set aside for a while."""

    READY = 1
    STARTING = 2
    RESTING = 3


class Held(msgspec.Struct, Generic[R], eq=False):
    """A reference that is held. `withdrawn`: its shard took it back while it was being started.

    `request_id` and `failures` belong to who starts it: the id of a start of unknown outcome, how often it failed.
    """

    reference: R
    order: Order
    shard: str
    size: int
    place: Place = Place.READY
    withdrawn: bool = False
    request_id: str = ""
    failures: int = 0


class Pull(msgspec.Struct, Generic[R], frozen=True):
    """A question to a shard: up to `limit` references in order beyond `after` (None = from its head)."""

    shard: str
    after: R | None
    limit: int


class _Source(msgspec.Struct, Generic[R], eq=False):
    """What is known of one shard. `gap`: references at or beyond it may be missing here; None = all are held."""

    epoch: int = -1
    count: int = 0
    oldest_ns: int = 0
    held: int = 0
    gap: Order | None = None
    after: R | None = None  # the last reference of the last page
    pulling: bool = False
    refused: Order | None = None  # the smallest one that was not kept since the pull began
    gone: set[Order] = set()  # ended since the pull began; the page may still have them
    late: int = 0
    paused: bool = False  # the last pull failed; not asked again before `resume_pulls`
    reachable: bool = True
    silent: bool = False


class Matcher(Generic[R, P, C]):
    """The verbs: add, withdraw, report, join, leave, call, match, then finish, give_back or rest what went out."""

    def __init__(self, bounds: Bounds, room: Room) -> None:
        self._bounds = bounds
        self._room = room
        self._known: dict[Order, Held[R]] = {}
        self._ready: Any = SortedDict()  # order -> Held
        self._bytes = 0
        self._size = 0  # of the largest reference so far
        self._pollers: OrderedDict[P, None] = OrderedDict()
        self._calls: OrderedDict[C, None] = OrderedDict()
        self._sources: dict[str, _Source[R]] = {}
        self._behind: dict[str, _Source[R]] = {}
        self._floor: Order | None = None  # the smallest gap of a reachable shard
        self.added = 0  # references taken by `add` so far

    def __len__(self) -> int:
        """References held, wherever they are."""
        return len(self._known)

    @property
    def pollers(self) -> int:
        """How many pollers wait."""
        return len(self._pollers)

    def held(self) -> Iterable[Held[R]]:
        """The references held, wherever they are, in no order."""
        return self._known.values()

    def find(self, order: Order) -> Held[R] | None:
        """What is held at this place."""
        return self._known.get(order)

    @property
    def is_idle(self) -> bool:
        """True if forgetting this partition forgets nothing."""
        return not (self._known or self._pollers or self._calls or self._behind)

    def add(self, shard: str, references: Sequence[R], size: int) -> int:
        """Take references of one shard, in order, of about `size` bytes each; returns how many of the first are held.

        A held one is taken again without a trace. The rest is remembered as the shard's gap.
        """
        source = self._source(shard)
        for index, reference in enumerate(references):
            order = reference.order
            held = self._known.get(order)
            if held is not None:
                held.withdrawn = False
                self._claim(held, shard, source)
                continue
            beyond = source.gap is not None and order >= source.gap
            if (beyond and not self._takes_late(source)) or not self._make_room(order, size):
                self._miss(shard, source, min(other.order for other in references[index:]))
                return index
            self._hold(shard, source, reference, order, size)
            self.added += 1
        return len(references)

    def withdraw(self, shard: str, references: Sequence[R]) -> None:
        """These are void. One that is being started stays with who starts it, and is dropped when that fails."""
        source = self._source(shard)
        for reference in references:
            order = reference.order
            if source.pulling:
                source.gone.add(order)
            held = self._known.get(order)
            if held is None:
                continue
            if held.place is Place.STARTING:
                held.withdrawn = True
            else:
                self._forget(held)

    def report(self, figures: Figures) -> list[Held[R]]:
        """Absolute figures of a shard; returns the references whose rest a newer epoch has ended."""
        source = self._source(figures.shard)
        source.silent = False
        if figures.epoch < source.epoch:
            return []
        woken: list[Held[R]] = []
        if figures.epoch > source.epoch:
            source.epoch = figures.epoch
            source.paused = False
            if source.held:
                woken = [held for held in self._known.values() if held.shard == figures.shard]
                woken = [held for held in woken if held.place is Place.RESTING]
        source.count = figures.count
        source.oldest_ns = figures.oldest_ns
        for held in woken:
            self.wake(held)
        return woken

    def backlog(self) -> tuple[int, int]:
        """(count, oldest time in ns or 0) over all shards, those that are not held included."""
        count = 0
        oldest = 0
        for source in self._sources.values():
            if source.count:
                count += source.count
                if source.oldest_ns and (not oldest or source.oldest_ns < oldest):
                    oldest = source.oldest_ns
        return count, oldest

    def join(self, poller: P) -> None:
        """A poller waits, behind all others."""
        self._pollers[poller] = None

    def rejoin(self, poller: P) -> None:
        """A poller goes on waiting, before all others: it was served and got nothing."""
        self._pollers[poller] = None
        self._pollers.move_to_end(poller, last=False)

    def leave(self, poller: P) -> None:
        """A poller waits no more; nothing if it did not."""
        self._pollers.pop(poller, None)

    def call(self, call: C) -> None:
        """A call waits for a poller."""
        self._calls[call] = None

    def recall(self, call: C) -> None:
        """A call that was handed out waits again, before all others."""
        self._calls[call] = None
        self._calls.move_to_end(call, last=False)

    def drop_call(self, call: C) -> None:
        """A call waits no more; nothing if it did not."""
        self._calls.pop(call, None)

    def match(self, references_max: int) -> list[tuple[P, Held[R] | C]]:
        """Pairs of a poller and its work; at most `references_max` of them with references. Each reference handed out
        comes back by `finish`, `give_back` or `rest`.
        """
        pairs: list[tuple[P, Held[R] | C]] = []
        while self._pollers:
            work: Held[R] | C
            if self._calls:
                work, _ = self._calls.popitem(last=False)
            elif references_max > 0 and self._can_hand_out():
                references_max -= 1
                held: Held[R] = self._ready.popitem(0)[1]
                held.place = Place.STARTING
                work = held
            else:
                break
            poller, _ = self._pollers.popitem(last=False)
            pairs.append((poller, work))
        return pairs

    @property
    def is_starving(self) -> bool:
        """True if a poller waits and a reference could be handed to it: a rate limit holds it back."""
        return bool(self._pollers) and self._can_hand_out()

    def finish(self, held: Held[R]) -> None:
        """It was started, or is obsolete."""
        source = self._sources.get(held.shard)
        if source is not None:
            if source.pulling:
                source.gone.add(held.order)
            # A withdrawal came with figures that are without it already.
            if source.count and not held.withdrawn:
                source.count -= 1
                if not source.count:
                    source.oldest_ns = 0
        self._forget(held)

    def give_back(self, held: Held[R]) -> None:
        """It was not started: it stands again where it stood, unless it was withdrawn meanwhile."""
        self._put_back(held, Place.READY)

    def rest(self, held: Held[R]) -> bool:
        """It can't be started now: set it aside until `wake`. False if it was withdrawn meanwhile, and is gone."""
        return self._put_back(held, Place.RESTING)

    def wake(self, held: Held[R]) -> None:
        """The end of its rest; nothing if it does not rest any more."""
        if held.place is Place.RESTING and self._known.get(held.order) is held:
            held.place = Place.READY
            self._ready[held.order] = held

    def wanted(self) -> list[Pull[R]]:
        """What to ask of shards now, the smallest gap first; under way until `pulled` or `pull_failed`."""
        if not self._behind or self._has_enough():
            return []
        under_way = sum(source.pulling for source in self._behind.values())
        idle = [
            (source.gap, shard, source)
            for shard, source in self._behind.items()
            if source.gap is not None and not source.pulling and not source.paused
        ]
        idle.sort(key=lambda entry: (entry[0], entry[1]))
        return [self._begin_pull(shard, source) for _, shard, source in idle[: self._bounds.pulls_max - under_way]]

    def pulled(self, shard: str, references: Sequence[R], size: int, *, end: bool) -> None:
        """A shard's answer, in order. `end`: it has nothing beyond."""
        source = self._sources.get(shard)
        if source is None or not source.pulling:
            return
        gone, refused = source.gone, source.refused
        self._end_pull(source)
        source.reachable = True
        gap: Order | None = None if end or not references else (*references[-1].order, 0)
        if refused is not None and (gap is None or refused < gap):
            gap = refused
        self._set_gap(shard, source, gap)
        if references:
            source.after = references[-1]
        for reference in references:
            order = reference.order
            known = self._known.get(order)
            if known is not None:
                self._claim(known, shard, source)
                continue
            if order in gone:
                continue
            if source.gap is not None and order >= source.gap:
                break
            if not self._make_room(order, size):
                self._miss(shard, source, order)
                break
            self._hold(shard, source, reference, order, size)

    def pull_failed(self, shard: str, *, gone: bool) -> None:
        """A shard did not answer; it holds nobody up until it does. `gone`: it is no more, others offer what it had."""
        source = self._sources.get(shard)
        if source is None or not source.pulling:
            return
        self._end_pull(source)
        source.reachable = False
        source.paused = True
        if gone:
            source.count = source.oldest_ns = 0
            self._set_gap(shard, source, None)
        else:
            self._refloor()

    def resume_pulls(self, shard: str) -> None:
        """Ask a shard again that did not answer."""
        source = self._sources.get(shard)
        if source is not None:
            source.paused = False

    def forget_silent(self) -> None:
        """Drop the figures of shards that hold nothing here and said nothing since the last call; of those that do hold
        something no more counts than that.
        """
        for shard, source in list(self._sources.items()):
            if source.silent and not source.held and source.gap is None and not source.pulling:
                del self._sources[shard]
                continue
            if source.silent:
                source.count = min(source.count, source.held)
                source.oldest_ns = source.oldest_ns if source.count else 0
            source.silent = True

    def clear(self) -> tuple[list[P], list[C]]:
        """Forget everything; returns who still waits."""
        for held in list(self._known.values()):
            self._forget(held)
        waiting = list(self._pollers), list(self._calls)
        self._pollers.clear()
        self._calls.clear()
        self._sources.clear()
        self._behind.clear()
        self._floor = None
        return waiting

    def _source(self, shard: str) -> _Source[R]:
        source = self._sources.get(shard)
        if source is None:
            source = self._sources[shard] = _Source()
        return source

    def _can_hand_out(self) -> bool:
        if not self._ready:
            return False
        return self._floor is None or self._ready.peekitem(0)[0] < self._floor

    def _has_enough(self) -> bool:
        if self._is_full(self._size) and (not self._ready or self._can_hand_out()):
            return True  # a pull would bring what there is no room for
        ready = len(self._ready) if self._floor is None else self._ready.bisect_left(self._floor)
        return bool(ready >= self._bounds.low_water)

    def _takes_late(self, source: _Source[R]) -> bool:
        # While a page is on its way, what comes after it may be in it or not: keeping it is cheaper than another pull.
        source.late += 1
        return source.pulling and source.late <= self._bounds.late_max

    def _hold(self, shard: str, source: _Source[R], reference: R, order: Order, size: int) -> None:
        held = Held(reference, order, shard, size)
        self._known[order] = held
        self._ready[order] = held
        source.held += 1
        self._size = max(self._size, size)
        self._bytes += size
        self._room.references += 1
        self._room.bytes += size

    def _claim(self, held: Held[R], shard: str, source: _Source[R]) -> None:
        """A shard tells of a reference that is held as another's: it was split from that, or merged of it."""
        former = self._sources.get(held.shard)
        if held.shard != shard and (former is None or former.silent or not former.count):
            if former is not None:
                former.held -= 1
            held.shard = shard
            source.held += 1

    def _forget(self, held: Held[R]) -> None:
        if self._known.get(held.order) is not held:
            return
        del self._known[held.order]
        if held.place is Place.READY:
            del self._ready[held.order]
        source = self._sources.get(held.shard)
        if source is not None:
            source.held -= 1
        self._bytes -= held.size
        self._room.references -= 1
        self._room.bytes -= held.size

    def _put_back(self, held: Held[R], place: Place) -> bool:
        if self._known.get(held.order) is not held:
            return False
        if held.withdrawn:
            self._forget(held)
            return False
        held.place = place
        if place is Place.READY:
            self._ready[held.order] = held
        return True

    def _is_full(self, size: int) -> bool:
        bounds = self._bounds
        count = len(self._known)
        if count >= bounds.references_max:
            return True
        return count >= bounds.references_min and (self._bytes + size > bounds.bytes_max or self._room.is_full(size))

    def _make_room(self, order: Order, size: int) -> bool:
        """Evict what is worse than `order` until it fits; False if it doesn't."""
        while self._is_full(size):
            if not self._ready:
                return False
            worst_order, worst = self._ready.peekitem(-1)
            if worst_order <= order:
                return False
            self._forget(worst)
            self._miss(worst.shard, self._source(worst.shard), worst_order)
        return True

    def _miss(self, shard: str, source: _Source[R], order: Order) -> None:
        """What stands at `order` is not held: the shard must be asked for it."""
        if source.pulling and (source.refused is None or order < source.refused):
            source.refused = order
        if source.gap is None or order < source.gap:
            self._set_gap(shard, source, order)

    def _set_gap(self, shard: str, source: _Source[R], gap: Order | None) -> None:
        source.gap = gap
        if gap is None:
            self._behind.pop(shard, None)
            source.after = None
        else:
            self._behind[shard] = source
        self._refloor()

    def _refloor(self) -> None:
        self._floor = None
        for source in self._behind.values():
            gap = source.gap
            if gap is not None and source.reachable and (self._floor is None or gap < self._floor):
                self._floor = gap

    def _begin_pull(self, shard: str, source: _Source[R]) -> Pull[R]:
        source.pulling = True
        source.late = 0
        gap = source.gap
        after = source.after
        if after is not None and gap is not None and after.order >= gap:
            after = None
        if source.held:
            # All of the shard's references before its gap are held: the last of them is where to go on.
            lowest = after.order if after is not None else None
            for order in self._ready.irange(lowest, gap, inclusive=(False, False), reverse=True):
                held = self._ready[order]
                if held.shard == shard:
                    after = held.reference
                    break
        return Pull(shard, after, self._bounds.page)

    def _end_pull(self, source: _Source[R]) -> None:
        source.pulling = False
        source.refused = None
        source.gone = set()
