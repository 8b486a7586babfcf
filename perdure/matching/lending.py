"""The root's side of a task queue that is spread: its tasks go to branches, whose polls take part like its own.

Invariants: whoever is served, the matcher chooses, so priority, fairness and rate limit are those of the whole queue. A
task that was lent is held until it is returned, or until `LOAN_NS` is over; then it stands where it stood, and its next
start has another request id, so that of two that try it only one succeeds. A query goes to one branch at a time.
Refuses to know how a task is started.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from perdure.base.clock import MS_NS, SECOND_NS, Clock
from perdure.base.errors import Unavailable
from perdure.base.tasks import Background
from perdure.cluster.branches import branch_of
from perdure.cluster.roles import Demand, Directory, Loan, Outcome
from perdure.matching.matcher import Held
from perdure.matching.waiting import Question, Taker
from perdure.workflow.tasks import Offer, QueueKey

# A demand is answered by then, so that both sides know of each other.
WAIT_NS = 20 * SECOND_NS
LOAN_NS = 10 * SECOND_NS
# Where a branch is may be seen differently for a while: who is asked has no poll, and who has asks for one again.
REFUSED_NS = 50 * MS_NS
# More at once help nobody, and a page of them has to travel.
LOANS_MAX = 1_000


class Asking:
    """A branch that waits for tasks for `left` polls; of the matcher's pollers."""

    __slots__ = ("branch", "ended", "future", "given", "left", "question")

    def __init__(self, branch: int, wants: int) -> None:
        self.branch = branch
        self.left = min(wants, LOANS_MAX)
        self.given: list[tuple[Held[Offer], bool]] = []
        self.question: Callable[[int, Question], None] | None = None
        self.ended = False
        self.future: asyncio.Future[None] | None = None

    def give(self, work: Held[Offer] | Question, *, from_backlog: bool) -> bool:
        """This is for one of the branch's polls; True if it takes more."""
        self.left -= 1
        if isinstance(work, Question):
            # Whether there is still a poll for the others the branch says when it asks again.
            self.left = 0
            assert self.question is not None
            self.question(self.branch, work)
        else:
            self.given.append((work, from_backlog))
        self._wake()
        return self.left > 0

    def end(self) -> None:
        """The wait is over."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self.future is not None and not self.future.done():
            self.future.set_result(None)


class Counter(Protocol):
    """The partition whose tasks are lent."""

    def enter(self, asking: Asking) -> None:
        """A branch waits from now on."""
        ...

    def leave(self, taker: Taker) -> None:
        """It gets nothing more."""
        ...

    def left(self) -> None:
        """It has gone, and what it had is lent or back."""
        ...

    def over(self, held: Held[Offer], outcome: Outcome) -> None:
        """Whoever had a task is done with it."""
        ...

    def changed(self) -> None:
        """There may be something to hand out."""
        ...

    def recall(self, question: Question) -> None:
        """A query has to go to another poll."""
        ...


class _Lent(msgspec.Struct, eq=False):
    held: Held[Offer]
    life: str
    demand: int
    until_ns: int


class Lender:
    """What is lent of one queue. `life`: tells the loans of this root from those of another."""

    __slots__ = ("_background", "_clock", "_counter", "_directory", "_lent", "_number", "_timer", "life")

    def __init__(self, counter: Counter, life: str, directory: Directory, clock: Clock, background: Background) -> None:
        self.life = life
        self._counter = counter
        self._directory = directory
        self._clock = clock
        self._background = background
        self._lent: dict[int, _Lent] = {}  # by number, and so by `until_ns`
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many tasks are lent."""
        return len(self._lent)

    def settle(self, demand: Demand) -> None:
        """Take what a branch returns, and what never reached it. What is not known of has been settled already."""
        for each in demand.returns:
            lent = self._lent.pop(each.number, None) if each.root == self.life else None
            if lent is not None:
                lent.held.request_id, lent.held.failures = each.request_id, each.failures
                self._counter.over(lent.held, each.outcome)
        if demand.returns:
            self._counter.changed()
        if demand.lost:
            lost = set(demand.lost)
            for number, lent in list(self._lent.items()):
                if lent.life == demand.life and lent.demand in lost:
                    self._take_back(number)

    async def wait(self, demand: Demand, root: QueueKey) -> list[Loan]:
        """Tasks for a branch, as soon as there are any; none after `WAIT_NS`."""
        asking = Asking(demand.branch, demand.wants)
        asking.question = lambda branch, question: self._forward(branch_of(root, branch), question)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(WAIT_NS / SECOND_NS, asking.end)
        try:
            self._counter.enter(asking)
            if not asking.given and asking.left and not asking.ended:
                asking.future = loop.create_future()
                await asking.future
        except asyncio.CancelledError:
            for held, _ in asking.given:
                self._counter.over(held, Outcome.BACK)
            raise
        finally:
            timer.cancel()
            self._counter.leave(asking)
            self._counter.left()
        return [self._lend(demand, held, from_backlog) for held, from_backlog in asking.given]

    def close(self) -> None:
        """Nothing is held here any more."""
        self._lent.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _lend(self, demand: Demand, held: Held[Offer], from_backlog: bool) -> Loan:
        self._number += 1
        until_ns = self._clock.monotonic_ns() + LOAN_NS
        self._lent[self._number] = _Lent(held, demand.life, demand.number, until_ns)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOAN_NS / SECOND_NS, self._expire)
        return Loan(self._number, held.reference, from_backlog, held.request_id, held.failures)

    def _take_back(self, number: int) -> None:
        lent = self._lent.pop(number)
        lent.held.request_id = ""  # whoever has it may succeed yet
        self._counter.over(lent.held, Outcome.BACK)
        self._counter.changed()

    def _expire(self) -> None:
        self._timer = None
        now = self._clock.monotonic_ns()
        for number in [number for number, lent in self._lent.items() if lent.until_ns <= now]:
            self._take_back(number)
        if self._lent:
            first = next(iter(self._lent.values()))
            pause_s = max(0, first.until_ns - now) / SECOND_NS
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._expire)

    def _forward(self, branch: QueueKey, question: Question) -> None:
        asked = self._background.spawn(self._ask(branch, question))
        # Its answer comes to the root, by its token, and the branch need not wait for it.
        question.answer.add_done_callback(lambda _: asked.cancel())

    async def _ask(self, branch: QueueKey, question: Question) -> None:
        try:
            answer = await self._directory.matching(branch).query(branch, question.task, question.call)
        except Unavailable:
            await asyncio.sleep(REFUSED_NS / SECOND_NS)
            if not question.answer.done():
                self._counter.recall(question)
        except Exception as error:  # noqa: BLE001 - the client who asked gets it
            question.fail(error)
        else:
            if not question.answer.done():
                question.answer.set_result(answer)
