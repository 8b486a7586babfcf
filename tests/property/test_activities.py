"""Random lives of activities and timers in one run, against what was promised of them (invariants 3 and 21 to 25)."""

import random
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS, from_duration, from_timestamp
from perdure.workflow.decide import Decision
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import (
    ActivityRef,
    ActivityTaskStarted,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    StartActivityTask,
)
from perdure.workflow.state import ActivityAttempt
from perdure.workflow.tasks import Offer, QueueKind
from tests.property.histories import check_history
from tests.transcripts.activity_scenarios import activity, by_token, details, seconds, timer
from tests.transcripts.scenarios import command, signal, start
from tests.transcripts.stage import Stage

T = TypeVar("T")
POLICIES = [
    RetryPolicy(),
    RetryPolicy(maximum_attempts=1),
    RetryPolicy(
        maximum_attempts=3, initial_interval=seconds(2), non_retryable_error_types=["TemporalTimeout:Heartbeat"]
    ),
]


class Dice:
    """Chance from a seed: a life is many choices long, and drawing each of them would leave no room for long lives."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def of(self, values: list[T]) -> T:
        """One of `values`, which are not empty."""
        return self._random.choice(values)

    def several(self, values: list[T], at_most: int) -> list[T]:
        """Up to `at_most` of `values`, none twice."""
        return self._random.sample(values, min(len(values), self._random.randint(0, at_most)))


class Watch:
    """Sees every decision and keeps what workers were given, to judge it."""

    def __init__(self) -> None:
        self.given: dict[int, list[ActivityTaskStarted]] = {}
        self.backoff_until: dict[int, int] = {}

    def see(self, request: Any, decision: Decision) -> None:
        """One decision."""
        if decision.chain.current is None:
            return
        run = decision.chain.runs[decision.chain.current.run_id]
        for scheduled_event_id, attempt in run.durable.attempts.items():
            if attempt.waiting:
                self.backoff_until[scheduled_event_id] = attempt.scheduled_time_ns
        if isinstance(request, StartActivityTask) and decision.record is not None:
            self._given(decision.reply)

    def _given(self, started: ActivityTaskStarted) -> None:
        attempts = self.given.setdefault(started.activity.scheduled_event_id, [])
        assert started.attempt.attempt == len(attempts) + 1, "attempts have a gap, or one was given twice"
        maximum = RetryPolicy.FromString(started.activity.retry_policy).maximum_attempts
        assert not 0 < maximum < started.attempt.attempt, "more attempts than allowed"
        not_before_ns = self.backoff_until.get(started.activity.scheduled_event_id, 0)
        assert started.attempt.started_time_ns >= not_before_ns, "an attempt came before its backoff was over"
        attempts.append(started)


def commands(stage: Stage, draw: Dice) -> list[Command]:
    """Commands that make sense at the moment, mostly."""
    facts = stage.run.facts
    possible: list[Command] = [
        activity(
            draw.of([activity_id for activity_id in "abcdef" if activity_id not in facts.activity_ids] or ["a"]),
            start_to_close_timeout=seconds(draw.of([3, 30])),
            heartbeat_timeout=seconds(draw.of([0, 2])),
            schedule_to_start_timeout=seconds(draw.of([0, 5])),
            schedule_to_close_timeout=seconds(draw.of([0, 12])),
            retry_policy=draw.of(POLICIES),
        ),
        timer(draw.of(["s", "t"]), draw.of([0, 1, 7])),
        command("RECORD_MARKER", marker_name="marker"),
    ]
    possible += [
        command("REQUEST_CANCEL_ACTIVITY_TASK", scheduled_event_id=key)
        for key, pending in facts.activities.items()
        if not pending.cancel_requested_event_id
    ]
    possible += [command("CANCEL_TIMER", timer_id=timer_id) for timer_id in (*facts.timers, "t")]
    return draw.several(possible, 3)


def workflow_step(stage: Stage, draw: Dice, watch: Watch) -> None:
    """The workflow goes on: it is woken if need be, or answers the task that it has."""
    task = stage.run.durable.workflow_task
    if task is None:
        stage.decide(signal())
    elif task.started_event_id:
        stage.complete(*commands(stage, draw))
    elif stage.offers():
        stage.poll()


def takes(stage: Stage, draw: Dice, watch: Watch) -> None:
    """A worker gets an activity."""
    for task in outstanding(stage.run):
        if isinstance(task, Offer) and task.queue.kind == QueueKind.ACTIVITY:
            request_id = f"{task.scheduled_event_id}/{task.attempt}"
            first = stage.decide(StartActivityTask(task, request_id, "worker"))
            assert first.refusal is None
            again = stage.decide(StartActivityTask(task, request_id, "worker"))
            assert (again.reply, again.record) == (first.reply, None)
            return


def answers(stage: Stage, draw: Dice, watch: Watch) -> None:
    """A worker answers an attempt that it was given, maybe one of long ago."""
    given = [started for attempts in watch.given.values() for started in attempts[-2:]]
    if not given:
        return
    started = draw.of(given)
    failure = Failure(
        message="no", application_failure_info=ApplicationFailureInfo(non_retryable=draw.of([False, True]))
    )
    ref: ActivityRef = by_token(started)
    attempt = stage.run.durable.attempts.get(started.activity.scheduled_event_id)
    decision = stage.decide(
        draw.of(
            [
                CompleteActivity(ref, details("out"), "worker"),
                FailActivity(ref, failure, "worker"),
                FailActivity(ref, failure, "worker"),
                CancelActivity(ref, None, "worker"),
                HeartbeatActivity(ref, details("beat"), "worker"),
            ]
        )
    )
    if not _is_at_work(attempt, started):
        assert decision.refusal is not None, "an attempt that is over was answered"
        assert decision.record is None


def _is_at_work(attempt: ActivityAttempt | None, started: ActivityTaskStarted) -> bool:
    return attempt is not None and (attempt.attempt, attempt.started_time_ns) == (
        started.attempt.attempt,
        started.attempt.started_time_ns,
    )


def time_passes(stage: Stage, draw: Dice, watch: Watch) -> None:
    """Everything that is due happens."""
    stage.advance(draw.of([0.5, 1.0, 4.0]))
    assert all(timer.due_ns > stage.now_ns for timer in stage.timers())


STEPS = [workflow_step, workflow_step, workflow_step, takes, takes, answers, answers, time_passes]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_activities_and_timers_live_as_promised(seed: int) -> None:
    watch = Watch()
    stage = Stage(watch.see)
    draw = Dice(seed)
    stage.decide(start(workflow_task_timeout=seconds(100)))
    for _ in range(150):
        draw.of(STEPS)(stage, draw, watch)
    check_history(stage.history)
    check_timers(stage.history)
    assert set(stage.run.durable.attempts) == set(stage.run.facts.activities)
    assert stage.run.facts.activity_ids == {
        pending.activity_id: key for key, pending in stage.run.facts.activities.items()
    }


def check_timers(events: list[HistoryEvent]) -> None:
    """A timer fires once, and not early; or it is cancelled; nothing else."""
    due: dict[int, int] = {}
    for event in events:
        if event.HasField("timer_started_event_attributes"):
            duration_ns = from_duration(event.timer_started_event_attributes.start_to_fire_timeout)
            due[event.event_id] = from_timestamp(event.event_time) + duration_ns
        elif event.HasField("timer_fired_event_attributes"):
            due_ns = due.pop(event.timer_fired_event_attributes.started_event_id)
            assert 0 <= from_timestamp(event.event_time) - due_ns < SECOND_NS
        elif event.HasField("timer_canceled_event_attributes"):
            due.pop(event.timer_canceled_event_attributes.started_event_id)
