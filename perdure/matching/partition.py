"""One task-queue partition: offers and queries in, answered polls out.

Invariant: a reference that was handed to a poller is started, found obsolete, or put back; never lost and never started
for two. A poller's own coroutine makes the start, so that a match costs no task, and a client that is gone starts
nothing. Knows no execution: what a start answers are bytes.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from perdure.base.clock import MS_NS, SECOND_NS, Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import (
    DeadlineExceeded,
    NotFound,
    PartitionElsewhere,
    PerdureError,
    StickyUnavailable,
    Unavailable,
)
from perdure.base.limits import LimitsSource
from perdure.base.tasks import Background
from perdure.cluster.queue_configs import QueueConfigs
from perdure.cluster.roles import Directory, Offered, PartitionView
from perdure.matching.bounds import Bounds, Room
from perdure.matching.describing import priorities
from perdure.matching.limiting import Limit
from perdure.matching.matcher import Held, Matcher, Pull
from perdure.matching.measured import QueueLook, QueueMeter, QueueMeters
from perdure.matching.pacing import UNLIMITED, Throughputs
from perdure.matching.pollers import SEEN_NS, PollerHistory
from perdure.matching.scaling import Advice, Load, appended_fields, busy_delta, idle_delta
from perdure.matching.starting import Outcome, Starter, rest_ns
from perdure.matching.waiting import Question, Waiter, wait_ns
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind

# Memory of one reference, apart from its workflow id.
_OFFER_BYTES = 900
# The shard, for the matcher, of offers that fell back from a sticky queue: no shard lists them under this partition.
_FALLEN = ""
_PULL_NS_MAX = 5 * SECOND_NS
_PULL_PAUSE_NS = 100 * MS_NS
_PULL_PAUSE_NS_MAX = 10 * SECOND_NS
_PULL_FAILURES_MAX = 12
_STICKY_KEPT_NS = 60 * SECOND_NS
_TYPES = {QueueKind.WORKFLOW: "Workflow", QueueKind.ACTIVITY: "Activity"}


class Surroundings(msgspec.Struct, frozen=True):
    """What all partitions of a process share. `on_error` hears of errors that nobody expected."""

    directory: Directory
    clock: Clock
    entropy: Entropy
    limits: LimitsSource
    bounds: Bounds
    room: Room
    background: Background
    on_error: Callable[[BaseException], None]
    meters: QueueMeters
    configs: QueueConfigs


class Partition:
    """One partition. Every verb but `serve` and `ask` returns at once."""

    __slots__ = (
        "_added",
        "_advice",
        "_around",
        "_closed",
        "_dispatched",
        "_history",
        "_last_ns",
        "_last_poll_ns",
        "_limit",
        "_limit_timer",
        "_matcher",
        "_meter",
        "_moved",
        "_polls",
        "_pull_failures",
        "_starter",
        "is_sticky",
        "key",
    )

    def __init__(self, key: QueueKey, around: Surroundings) -> None:
        self.key = key
        self.is_sticky = False
        self._around = around
        now = around.clock.monotonic_ns()
        self._matcher: Matcher[Offer, Waiter, Question] = Matcher(around.bounds, around.room)
        self._starter = Starter(around.directory, around.entropy)
        self._history = PollerHistory()
        # Of workflow tasks nobody can set one.
        self._limit = Limit(now, is_known=key.kind == QueueKind.WORKFLOW)
        self._limit_timer: asyncio.TimerHandle | None = None
        self._advice = Advice()
        self._added = Throughputs(now)
        self._dispatched = Throughputs(now)
        self._polls = 0
        self._last_poll_ns: int | None = None
        self._last_ns = now
        self._pull_failures: dict[str, int] = {}
        self._closed = False
        self._moved: PartitionElsewhere | None = None
        self._meter: QueueMeter | None = None

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

    def offer(self, offers: Sequence[Offer], backlog: Backlog) -> Offered:
        """Take references; those that are held already are taken again without a trace."""
        now = self._last_ns = self._around.clock.monotonic_ns()
        if offers and not self.was_polled_lately(now):
            self._meter_for(offers[0].queue.name if offers[0].sticky else "").no_poller.inc(len(offers))
        shard = self._report(offers, backlog)
        before = self._matcher.added
        accepted = self._matcher.add(shard, offers, _size(offers))
        for offer in offers[: self._matcher.added - before]:
            self._added.add(offer.priority, now)
        self.match(from_backlog=False)
        return Offered(accepted)

    def withdraw(self, offers: Sequence[Offer], backlog: Backlog) -> None:
        """These references are void."""
        self._matcher.withdraw(self._report(offers, backlog), offers)
        self.match(from_backlog=True)

    async def describe(self) -> PartitionView:
        """Who polled lately, what waits, and how fast it may go."""
        if not self._limit.is_known:
            await self._read_config()
        clock, limit = self._around.clock, self._limit
        now = clock.monotonic_ns()
        added, dispatched = self._added.by_priority(now), self._dispatched.by_priority(now)
        shown = priorities(self._matcher.held(), self._matcher.backlog(), clock.now_ns(), added, dispatched)
        return PartitionView(
            pollers=self._history.shown(now),
            backlog_count=sum(one.backlog_count for one in shown.values()),
            backlog_age_ns=self._backlog()[1],
            add_rate=sum(added.values()),
            dispatch_rate=sum(dispatched.values()),
            priorities=shown,
            rate=limit.rate,
            rate_source=limit.source,
            is_held_back=limit.held_back_lately(now),
            config=limit.config,
        )

    def learn(self, config: TaskQueueConfig | None, version: int) -> None:
        """What operators set for this queue; None = nothing."""
        self._limit.learn(config, version, self._around.clock.monotonic_ns())
        self._forget_timer()
        self.match(from_backlog=True)

    async def _read_config(self) -> None:
        self.learn(*await self._around.configs.read(self.key))

    def look(self) -> QueueLook:
        """What gauges show."""
        count, age_ns = self._backlog()
        return self._meter_for("").labels, count, age_ns, self._polls

    def _meter_for(self, normal_queue: str) -> QueueMeter:
        """What is counted here. `normal_queue`: the queue that a sticky one belongs to, as far as it is known."""
        meter = self._meter
        if meter is None:
            name = normal_queue or self.key.name
            meter = self._around.meters.queue(self.key, name, sticky=name != self.key.name)
            self._meter = meter
        return meter

    async def serve(self, waiter: Waiter) -> bytes:
        """A poll, from its beginning to its answer; b"" when its time is over or it was ended."""
        if not self._limit.is_known:
            await self._read_config()
        self._enter(waiter)
        loop = asyncio.get_running_loop()
        begin = loop.time()
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
            if (moved := self._moved) is not None:
                raise PartitionElsewhere(moved.message, moved.host, moved.view)  # each poll has its own
            self._meter_for(waiter.poll.normal_queue).timeouts.inc()
            return b""
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._exit(waiter, cancelled=cancelled)

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

    def leave(self, waiter: Waiter) -> None:
        """A poll is over: it gets no more work."""
        self._matcher.leave(waiter)

    def forget_poller(self, identity: str) -> None:
        """A worker shut down; it is not shown any more."""
        self._history.remove(identity)

    def unload(self, moved: PartitionElsewhere | None = None) -> None:
        """Forget everything; polls get an empty answer, queries fail, or both fail with `moved`. Shards offer again
        what is outstanding.
        """
        self._closed, self._moved = True, moved
        pollers, questions = self._matcher.clear()
        for waiter in pollers:
            waiter.end()
        for question in questions:
            question.fail(moved or StickyUnavailable("The worker of this sticky queue shut down."))
        self._forget_timer()

    def match(self, *, from_backlog: bool) -> None:
        """Hand out what can be handed out, and ask shards for the rest."""
        limited = self._limit.is_set
        now = self._around.clock.monotonic_ns() if limited else 0
        for waiter, work in self._matcher.match(self._limit.available(now) if limited else UNLIMITED):
            if limited and isinstance(work, Held):
                self._limit.take()
            waiter.work = work
            waiter.from_backlog = from_backlog
            waiter.wake()
        if limited and self._limit_timer is None and self._matcher.is_starving:
            self._await_limit(now)
        self._refill()

    def _refill(self) -> None:
        """Ask shards for what lies there, where there is room for it."""
        for pull in self._matcher.wanted():
            if pull.shard == _FALLEN:
                self._matcher.pull_failed(_FALLEN, gone=True)
                self.match(from_backlog=True)
            else:
                self._around.background.spawn(self._pull(pull))

    def _enter(self, waiter: Waiter) -> None:
        poll = waiter.poll
        waiter.partition = self
        self._polls += 1
        self._note(waiter)
        self.is_sticky = bool(poll.normal_queue)
        self._meter_for(poll.normal_queue)
        if self.key.kind == QueueKind.ACTIVITY and not self.is_sticky:
            self._limit.ask(poll.max_tasks_per_second, self._around.clock.monotonic_ns())
            self._forget_timer()
        self._matcher.join(waiter)
        self.match(from_backlog=True)

    def _exit(self, waiter: Waiter, *, cancelled: bool) -> None:
        self._polls -= 1
        self._matcher.leave(waiter)
        work, waiter.work = waiter.work, None
        if isinstance(work, Held):
            self._limit.refund()
            self._matcher.give_back(work)
        elif work is not None and not work.answer.done():
            self._matcher.recall(work)
        if not (cancelled or waiter.has_left):
            self._note(waiter)
        if work is not None and not self._closed:
            self.match(from_backlog=True)

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
        if outcome is Outcome.STARTED:
            self._matcher.finish(work)
            self._dispatched.add(work.reference.priority, self._around.clock.monotonic_ns())
            since_ns = self._around.clock.now_ns() - work.reference.scheduled_time_ns
            self._meter_for(waiter.poll.normal_queue).dispatched(since_ns, from_backlog=waiter.from_backlog)
            self._refill()
            return answer + self._fields(waiter, waited_ns) if answer else b""
        self._limit.refund()
        if outcome is Outcome.OBSOLETE:
            self._matcher.finish(work)
            return b""
        if error is not None:
            self._around.on_error(error)
        if self._matcher.rest(work):
            loop = asyncio.get_running_loop()
            loop.call_later(rest_ns(work, outcome) / SECOND_NS, self._wake, work)
            work.failures += 1
        return b""

    def _wake(self, held: Held[Offer]) -> None:
        self._matcher.wake(held)
        self.match(from_backlog=True)

    def _fields(self, waiter: Waiter, waited_ns: int) -> bytes:
        count, age_ns = self._backlog()
        delta = idle_delta(waited_ns, from_backlog=waiter.from_backlog)
        if not delta:
            now = self._around.clock.monotonic_ns()
            load = Load(
                count,
                age_ns,
                self._added.per_second(now),
                self._dispatched.per_second(now),
                self._limit.is_set and not self._limit.available(now),
            )
            if busy_delta(load) and self._advice.may_raise(len(self._history), now):
                delta = 1
        return appended_fields(self.key.kind, count, delta)

    def _backlog(self) -> tuple[int, int]:
        """(count, age in ns) of what waits, here and in the shards."""
        count, oldest_ns = self._matcher.backlog()
        return count, max(0, self._around.clock.now_ns() - oldest_ns) if oldest_ns else 0

    def _report(self, offers: Sequence[Offer], backlog: Backlog) -> str:
        """Note a shard's figures; returns what the matcher shall know the offers' shard by."""
        if offers and offers[0].sticky and offers[0].sticky != self.key.name:
            return _FALLEN
        self._matcher.report(backlog)
        return backlog.shard

    def _await_limit(self, now_ns: int) -> None:
        pause_ns = self._limit.wait_ns(now_ns)
        if pause_ns is not None:
            self._meter_for("").throttled.inc()
            loop = asyncio.get_running_loop()
            self._limit_timer = loop.call_later(max(pause_ns, MS_NS) / SECOND_NS, self._on_limit)

    def _forget_timer(self) -> None:
        if self._limit_timer is not None:
            self._limit_timer.cancel()
            self._limit_timer = None

    def _on_limit(self) -> None:
        self._limit_timer = None
        self.match(from_backlog=True)

    async def _pull(self, pull: Pull[Offer]) -> None:
        shard = pull.shard
        try:
            async with asyncio.timeout(_PULL_NS_MAX / SECOND_NS):
                role = self._around.directory.history_of_shard(shard)
                page = await role.pull(shard, self.key, pull.after, pull.limit)
        except (PerdureError, TimeoutError) as error:
            if not isinstance(error, Unavailable | NotFound | TimeoutError):
                self._around.on_error(error)
            self._pull_failed(shard, gone=isinstance(error, NotFound))
            return
        except Exception:
            self._pull_failed(shard, gone=False)
            raise
        self._pull_failures.pop(shard, None)
        self._matcher.report(page.backlog)
        self._matcher.pulled(shard, page.offers, _size(page.offers), end=len(page.offers) < pull.limit)
        self.match(from_backlog=True)

    def _pull_failed(self, shard: str, *, gone: bool) -> None:
        failures = self._pull_failures.get(shard, 0) + 1
        gone = gone or failures > _PULL_FAILURES_MAX
        self._matcher.pull_failed(shard, gone=gone)
        if gone:
            self._pull_failures.pop(shard, None)
        else:
            self._pull_failures[shard] = failures
            pause_ns = min(_PULL_PAUSE_NS << failures, _PULL_PAUSE_NS_MAX)
            asyncio.get_running_loop().call_later(pause_ns / SECOND_NS, self._resume_pulls, shard)
        self.match(from_backlog=True)

    def _resume_pulls(self, shard: str) -> None:
        self._matcher.resume_pulls(shard)
        self.match(from_backlog=True)


def _size(offers: Sequence[Offer]) -> int:
    """About how many bytes the largest of these takes."""
    return _OFFER_BYTES + max((len(offer.key.workflow_id) for offer in offers), default=0)
