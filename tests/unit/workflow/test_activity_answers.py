from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from temporalio.api.command.v1 import RequestCancelActivityTaskCommandAttributes
from temporalio.api.common.v1 import Payloads, Priority, RetryPolicy, WorkerVersionCapabilities, WorkerVersionStamp
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure

from perdure.base.clock import SECOND_NS, from_timestamp
from perdure.base.errors import InvalidArgument, NotFound
from perdure.base.limits import Limits
from perdure.workflow.requests import (
    ActivityRef,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    StartActivityTask,
)
from perdure.workflow.state import Activity
from perdure.workflow.tasks import TimerKind
from tests.unit.workflow.bench import T0, Bench, application_failure, command, once, payloads, ref, seconds

GONE = "invalid activityID or activity already timed out or invoking workflow is completed"
RESULT = payloads("out")
ANSWERS: dict[str, Callable[[ActivityRef], Any]] = {
    "complete": lambda given: CompleteActivity(given, RESULT, "worker"),
    "fail": lambda given: FailActivity(given, application_failure(), "worker"),
    "cancel": lambda given: CancelActivity(given, None, "worker"),
    "heartbeat": lambda given: HeartbeatActivity(given, None, "worker"),
}
BY_ID = ActivityRef(run_id="run", activity_id="act")


def without_policy(bench: Bench) -> int:
    """An activity as an older server may have scheduled it: no retry policy, so that its start is an event."""
    scheduled_event_id = bench.activity()
    activity: Activity = bench.run.facts.activities[scheduled_event_id]
    bench.run.put("activities", scheduled_event_id, msgspec.structs.replace(activity, retry_policy=b""))
    return scheduled_event_id


def test_a_start_is_no_event_until_the_activity_ends() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.after(2).start(identity="someone")
    assert bench.names() == ["ACTIVITY_TASK_SCHEDULED"]
    assert (started.attempt.attempt, started.attempt.started_time_ns) == (1, T0 + 2 * SECOND_NS)
    assert started.segments == (("branch", 1, 0),)
    version = WorkerVersionStamp(build_id="one")
    bench.after(3).do(CompleteActivity(ref(started), RESULT, "someone else", version))
    assert bench.names()[1:] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
    event = bench.last("ACTIVITY_TASK_STARTED")
    assert (event.scheduled_event_id, event.identity, event.request_id) == (scheduled_event_id, "someone", "start")
    assert event.attempt == 1
    assert event.worker_version == version
    assert from_timestamp(bench.events[1].event_time) == T0 + 2 * SECOND_NS
    completed = bench.last("ACTIVITY_TASK_COMPLETED")
    assert (completed.scheduled_event_id, completed.started_event_id) == (scheduled_event_id, scheduled_event_id + 1)
    assert (completed.result, completed.identity) == (RESULT, "someone else")
    assert from_timestamp(bench.events[2].event_time) == T0 + 5 * SECOND_NS
    assert bench.run.durable.workflow_task is not None
    assert not bench.run.facts.activities
    assert not bench.run.facts.activity_ids
    assert not bench.run.durable.attempts


def test_without_a_retry_policy_the_start_is_written_at_once() -> None:
    bench = Bench()
    scheduled_event_id = without_policy(bench)
    (offer,) = bench.offers()
    capabilities = WorkerVersionCapabilities(build_id="one")
    started = bench.do(StartActivityTask(offer, "start", "worker", capabilities))
    assert bench.names()[1:] == ["ACTIVITY_TASK_STARTED"]
    assert bench.last("ACTIVITY_TASK_STARTED").worker_version == WorkerVersionStamp(build_id="one")
    assert bench.run.durable.workflow_task is None
    bench.fail(started)
    assert bench.names()[1:] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_FAILED"]
    failed = bench.last("ACTIVITY_TASK_FAILED")
    assert failed.retry_state == RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET
    assert failed.started_event_id == scheduled_event_id + 1


def test_without_a_retry_policy_a_start_may_wait_for_its_id() -> None:
    bench = Bench()
    without_policy(bench)
    bench.task_is_started()
    started = bench.start()
    bench.do(CompleteActivity(ref(started), RESULT, "worker"))
    assert bench.names() == ["ACTIVITY_TASK_SCHEDULED"]
    bench.command()
    assert bench.names()[1:] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
    assert bench.last("ACTIVITY_TASK_COMPLETED").started_event_id == bench.events[1].event_id


def test_starting_is_idempotent_by_request_id() -> None:
    bench = Bench()
    bench.activity()
    (offer,) = bench.offers()
    first = bench.start()
    assert not bench.offers()
    again = bench.after(1).decide(StartActivityTask(offer, "start", "worker"))
    assert (again.record, again.reply) == (None, first)
    other = bench.decide(StartActivityTask(offer, "another", "worker"))
    assert isinstance(other.refusal, NotFound)


@pytest.mark.parametrize("change", [{"attempt": 2}, {"stamp": 1}, {"scheduled_event_id": 99}])
def test_an_obsolete_offer_is_refused(change: dict[str, int]) -> None:
    bench = Bench()
    bench.activity()
    (offer,) = bench.offers()
    obsolete = msgspec.structs.replace(offer, **change)
    assert isinstance(bench.decide(StartActivityTask(obsolete, "start", "worker")).refusal, NotFound)


def test_the_priority_of_a_start_is_the_runs_overridden_by_the_activitys() -> None:
    base = Priority(priority_key=1, fairness_key="tenant")
    bench = Bench(priority=base.SerializeToString())
    bench.activity(priority=Priority(priority_key=4))
    (offer,) = bench.offers()
    assert (offer.priority, offer.fairness_key) == (4, "tenant")
    assert Priority.FromString(bench.start().priority) == Priority(priority_key=4, fairness_key="tenant")


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("change", [{"attempt": 2}, {"scheduled_event_id": 99}, {"started_time_ns": 1}])
def test_an_answer_of_another_attempt_finds_nothing(answer: Any, change: dict[str, int]) -> None:
    bench = Bench()
    bench.activity()
    token = ref(bench.start()).token
    assert token is not None
    decision = bench.decide(answer(ActivityRef(token=msgspec.structs.replace(token, **change))))
    assert isinstance(decision.refusal, NotFound)
    assert decision.refusal.message == GONE


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_after_the_end_finds_nothing_though_the_end_waits_for_its_id(answer: Any) -> None:
    bench = Bench()
    bench.activity()
    started = bench.start()
    bench.task_is_started()
    bench.do(CompleteActivity(ref(started), RESULT, "worker"))
    assert bench.names() == ["ACTIVITY_TASK_SCHEDULED"]
    decision = bench.decide(answer(ref(started)))
    assert isinstance(decision.refusal, NotFound)
    assert decision.refusal.message == GONE


def test_by_id_an_unknown_activity_has_a_message_of_its_own() -> None:
    with pytest.raises(NotFound) as refusal:
        Bench().do(CompleteActivity(BY_ID, None, ""))
    assert refusal.value.message == (
        "cannot find pending activity with ActivityID act, check workflow execution history for more details"
    )
    with pytest.raises(InvalidArgument) as bad:
        Bench().do(CompleteActivity(ActivityRef(run_id="run"), None, ""))
    assert bad.value.message == "activityID cannot be empty"


def test_by_id_a_completion_may_come_before_any_start() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    bench.after(1).do(CompleteActivity(ActivityRef(activity_id="act"), RESULT, "client"))
    assert bench.names()[1:] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
    started = bench.last("ACTIVITY_TASK_STARTED")
    assert (started.identity, started.request_id, started.attempt) == ("client", "", 1)
    assert bench.last("ACTIVITY_TASK_COMPLETED").started_event_id == scheduled_event_id + 1


@pytest.mark.parametrize("name", ["fail", "cancel", "heartbeat"])
def test_by_id_everything_else_needs_a_start(name: str) -> None:
    bench = Bench()
    bench.activity()
    with pytest.raises(NotFound) as refusal:
        bench.do(ANSWERS[name](BY_ID))
    assert refusal.value.message == GONE


@pytest.mark.parametrize(
    ("policy", "failure", "state"),
    [
        (once(), application_failure(), RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED),
        (None, application_failure(non_retryable=True), RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE),
        (
            RetryPolicy(non_retryable_error_types=["Mine"]),
            application_failure(kind="Mine"),
            RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        ),
        (RetryPolicy(initial_interval=seconds(30)), application_failure(), RetryState.RETRY_STATE_TIMEOUT),
        (
            None,
            Failure(application_failure_info=ApplicationFailureInfo(next_retry_delay=seconds(25))),
            RetryState.RETRY_STATE_TIMEOUT,
        ),
    ],
)
def test_why_there_is_no_next_attempt(
    policy: RetryPolicy | None, failure: Failure, state: RetryState.ValueType
) -> None:
    bench = Bench()
    scheduled_event_id = bench.activity(retry_policy=policy, schedule_to_close_timeout=seconds(20))
    bench.fail(bench.start(), failure)
    failed = bench.last("ACTIVITY_TASK_FAILED")
    assert failed.retry_state == state
    assert failed.failure == failure
    assert (failed.scheduled_event_id, failed.started_event_id) == (scheduled_event_id, scheduled_event_id + 1)
    assert bench.run.durable.workflow_task is not None


def test_a_failure_begins_a_backoff_and_the_next_attempt_carries_it_on() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity(schedule_to_close_timeout=seconds(60))
    first = bench.start()
    bench.after(1).heartbeat(first, "half")
    bench.after(1).fail(first)
    assert bench.names() == ["ACTIVITY_TASK_SCHEDULED"]
    assert bench.run.durable.workflow_task is None
    assert not bench.offers()
    (timer,) = bench.timers()
    assert (timer.kind, timer.due_ns, timer.attempt) == (TimerKind.ACTIVITY_RETRY, T0 + 3 * SECOND_NS, 2)
    bench.fire(timer)
    (offer,) = bench.offers()
    assert (offer.attempt, offer.scheduled_time_ns) == (2, T0 + 3 * SECOND_NS)
    second = bench.start(request_id="again")
    assert second.attempt.attempt == 2
    assert second.attempt.heartbeat_details == payloads("half").SerializeToString()
    assert second.attempt.first_scheduled_time_ns == T0
    with pytest.raises(NotFound):
        bench.do(CompleteActivity(ref(first), RESULT, "worker"))
    bench.do(CompleteActivity(ref(second), RESULT, "worker"))
    started = bench.last("ACTIVITY_TASK_STARTED")
    assert (started.attempt, started.last_failure) == (2, application_failure())
    assert bench.last("ACTIVITY_TASK_COMPLETED").scheduled_event_id == scheduled_event_id


def test_intervals_grow_from_attempt_to_attempt() -> None:
    bench = Bench()
    bench.activity()
    waited = []
    for number in range(4):
        bench.fail(bench.start(request_id=str(number)))
        (timer,) = bench.timers()
        waited.append((timer.due_ns - bench.now_ns) // SECOND_NS)
        bench.fire(timer)
    assert waited == [1, 2, 4, 8]


def test_the_applications_delay_beats_the_policys_maximum() -> None:
    bench = Bench()
    bench.activity(retry_policy=RetryPolicy(maximum_interval=seconds(5)))
    delayed = Failure(application_failure_info=ApplicationFailureInfo(next_retry_delay=seconds(77)))
    bench.fail(bench.start(), delayed)
    (timer,) = bench.timers()
    assert timer.due_ns == T0 + 77 * SECOND_NS


def test_a_failures_heartbeat_details_go_to_the_next_attempt() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.start()
    bench.do(FailActivity(ref(started), application_failure(), "worker", payloads("late")))
    _, attempt = bench.pending(scheduled_event_id)
    assert attempt.heartbeat_details == payloads("late").SerializeToString()


def test_a_large_failure_is_cut_in_state() -> None:
    bench = Bench(limits=Limits(activity_failure_bytes_max=500))
    scheduled_event_id = bench.activity()
    bench.fail(bench.start(), application_failure("é" * 2000, kind="Mine"))
    _, attempt = bench.pending(scheduled_event_id)
    kept = Failure.FromString(attempt.last_failure)
    assert kept.message == "Failure exceeds size limit."
    assert kept.HasField("server_failure_info")
    assert kept.cause.application_failure_info.type == "Mine"
    assert kept.cause.message == "é" * (len(kept.cause.message.encode()) // 2)
    assert 400 < len(attempt.last_failure) < 600


def test_a_cancellation_has_to_be_requested_first() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.start()
    with pytest.raises(InvalidArgument) as refusal:
        bench.do(CancelActivity(ref(started), None, "worker"))
    message = "unable to mark activity as canceled without activity being request canceled first"
    assert refusal.value.message == message
    attributes = RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id)
    bench.command(command("REQUEST_CANCEL_ACTIVITY_TASK", attributes))
    requested_id = bench.events[-1].event_id
    bench.do(CancelActivity(ref(started), payloads("why"), "worker"))
    assert bench.names()[-2:] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_CANCELED"]
    canceled = bench.last("ACTIVITY_TASK_CANCELED")
    assert (canceled.latest_cancel_requested_event_id, canceled.details) == (requested_id, payloads("why"))
    assert canceled.started_event_id == requested_id + 1


def test_there_is_no_next_attempt_after_a_cancel_request() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.start()
    attributes = RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id)
    bench.command(command("REQUEST_CANCEL_ACTIVITY_TASK", attributes))
    bench.fail(started)
    assert bench.last("ACTIVITY_TASK_FAILED").retry_state == RetryState.RETRY_STATE_CANCEL_REQUESTED


def test_a_heartbeat_without_details_takes_the_ones_before_away() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.start()
    bench.heartbeat(started, "first")
    bench.after(1).do(HeartbeatActivity(ref(started), None, "worker"))
    _, attempt = bench.pending(scheduled_event_id)
    assert (attempt.heartbeat_details, attempt.heartbeat_time_ns) == (b"", T0 + SECOND_NS)
    assert Payloads.FromString(attempt.heartbeat_details) == Payloads()


def test_a_failure_that_was_not_sent_is_none() -> None:
    bench = Bench()
    bench.activity(retry_policy=once())
    bench.do(FailActivity(ref(bench.start()), Failure(), "worker"))
    assert not bench.last("ACTIVITY_TASK_FAILED").HasField("failure")
