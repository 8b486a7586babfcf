"""One task-queue partition: offers and queries in, answered polls out.

Invariant: a reference that was handed to a poller is started, found obsolete, or put back; never lost and never started
for two. A poller's own coroutine makes the start, so that a match costs no task, and a client that is gone starts
nothing. Knows no execution: what a start answers are bytes.
"""

import asyncio
import math
from collections.abc import Callable, Sequence

from temporalio.api.taskqueue.v1 import TaskQueueConfig

from perdure.base.clock import SECOND_NS
from perdure.base.entropy import new_id
from perdure.base.errors import (
    DeadlineExceeded,
    QueueSpread,
    StickyUnavailable,
    Unavailable,
)
from perdure.cluster.branches import root_of
from perdure.cluster.roles import Demand, Offered, Outcome, PartitionView, Supply
from perdure.matching.borrowing import Borrower
from perdure.matching.describing import priorities
from perdure.matching.lending import Asking, Lender
from perdure.matching.matcher import Held, Matcher
from perdure.matching.measured import STICKY, QueueLook, QueueMeter
from perdure.matching.pacing import Throughputs
from perdure.matching.pollers import SEEN_NS, PollerHistory
from perdure.matching.pulling import FALLEN, Puller, size_of
from perdure.matching.rationing import Ration
from perdure.matching.scaling import Advice, Load, appended_fields, busy_delta, idle_delta
from perdure.matching.spreading import Spread
from perdure.matching.starting import Starter, rest_ns
from perdure.matching.surroundings import Surroundings
from perdure.matching.waiting import Question, Taker, Waiter, wait_ns
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind

_STICKY_KEPT_NS = 60 * SECOND_NS
_TYPES = {QueueKind.WORKFLOW: "Workflow", QueueKind.ACTIVITY: "Activity"}


class Partition:
    """One partition. Every verb but `serve` and `ask` returns at once."""

    __slots__ = (
        "_added",
        "_advice",
        "_around",
        "_borrower",
        "_closed",
        "_dispatched",
        "_history",
        "_last_ns",
        "_last_poll_ns",
        "_lender",
        "_matcher",
        "_meter",
        "_moved",
        "_polls",
        "_puller",
        "_ration",
        "_spread",
        "_starter",
        "is_sticky",
        "key",
    )

    def __init__(self, key: QueueKey, around: Surroundings) -> None:
        self.key = key
        self.is_sticky = False
        self._around = around
        now = around.clock.monotonic_ns()
        self._ration = Ration(key, around, lambda: self.match(from_backlog=True), self._throttled)
        self._matcher: Matcher[Offer, Taker, Question] = Matcher(around.bounds, around.room, self._ration.weigh)
        self._ration.follow(self._matcher)
        self._starter = Starter(around.directory, around.entropy)
        self._history = PollerHistory()
        at = root_of(key)
        self._advice = Advice()
        self._added = Throughputs(now)
        self._dispatched = Throughputs(now)
        self._polls = 0
        self._last_poll_ns: int | None = None
        self._last_ns = now
        self._puller = Puller(
            key,
            self._matcher,
            around.directory,
            around.background,
            around.on_error,
            lambda: self.match(from_backlog=True),
        )
        self._closed = False
        self._moved: Callable[[], Unavailable] | None = None
        self._meter: QueueMeter | None = None
        self._spread = Spread(around.bounds.tasks_per_second, now)
        self._lender: Lender | None = None
        self._borrower: Borrower | None = None
        if at[1]:
            self._borrower = Borrower(
                at,
                new_id(around.entropy),
                self._matcher,
                around.directory,
                around.background,
                lambda: self.match(from_backlog=False),
                lambda partitions: around.on_ended(key, partitions),
            )

    @property
    def waiting(self) -> int:
        """How many polls wait."""
        return self._matcher.pollers

    @property
    def count(self) -> int:
        """How many partitions the queue has, as this one decides if it is the root."""
        return self._spread.count

    def was_polled_lately(self, now_ns: int) -> bool:
        """True if someone polls, or did within the time that a sticky queue waits for its worker."""
        if self._polls:
            return True
        return (
            self._last_poll_ns is not None and now_ns - self._last_poll_ns < self._around.limits.of().sticky_poller_ns
        )

    def is_forgettable(self, now_ns: int) -> bool:
        """True if nothing is held or awaited here, and nothing happened for so long that nobody asks about it."""
        kept_ns = _STICKY_KEPT_NS if self.is_sticky else SEEN_NS
        return not self._polls and self._matcher.is_idle and now_ns - self._last_ns >= kept_ns

    def tidy(self) -> None:
        """Once in a while: drop the figures of shards that are no more."""
        self._matcher.forget_silent()

    def offer(self, offers: Sequence[Offer], backlog: Backlog, lane: str = "") -> Offered:
        """Take references of one lane; those that are held already are taken again without a trace."""
        now = self._last_ns = self._around.clock.monotonic_ns()
        if offers and not self.was_polled_lately(now):
            self._meter_for(offers[0].queue.name if offers[0].sticky else "").no_poller.inc(len(offers))
        shard = self._report(offers, backlog, lane)
        before = self._matcher.added
        accepted = self._matcher.add(shard, offers, size_of(offers), lane, more=backlog.has_more)
        for offer in offers[: self._matcher.added - before]:
            self._added.add(offer.priority, now)
        self.match(from_backlog=False)
        return Offered(accepted)

    def withdraw(self, offers: Sequence[Offer], backlog: Backlog, lane: str = "") -> None:
        """These references are void."""
        self._matcher.withdraw(self._report(offers, backlog, lane), offers, lane)
        self.match(from_backlog=True)

    async def describe(self) -> PartitionView:
        """Who polled lately, what waits, and how fast it may go."""
        await self._ration.know_all()
        clock, limit = self._around.clock, self._ration.limit
        now = clock.monotonic_ns()
        added, dispatched = self._added.by_priority(now), self._dispatched.by_priority(now)
        shown = priorities(self._matcher.held(), self._matcher.backlog(), clock.now_ns(), added, dispatched)
        return PartitionView(
            pollers=self._history.shown(now),
            backlog_count=sum(one.backlog_count for one in shown.values()),
            backlog_age_ns=self._backlog()[1] if self._borrower is None else 0,
            add_rate=sum(added.values()),
            dispatch_rate=sum(dispatched.values()),
            priorities=shown,
            rate=limit.rate,
            rate_source=limit.source,
            is_held_back=limit.held_back_lately(now),
            config=limit.config,
            partitions=self._spread.count,
        )

    def learn(self, config: TaskQueueConfig | None, version: int) -> None:
        """What operators set for this queue; None = nothing."""
        self._ration.learn(config, version)
        self.match(from_backlog=True)

    def look(self) -> QueueLook:
        """What gauges show."""
        count, age_ns = self._backlog() if self._borrower is None else (0, 0)
        return self._meter_for("").labels, count, age_ns, self._polls

    def _throttled(self) -> None:
        self._meter_for("").throttled.inc()

    def _meter_for(self, normal_queue: str) -> QueueMeter:
        """What is counted here. `normal_queue`: the queue that a sticky one belongs to, as far as it is known."""
        meter = self._meter
        if meter is None:
            root, index = root_of(self.key)
            name = normal_queue or root.name
            meter = self._around.meters.queue(self.key, name, STICKY if name != root.name else str(index))
            self._meter = meter
        return meter

    async def serve(self, waiter: Waiter) -> bytes:
        """A poll, from its beginning to its answer; b"" when its time is over or it was ended."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await self._ration.know()
        self._enter(waiter)
        timer: asyncio.TimerHandle | None = None
        cancelled = False
        try:
            while not (waiter.ended or self._closed):
                if waiter.work is None:
                    if timer is None:
                        timer = loop.call_at(begin + self._wait_seconds(waiter), waiter.end)
                    waiter.future = loop.create_future()
                    await waiter.future
                    continue
                answer = await self._attend(waiter)
                if answer:
                    return answer
                if not waiter.ended:
                    self._matcher.rejoin(waiter)
                    self.match(from_backlog=True)
            if self._moved is not None:
                raise self._moved()  # each poll has its own
            self._meter_for(waiter.poll.normal_queue).timeouts.inc()
            return b""
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._exit(waiter, cancelled=cancelled)

    def admit(self, partitions: int) -> None:
        """Somebody polls here who knows of so many partitions, 0 = of none. Raises QueueSpread if that is wrong."""
        if not partitions:
            return
        borrower = self._borrower
        count = self._look(partitions) if borrower is None else borrower.partitions
        if (count != partitions) if borrower is None else (0 < count <= borrower.index):
            raise QueueSpread("The task queue has another number of partitions.", count)

    async def lend(self, demand: Demand) -> Supply:
        """A branch returns what it was lent, and asks for more."""
        around, lender = self._around, self._lender
        if lender is None:
            life = new_id(around.entropy)
            lender = self._lender = Lender(self, life, around.directory, around.clock, around.background)
        lender.settle(demand)
        if demand.limit is not None and self.key.kind == QueueKind.ACTIVITY:
            self._ask_limit(demand.limit if demand.limit < math.inf else None)
            self.changed()
        loans = []
        if demand.wants > 0:
            self._meter_for("").forwarded.inc()
        if demand.wants > 0 and demand.branch < self._look(demand.partitions):
            await self._ration.know()
            if not self._closed:
                loans = await lender.wait(demand, self.key)
        if self._moved is not None and not loans:
            raise self._moved()
        count, age_ns = self._backlog()
        load = self._load(count, age_ns, around.clock.monotonic_ns())
        # What a worker hears of is what waits besides its own task.
        figures = (max(0, count - len(loans)), age_ns, load.add_rate, load.dispatch_rate, load.rate_limited)
        return Supply(lender.life, self._spread.count, loans, *figures)

    def enter(self, asking: Asking) -> None:
        """A branch waits from now on."""
        self._polls += 1
        self._last_ns = self._last_poll_ns = self._around.clock.monotonic_ns()
        self._meter_for("")
        self._matcher.join(asking)
        self.match(from_backlog=True)

    def leave(self, taker: Taker) -> None:
        """A poll or a branch waits no more: it gets nothing."""
        self._matcher.leave(taker)

    def left(self) -> None:
        """A branch that waited has gone."""
        self._polls -= 1
        self.changed()

    def changed(self) -> None:
        """There may be something to hand out."""
        if not self._closed:
            self.match(from_backlog=True)

    def recall(self, question: Question) -> None:
        """A query has to go to another poll; back to whoever asked, if none will have it here."""
        if self._closed or (self._borrower is not None and not self.waiting):
            question.fail(self._refusal())
            return
        self._matcher.recall(question)
        self.match(from_backlog=True)

    def _look(self, claimed: int) -> int:
        """How many partitions the queue has. `claimed`: what somebody else knows."""
        now, hosts, spread = self._around.clock.monotonic_ns(), self._around.hosts(), self._spread
        spread.adopt(claimed, hosts, now)
        if spread.is_due(now):
            spread.look(self._dispatched.per_second(now), hosts, now)
        return spread.count

    async def ask(self, question: Question) -> None:
        """A query, until it is answered, fails, or its time is over."""
        self._last_ns = self._around.clock.monotonic_ns()
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        if question.call.timeout_ns > 0:
            late = DeadlineExceeded("context deadline exceeded")
            timer = loop.call_later(question.call.timeout_ns / SECOND_NS, question.fail, late)
        self._matcher.call(question)
        self.match(from_backlog=True)
        try:
            await question.answer
        finally:
            if timer is not None:
                timer.cancel()
            self._matcher.drop_call(question)

    def forget_poller(self, identity: str) -> None:
        """A worker shut down; it is not shown any more."""
        self._history.remove(identity)

    def unload(self, moved: Callable[[], Unavailable] | None = None) -> None:
        """Forget everything; polls get an empty answer, queries fail, or both fail with `moved`. Shards offer again
        what is outstanding.
        """
        self._closed, self._moved = True, moved
        if self._lender is not None:
            self._lender.close()
        if self._borrower is not None:
            self._borrower.close()
        pollers, questions = self._matcher.clear()
        for waiter in pollers:
            waiter.end()
        for question in questions:
            question.fail(self._refusal())
        self._ration.close()

    def _refusal(self) -> Unavailable:
        """Why there is no poll for a query here."""
        if self._moved is not None:
            return self._moved()
        if self._closed:
            return StickyUnavailable("The worker of this sticky queue shut down.")
        return Unavailable("No poll waits at this partition.")

    def match(self, *, from_backlog: bool) -> None:
        """Hand out what can be handed out, and ask shards for the rest."""
        ration = self._ration
        while pairs := self._matcher.match(ration.available()):
            for taker, work in pairs:
                had_waited = from_backlog
                if isinstance(work, Held):
                    ration.take()
                    if self._borrower is not None:
                        had_waited = self._borrower.is_from_backlog(work)
                if taker.give(work, from_backlog=had_waited):
                    self._matcher.join(taker)
        ration.await_more()
        self._puller.refill()

    def _enter(self, waiter: Waiter) -> None:
        poll = waiter.poll
        waiter.partition = self
        self._polls += 1
        self._note(waiter)
        self.is_sticky = bool(poll.normal_queue)
        self._meter_for(poll.normal_queue)
        if self.key.kind == QueueKind.ACTIVITY and not self.is_sticky:
            self._ask_limit(poll.max_tasks_per_second)
        self._matcher.join(waiter)
        self.match(from_backlog=True)
        if self._borrower is not None:
            self._borrower.poke()

    def _ask_limit(self, rate: float | None) -> None:
        if self._borrower is not None:
            self._borrower.note_limit(rate)
            return
        self._ration.ask(rate)

    def _exit(self, waiter: Waiter, *, cancelled: bool) -> None:
        self._polls -= 1
        self._matcher.leave(waiter)
        work, waiter.work = waiter.work, None
        if isinstance(work, Held):
            self.over(work, Outcome.BACK)
        elif work is not None and not work.answer.done():
            self.recall(work)
        if not (cancelled or waiter.has_left):
            self._note(waiter)
        if work is not None and not self._closed:
            self.match(from_backlog=True)
        if self._borrower is not None:
            self._borrower.return_spare()

    def _note(self, waiter: Waiter) -> None:
        clock = self._around.clock
        self._last_ns = self._last_poll_ns = clock.monotonic_ns()
        self._history.note(waiter.poll, clock.now_ns(), self._last_ns)

    def _wait_seconds(self, waiter: Waiter) -> float:
        around = self._around
        fraction = around.entropy.fraction()
        key = waiter.poll.partition
        limits = around.limits.of(around.meters.name_of(key.namespace_id), key.name, _TYPES.get(key.kind, ""))
        return wait_ns(waiter.poll.timeout_ns, limits.matching_poll_ns, fraction) / SECOND_NS

    async def _attend(self, waiter: Waiter) -> bytes:
        """Do what the waiter was given; its answer, or b"" if it has to go on waiting."""
        work = waiter.work
        waited_ns = self._around.clock.monotonic_ns() - waiter.since_ns
        if isinstance(work, Question):
            answer = await self._starter.hand_over(waiter, work)
            waiter.work = None
            return answer + self._fields(waiter, waited_ns) if answer else b""
        assert work is not None
        outcome, answer, error = await self._starter.start(waiter, work)
        waiter.work = None
        if error is not None:
            self._around.on_error(error)
        self.over(work, outcome)
        if outcome is Outcome.STARTED:
            since_ns = self._around.clock.now_ns() - work.reference.scheduled_time_ns
            meter = self._meter_for(waiter.poll.normal_queue)
            meter.dispatched(since_ns, from_backlog=waiter.from_backlog, is_lent=self._borrower is not None)
            return answer + self._fields(waiter, waited_ns) if answer else b""
        return b""

    def over(self, held: Held[Offer], outcome: Outcome) -> None:
        """Whoever had a reference, a poll here or a branch, is done with it."""
        if self._borrower is not None and (outcome is not Outcome.BACK or self._closed):
            self._matcher.finish(held)
            self._borrower.over(held, outcome)
        elif outcome is Outcome.STARTED:
            self._matcher.finish(held)
            self._dispatched.add(held.reference.priority, self._around.clock.monotonic_ns())
            self._puller.refill()
        else:
            self._ration.refund(held)
            if outcome is Outcome.OBSOLETE:
                self._matcher.finish(held)
            elif outcome is Outcome.BACK:
                self._matcher.give_back(held)
            elif self._matcher.rest(held):
                loop = asyncio.get_running_loop()
                loop.call_later(rest_ns(held, outcome) / SECOND_NS, self._wake, held)
                held.failures += 1

    def _wake(self, held: Held[Offer]) -> None:
        self._matcher.wake(held)
        self.match(from_backlog=True)

    def _fields(self, waiter: Waiter, waited_ns: int) -> bytes:
        count, age_ns = self._backlog()
        delta = idle_delta(waited_ns, from_backlog=waiter.from_backlog)
        if not delta:
            now = self._around.clock.monotonic_ns()
            load = self._borrower.load if self._borrower is not None else self._load(count, age_ns, now)
            if busy_delta(load) and self._advice.may_raise(len(self._history), now):
                delta = 1
        return appended_fields(self.key.kind, count, delta)

    def _load(self, count: int, age_ns: int, now: int) -> Load:
        limit = self._ration.limit
        held_back = limit.is_set and not limit.available(now)
        return Load(count, age_ns, self._added.per_second(now), self._dispatched.per_second(now), held_back)

    def _backlog(self) -> tuple[int, int]:
        """(count, age in ns) of what waits, here and in the shards."""
        if self._borrower is not None:
            return self._borrower.load.backlog_count, self._borrower.load.backlog_age_ns
        count, oldest_ns = self._matcher.backlog()
        return count, max(0, self._around.clock.now_ns() - oldest_ns) if oldest_ns else 0

    def _report(self, offers: Sequence[Offer], backlog: Backlog, lane: str) -> str:
        """Note a shard's figures; returns what the matcher shall know the offers' shard by."""
        if offers and offers[0].sticky and offers[0].sticky != self.key.name:
            return FALLEN
        self._matcher.report(backlog, lane)
        return backlog.shard
