"""The references of one lane of a partition, as data: pure, without clock, loop or network.

Invariants: a reference that a shard told of is held, or lies at or beyond that shard's `gap`, from where it is pulled;
so nothing is lost. A reference may be handed out only while every shard that can be asked has its gap beyond it; so the
order is exact over all shards. Knows no task's meaning, nor other lanes: a reference is its `order`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Generic

import msgspec
from sortedcontainers import SortedDict

from perdure.matching.bounds import Bounds, Room
from perdure.matching.references import Figures, Held, Order, Place, Pull, R, Stock


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


class Shelf(Generic[R]):
    """The verbs: add, withdraw, report, take, then finish, give_back or rest what went out; wanted, then pulled.
    `at`: where it stands among its partition's lanes, None = nowhere; that and `stride` belong to whoever chooses.
    """

    __slots__ = (
        "_behind",
        "_bounds",
        "_floor",
        "_known",
        "_ready",
        "_room",
        "_sources",
        "_stock",
        "added",
        "at",
        "counted",
        "is_closed",
        "lane",
        "stride",
    )

    def __init__(self, bounds: Bounds, room: Room, stock: Stock, lane: str = "") -> None:
        self.lane = lane
        self.at: tuple[Any, ...] | None = None
        self.stride = 1
        self.counted = (0, 0)  # what `backlog` was at the last count
        self.is_closed = False  # by a limit of its own
        self._bounds = bounds
        self._room = room
        self._stock = stock
        self._known: dict[Order, Held[R]] = {}
        self._ready: Any = SortedDict()  # order -> Held
        self._sources: dict[str, _Source[R]] = {}
        self._behind: dict[str, _Source[R]] = {}
        self._floor: Order | None = None  # the smallest gap of a reachable shard
        self.added = 0  # references taken by `add` so far

    def __len__(self) -> int:
        """References held, wherever they are."""
        return len(self._known)

    @property
    def ready(self) -> int:
        """References that may be handed out."""
        return len(self._ready)

    @property
    def is_behind(self) -> bool:
        """True if shards have more than is held."""
        return bool(self._behind)

    @property
    def is_idle(self) -> bool:
        """True if forgetting this lane forgets nothing."""
        return not (self._known or self._behind)

    @property
    def is_unknown(self) -> bool:
        """True if no shard has said anything of this lane for long."""
        return self.is_idle and not self._sources

    @property
    def head(self) -> Held[R] | None:
        """The first that may be handed out; None if there is none, or if a shard may have a better one."""
        return self._ready.peekitem(0)[1] if self.can_hand_out else None

    @property
    def first(self) -> Order | None:
        """At or beyond this is the lane's best, held or not; None if it is empty."""
        order: Order | None = self._ready.peekitem(0)[0] if self._ready else None
        return self._floor if order is None or (self._floor is not None and self._floor <= order) else order

    def held(self) -> Iterable[Held[R]]:
        """The references held, wherever they are, in no order."""
        return self._known.values()

    def find(self, order: Order) -> Held[R] | None:
        """What is held at this place."""
        return self._known.get(order)

    def take(self) -> Held[R]:
        """The head goes out."""
        held: Held[R] = self._ready.popitem(0)[1]
        held.place = Place.STARTING
        return held

    def add(self, shard: str, references: Sequence[R], size: int, *, more: bool = False) -> int:
        """Take references of one shard, in order, of about `size` bytes each; returns how many of the first are held.

        A held one is taken again without a trace. The rest is remembered as the shard's gap, and so is what is behind
        them if there is `more` and not all of the shard's are held.
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
        if more and references and source.count > source.held:
            self._miss(shard, source, (*references[-1].order, 0))
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

    @property
    def can_hand_out(self) -> bool:
        """True if the first that is held is the best there is."""
        if not self._ready:
            return False
        return self._floor is None or self._ready.peekitem(0)[0] < self._floor

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

    def wanted(self, *, urgent: bool = False) -> list[Pull[R]]:
        """What to ask of shards now, the smallest gap first; under way until `pulled` or `pull_failed`. `urgent`: all
        other lanes wait for this one, so that room will be found.
        """
        if not self._behind or not (urgent or not self._has_enough()):
            return []
        under_way = self._stock.pulling
        idle = [
            (source.gap, shard, source)
            for shard, source in self._behind.items()
            if source.gap is not None and not source.pulling and not source.paused
        ]
        idle.sort(key=lambda entry: (entry[0], entry[1]))
        room = max(0, self._bounds.pulls_max - under_way)
        return [self._begin_pull(shard, source) for _, shard, source in idle[:room]]

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

    def drop_worst(self) -> None:
        """Make room: the shard keeps it."""
        order, worst = self._ready.peekitem(-1)
        self._forget(worst)
        self._miss(worst.shard, self._source(worst.shard), order)

    def clear(self) -> None:
        """Forget everything."""
        for held in list(self._known.values()):
            self._forget(held)
        for source in self._sources.values():
            self._stock.pulling -= source.pulling
        self._sources.clear()
        self._behind.clear()
        self._floor = None

    def _source(self, shard: str) -> _Source[R]:
        source = self._sources.get(shard)
        if source is None:
            source = self._sources[shard] = _Source()
        return source

    def _has_enough(self) -> bool:
        if self._is_full(self._stock.size) and (not self._ready or self.can_hand_out):
            return True  # a pull would bring what there is no room for
        ready = len(self._ready) if self._floor is None else self._ready.bisect_left(self._floor)
        return bool(ready >= max(1, self._bounds.low_water // self._stock.lanes))

    def _takes_late(self, source: _Source[R]) -> bool:
        # While a page is on its way, what comes after it may be in it or not: keeping it is cheaper than another pull.
        source.late += 1
        return source.pulling and source.late <= self._bounds.late_max

    def _hold(self, shard: str, source: _Source[R], reference: R, order: Order, size: int) -> None:
        held = Held(reference, order, shard, size, lane=self.lane)
        self._known[order] = held
        self._ready[order] = held
        source.held += 1
        stock = self._stock
        stock.size = max(stock.size, size)
        stock.references += 1
        stock.bytes += size
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
        self._stock.references -= 1
        self._stock.bytes -= held.size
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
        bounds, stock = self._bounds, self._stock
        if stock.references >= bounds.references_max:
            return True
        over = stock.bytes + size > bounds.bytes_max
        return stock.references >= bounds.references_min and (over or self._room.is_full(size))

    def _make_room(self, order: Order, size: int) -> bool:
        """Evict what is worse than `order` until it fits; False if it doesn't."""
        while self._is_full(size):
            if self._stock.lanes > 1 and self._stock.relieve(self):
                continue
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
        self._stock.pulling += 1
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
        return Pull(shard, after, self._page, self.lane)

    @property
    def _page(self) -> int:
        bounds, lanes = self._bounds, self._stock.lanes
        return bounds.page if lanes == 1 else max(1, min(bounds.page, bounds.references_max // (2 * lanes)))

    def _end_pull(self, source: _Source[R]) -> None:
        source.pulling = False
        self._stock.pulling -= 1
        source.refused = None
        source.gone = set()
