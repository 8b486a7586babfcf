"""A branch's side of a task queue that is spread: it asks its root for tasks for the polls that wait here.

Invariants: it asks for no more tasks than polls wait; a task that no poll is there for goes back at once. Every task
that was lent is returned with what became of it, again and again until the root has heard. Demands that are made
together travel as one. Refuses to choose among tasks, and to know the polls.
"""

import asyncio
import math
from collections.abc import Callable

import msgspec

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.errors import PerdureError
from perdure.base.tasks import Background
from perdure.cluster.roles import Call, Demand, Directory, Loan, Outcome, Return, Supply
from perdure.matching.lending import LOANS_MAX, WAIT_NS
from perdure.matching.matcher import Held, Matcher, Order, Place
from perdure.matching.scaling import Load
from perdure.matching.waiting import Question, Taker
from perdure.workflow.tasks import Offer, QueueKey

# The shard, for the matcher, of what a root has lent.
_ROOT = "root"
_RETURN_NS = 5 * MS_NS
_PAUSE_NS = 50 * MS_NS
_PAUSE_NS_MAX = 2 * SECOND_NS
_ANSWER_NS = 5 * SECOND_NS
_DEMANDS_MAX = 4
_LOST_MAX = 1_000
_FAILURES_MAX = 8  # about five seconds
# Loans are not waited for so long that more are out.
_RETURNS_MAX = 20_000


class _Borrowed(msgspec.Struct):
    root: str
    number: int
    from_backlog: bool


class Borrower:
    """What a branch has of its root. `partitions`: of the queue, 0 = not known yet. `load`: of the whole queue.
    `received`: called when tasks have come. `ended`: called with the number of partitions once this is none of them.
    """

    __slots__ = (
        "_asked",
        "_background",
        "_borrowed",
        "_closed",
        "_directory",
        "_failures",
        "_life",
        "_limit",
        "_lost",
        "_matcher",
        "_number",
        "_on_ended",
        "_on_received",
        "_open",
        "_paused",
        "_poked",
        "_returning",
        "_returns",
        "index",
        "load",
        "partitions",
        "root",
    )

    def __init__(
        self,
        at: tuple[QueueKey, int],
        life: str,
        matcher: Matcher[Offer, Taker, Question],
        directory: Directory,
        background: Background,
        received: Callable[[], None],
        ended: Callable[[int], None],
    ) -> None:
        self.root, self.index = at
        self.partitions = 0
        self.load = Load(0, 0, 0.0, 0.0, rate_limited=False)
        self._life = life
        self._matcher = matcher
        self._directory = directory
        self._background = background
        self._on_received = received
        self._on_ended = ended
        self._asked = 0  # tasks, in demands under way
        self._open = 0  # of those demands
        self._number = 0
        self._borrowed: dict[Order, _Borrowed] = {}
        self._returns: list[Return] = []
        self._lost: list[int] = []
        self._limit: float | None = None
        self._failures = 0
        self._poked = self._returning = self._paused = self._closed = False

    def note_limit(self, rate: float | None) -> None:
        """The newest poll asks for this rate; None = none."""
        self._limit = math.inf if rate is None else rate

    def poke(self) -> None:
        """Polls came: ask for tasks, once everybody else who came with them has."""
        if not (self._poked or self._paused or self._closed):
            self._poked = True
            asyncio.get_running_loop().call_soon(self._ask)

    def is_from_backlog(self, held: Held[Offer]) -> bool:
        """Whether the task had waited at the root."""
        borrowed = self._borrowed.get(held.order)
        return borrowed is not None and borrowed.from_backlog

    def over(self, held: Held[Offer], outcome: Outcome) -> None:
        """This became of a task; it is not held here any more."""
        borrowed = self._borrowed.pop(held.order, None)
        if borrowed is None:
            return
        request_id = "" if outcome in (Outcome.STARTED, Outcome.OBSOLETE) else held.request_id
        self._return(Return(borrowed.root, borrowed.number, outcome, request_id, held.failures))

    def return_spare(self) -> None:
        """What no poll has taken goes back."""
        spare = [held for held in self._matcher.held() if held.place is Place.READY]
        for held in spare:
            self._matcher.finish(held)
            self.over(held, Outcome.BACK)

    def close(self) -> None:
        """Ask no more. What is still being started is returned all the same."""
        self._closed = True

    def _ask(self) -> None:
        self._poked = False
        # Those under way are answered as soon as there is a task; whoever isn't asked for yet is in the next one.
        if self._closed or self._paused or self._open >= _DEMANDS_MAX:
            return
        wants = self._matcher.pollers - self._asked
        if wants > 0:
            self._background.spawn(self._demand(min(wants, LOANS_MAX)), "demands")

    def _return(self, each: Return) -> None:
        if len(self._returns) >= _RETURNS_MAX:
            return  # its root takes it back in time
        self._returns.append(each)
        if not (self._returning or self._paused):
            # The next demand takes it along, if there is one soon.
            self._returning = True
            asyncio.get_running_loop().call_later(_RETURN_NS / SECOND_NS, self._send_returns)

    def _send_returns(self) -> None:
        self._returning = False
        if self._returns and not self._paused:
            self._background.spawn(self._demand(0), "returns")

    async def _demand(self, wants: int) -> None:
        self._number += 1
        demand = Demand(
            self.index, self._life, self._number, wants, self.partitions, self._returns, self._lost, self._limit
        )
        self._returns, self._lost, self._limit = [], [], None
        self._asked += wants
        self._open += wants > 0
        try:
            role = self._directory.matching(self.root)
            async with asyncio.timeout((WAIT_NS + _ANSWER_NS) / SECOND_NS):
                supply = await role.lend(self.root, demand, Call(timeout_ns=WAIT_NS + _ANSWER_NS))
        except (PerdureError, TimeoutError):
            self._over(wants)
            self._failed(demand)
        except BaseException:
            self._over(wants)
            self._failed(demand)
            raise
        else:
            self._over(wants)
            self._failures = 0
            self._receive(supply)

    def _over(self, wants: int) -> None:
        self._asked -= wants
        self._open -= wants > 0

    def _failed(self, demand: Demand) -> None:
        """Whether it was heard nobody knows: say everything again, a little later. Who can't be reached for long may be
        reached by others: the polls go there.
        """
        if self._failures >= _FAILURES_MAX:
            if self._closed:
                return  # by now its root has taken everything back
            self._on_ended(1)
        self._returns = [*demand.returns, *self._returns]
        self._lost = [*demand.lost, *self._lost][-_LOST_MAX:]
        if demand.wants:
            self._lost.append(demand.number)
        if self._limit is None:
            self._limit = demand.limit
        self._pause()

    def _pause(self) -> None:
        self._failures += 1
        if not self._paused:
            self._paused = True
            pause_ns = min(_PAUSE_NS << min(self._failures, 10), _PAUSE_NS_MAX)
            asyncio.get_running_loop().call_later(pause_ns / SECOND_NS, self._resume)

    def _resume(self) -> None:
        self._paused = False
        self.poke()
        self._send_returns()

    def _receive(self, supply: Supply) -> None:
        self.load = Load(
            supply.backlog_count,
            supply.backlog_age_ns,
            supply.add_rate,
            supply.dispatch_rate,
            rate_limited=supply.is_held_back,
        )
        self.partitions = supply.partitions
        for loan in supply.loans:
            self._hold(supply.root, loan)
        if supply.loans:
            self._on_received()
            self.return_spare()
        if self.index >= supply.partitions and not self._closed:
            self._on_ended(supply.partitions)
        self.poke()

    def _hold(self, root: str, loan: Loan) -> None:
        order = loan.offer.order
        size = len(loan.offer.key.workflow_id)
        if self._closed or not self._matcher.add(_ROOT, [loan.offer], size):
            self._return(Return(root, loan.number, Outcome.BACK, loan.request_id, loan.failures))
            if not self._closed:
                self._pause()  # there is no room: don't ask at once for the same
            return
        self._borrowed[order] = _Borrowed(root, loan.number, loan.from_backlog)
        held = self._matcher.find(order)
        if held is not None and held.place is Place.READY:
            held.request_id, held.failures = loan.request_id, loan.failures
