"""One partition's references by lane, its pollers and its calls, as data: pure, without clock, loop or network.

Invariants: calls go before references, pollers are served in order of arrival. What goes next is the best of all lanes:
by `order`, or, if lanes are fair, by priority and whose turn it is; a lane that a shard may have something better of
holds the others up until that was pulled, so the choice is exact over all shards. A partition of one lane pays for none
of this. Knows no task's meaning: a reference is its `order`, whose first part is its priority.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from sortedcontainers import SortedDict, SortedList

from perdure.matching.bounds import Bounds, Room
from perdure.matching.fairness import FIRST, Turn, next_turn, stride_of
from perdure.matching.references import Figures, Held, Order, Place, Pull, R, Stock
from perdure.matching.shelf import Shelf

__all__ = ["Gate", "Held", "Matcher", "Order", "Place", "Pull"]

P = TypeVar("P")
C = TypeVar("C")

# Lanes that are looked at together for what is to be pulled of them.
_LOOKED_AT_MAX = 64


class Gate(Protocol):
    """A limit of lanes by their heads: whether it may go, and that it does."""

    def is_open(self, head: Held[Any]) -> bool: ...
    def took(self, head: Held[Any]) -> None: ...


class Matcher(Generic[R, P, C]):
    """The verbs: add, withdraw, report, join, leave, call, match, then finish, give_back or rest what went out.
    `weigh`: the weight of a reference's lane.
    """

    def __init__(self, bounds: Bounds, room: Room, weigh: Callable[[R], float] = lambda _: 1.0) -> None:
        self._bounds = bounds
        self._room = room
        self._weigh = weigh
        self._stock = Stock()
        self._stock.relieve = self._relieve
        self._main: Shelf[R] = Shelf(bounds, room, self._stock)
        self._shelves: dict[str, Shelf[R]] = {"": self._main}
        self._ranked: Any = SortedDict()  # where a lane stands -> Shelf; not while there is one lane and no gate
        self._behind: OrderedDict[str, Shelf[R]] = OrderedDict()
        self._hands: dict[int, Turn] = {}  # by priority
        self._count = 0  # of the backlog of all lanes
        self._oldest: Any = SortedList()  # (oldest time, lane) of those that have any
        self._is_fair = False
        self._gate: Gate | None = None
        self._is_plain = True  # one lane and no gate: nothing to choose
        self._pollers: OrderedDict[P, None] = OrderedDict()
        self._calls: OrderedDict[C, None] = OrderedDict()
        self.added = 0  # references taken by `add` so far

    def __len__(self) -> int:
        """References held, wherever they are."""
        return self._stock.references

    @property
    def pollers(self) -> int:
        """How many pollers wait."""
        return len(self._pollers)

    @property
    def lanes(self) -> int:
        """How many lanes there are; one that nobody ever spoke of is the first."""
        return len(self._shelves)

    def held(self) -> Iterable[Held[R]]:
        """The references held, wherever they are, in no order."""
        return chain.from_iterable(shelf.held() for shelf in self._shelves.values())

    def find(self, order: Order) -> Held[R] | None:
        """What is held at this place of the first lane."""
        return self._main.find(order)

    @property
    def is_idle(self) -> bool:
        """True if forgetting this partition forgets nothing."""
        return not (self._pollers or self._calls) and all(shelf.is_idle for shelf in self._shelves.values())

    def rank(self, *, fair: bool, gate: Gate | None) -> None:
        """From now on lanes have turns, or none; and a limit each by `gate`, or none. Weights are asked for anew."""
        self._is_fair, self._gate = fair, gate
        self._is_plain = len(self._shelves) == 1 and gate is None
        self._ranked.clear()
        for shelf in self._shelves.values():
            shelf.at, shelf.is_closed = None, False
        for shelf in self._shelves.values():
            self._place(shelf)

    def open(self, lanes: Iterable[str]) -> None:
        """These may pass the gate again, if it had closed them."""
        for lane in lanes:
            shelf = self._shelves.get(lane)
            if shelf is not None and shelf.is_closed:
                shelf.is_closed = False
                self._place(shelf)

    def add(self, shard: str, references: Sequence[R], size: int, lane: str = "", *, more: bool = False) -> int:
        """Take references of one shard and lane, in order, of about `size` bytes each; returns how many of the first
        are held.

        A held one is taken again without a trace. The rest is remembered as the shard's gap, and so is what is behind
        them if there is `more`. For one lane too many nothing is, and they have to be offered again.
        """
        shelf = self._shelves.get(lane)
        if shelf is None:
            shelf = self._make(lane)
        if shelf is None:
            return 0
        if self._is_fair and references and not shelf.ready:
            shelf.stride = stride_of(self._weigh(references[0]))  # there may be no room for them
        before = shelf.added
        accepted = shelf.add(shard, references, size, more=more)
        self.added += shelf.added - before
        if not self._is_plain:
            self._place(shelf)
        return accepted

    def withdraw(self, shard: str, references: Sequence[R], lane: str = "") -> None:
        """These are void. One that is being started stays with who starts it, and is dropped when that fails."""
        shelf = self._shelves.get(lane)
        if shelf is not None:
            shelf.withdraw(shard, references)
            self._place(shelf)

    def report(self, figures: Figures, lane: str = "") -> list[Held[R]]:
        """Absolute figures of a shard for a lane; returns the references whose rest a newer epoch has ended."""
        shelf = self._shelves.get(lane)
        if shelf is None and figures.count:
            shelf = self._make(lane)
        if shelf is None:
            return []
        woken = shelf.report(figures)
        if not self._is_plain:
            self._recount(shelf)
            self._place(shelf)
        return woken

    def backlog(self) -> tuple[int, int]:
        """(count, oldest time in ns or 0) over all shards, those that are not held included."""
        if len(self._shelves) == 1:
            return self._main.backlog()
        return self._count, self._oldest[0][0] if self._oldest else 0

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
            elif references_max > 0 and (shelf := self._next()) is not None:
                references_max -= 1
                work = self._take(shelf)
            else:
                break
            poller, _ = self._pollers.popitem(last=False)
            pairs.append((poller, work))
        return pairs

    @property
    def is_starving(self) -> bool:
        """True if a poller waits and a reference could be handed to it: a rate limit holds it back."""
        return bool(self._pollers) and self._next() is not None

    def finish(self, held: Held[R]) -> None:
        """It was started, or is obsolete."""
        shelf = self._shelves.get(held.lane)
        if shelf is not None:
            shelf.finish(held)
            if not self._is_plain:
                self._recount(shelf)
                self._place(shelf)

    def give_back(self, held: Held[R]) -> None:
        """It was not started: it stands again where it stood, unless it was withdrawn meanwhile."""
        shelf = self._shelves.get(held.lane)
        if shelf is not None:
            shelf.give_back(held)
            self._place(shelf)

    def rest(self, held: Held[R]) -> bool:
        """It can't be started now: set it aside until `wake`. False if it was withdrawn meanwhile, and is gone."""
        shelf = self._shelves.get(held.lane)
        return shelf is not None and shelf.rest(held)

    def wake(self, held: Held[R]) -> None:
        """The end of its rest; nothing if it does not rest any more."""
        shelf = self._shelves.get(held.lane)
        if shelf is not None:
            shelf.wake(held)
            self._place(shelf)

    def wanted(self) -> list[Pull[R]]:
        """What to ask of shards now, first what others wait for; under way until `pulled` or `pull_failed`."""
        if self._is_plain:
            return self._main.wanted()
        pulls: list[Pull[R]] = []
        if self._ranked:
            first = self._ranked.peekitem(0)[1]
            pulls += first.wanted(urgent=not first.can_hand_out)
        for lane in list(self._behind)[:_LOOKED_AT_MAX]:
            pulls += self._behind[lane].wanted()
            self._behind.move_to_end(lane)
        return pulls

    def pulled(self, shard: str, references: Sequence[R], size: int, *, end: bool, lane: str = "") -> None:
        """A shard's answer, in order. `end`: it has nothing beyond."""
        shelf = self._shelves.get(lane)
        if shelf is not None:
            shelf.pulled(shard, references, size, end=end)
            self._place(shelf)

    def pull_failed(self, shard: str, *, gone: bool, lane: str = "") -> None:
        """A shard did not answer; it holds nobody up until it does. `gone`: it is no more, others offer what it had."""
        shelf = self._shelves.get(lane)
        if shelf is not None:
            shelf.pull_failed(shard, gone=gone)
            self._recount(shelf)
            self._place(shelf)

    def resume_pulls(self, shard: str, lane: str = "") -> None:
        """Ask a shard again that did not answer."""
        shelf = self._shelves.get(lane)
        if shelf is not None:
            shelf.resume_pulls(shard)

    def forget_silent(self) -> None:
        """Drop the figures of shards that hold nothing here and said nothing since the last call; of those that do hold
        something no more counts than that. Lanes without any are no more.
        """
        for shelf in list(self._shelves.values()):
            shelf.forget_silent()
            self._recount(shelf)
            if shelf is not self._main and shelf.is_unknown:
                self._drop(shelf)

    def clear(self) -> tuple[list[P], list[C]]:
        """Forget everything; returns who still waits."""
        for shelf in list(self._shelves.values()):
            shelf.clear()
            self._recount(shelf)
            self._place(shelf)
            if shelf is not self._main:
                self._drop(shelf)
        waiting = list(self._pollers), list(self._calls)
        self._pollers.clear()
        self._calls.clear()
        return waiting

    def _next(self) -> Shelf[R] | None:
        """The lane whose head goes next; None if there is none, or if a better one has to be pulled first."""
        if self._is_plain:
            return self._main if self._main.can_hand_out else None
        while self._ranked:
            shelf: Shelf[R] = self._ranked.peekitem(0)[1]
            head = shelf.head
            if head is None:
                return None
            if self._gate is None or self._gate.is_open(head):
                return shelf
            shelf.is_closed = True
            self._place(shelf)
        return None

    def _take(self, shelf: Shelf[R]) -> Held[R]:
        if self._is_plain:
            return shelf.take()
        if self._is_fair and shelf.at is not None:
            priority, *turn = shelf.at
            self._hands[priority] = (turn[0], turn[1])
        held = shelf.take()
        if self._gate is not None:
            self._gate.took(held)
        self._place(shelf)
        return held

    def _place(self, shelf: Shelf[R]) -> None:
        """Something has changed at a lane: where it stands among the others."""
        if self._is_plain:
            if shelf.at is not None:
                self._unplace(shelf)
            return
        if shelf.is_behind:
            self._behind[shelf.lane] = shelf
        else:
            self._behind.pop(shelf.lane, None)
        if shelf.at is not None:
            self._unplace(shelf)
        first = shelf.first
        if first is None or shelf.is_closed:
            return
        if self._is_fair:
            head = shelf.head
            if head is not None:
                shelf.stride = stride_of(self._weigh(head.reference))
            hand = self._hands.get(first[0], FIRST)
            shelf.at = (first[0], *next_turn(hand, shelf.lane, shelf.stride))
        else:
            shelf.at = (first, shelf.lane)
        self._ranked[shelf.at] = shelf

    def _unplace(self, shelf: Shelf[R]) -> None:
        del self._ranked[shelf.at]
        shelf.at = None

    def _make(self, lane: str) -> Shelf[R] | None:
        """A new lane; None if there are too many."""
        if len(self._shelves) >= self._bounds.lanes_max:
            for idle in [each for each in self._shelves.values() if each.is_idle and each is not self._main]:
                self._drop(idle)
            if len(self._shelves) >= self._bounds.lanes_max:
                return None
        shelf = self._shelves[lane] = Shelf(self._bounds, self._room, self._stock, lane)
        self._stock.lanes = len(self._shelves)
        self._is_plain = False
        if len(self._shelves) == 2:
            self._recount(self._main)
            self._place(self._main)
        return shelf

    def _drop(self, shelf: Shelf[R]) -> None:
        shelf.clear()
        self._recount(shelf)
        self._place(shelf)
        del self._shelves[shelf.lane]
        self._stock.lanes = len(self._shelves)
        self._is_plain = len(self._shelves) == 1 and self._gate is None
        self._place(self._main)

    def _recount(self, shelf: Shelf[R]) -> None:
        """Its figures are others, perhaps."""
        if len(self._shelves) == 1:
            return
        before, counted = shelf.counted, shelf.backlog()
        if before == counted:
            return
        self._count += counted[0] - before[0]
        if before[1]:
            self._oldest.remove((before[1], shelf.lane))
        if counted[1]:
            self._oldest.add((counted[1], shelf.lane))
        shelf.counted = counted

    def _relieve(self, shelf: Shelf[R]) -> bool:
        """Have the largest lane give up its worst for a smaller one; or that whose turn is the last one, if all wait
        for this one and it has nothing.
        """
        largest = max(self._shelves.values(), key=lambda each: each.ready)
        if largest is shelf or largest.ready <= len(shelf) + 1:
            if len(shelf) or not self._ranked or self._ranked.peekitem(0)[1] is not shelf:
                return False
            largest = next((each for each in reversed(self._ranked.values()) if each.ready), shelf)
            if largest is shelf:
                return False
        largest.drop_worst()
        self._place(largest)
        return True
