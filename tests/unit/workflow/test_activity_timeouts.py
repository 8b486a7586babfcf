import pytest
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType

from perdure.base.clock import SECOND_NS
from perdure.workflow.requests import FireTimer
from perdure.workflow.tasks import TimerKind
from tests.unit.workflow.bench import T0, Bench, application_failure, once, payloads, schedule, seconds

NO_TIME = "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
START_TO_CLOSE = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
SCHEDULE_TO_START = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
SCHEDULE_TO_CLOSE = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE


def nearest(bench: Bench) -> tuple[TimerKind, float]:
    timer = bench.timers()[0]
    return timer.kind, (timer.due_ns - T0) / SECOND_NS


def test_only_the_nearest_deadline_has_a_timer() -> None:
    bench = Bench()
    bench.activity(
        schedule_to_close_timeout=seconds(100),
        schedule_to_start_timeout=seconds(20),
        start_to_close_timeout=seconds(30),
        heartbeat_timeout=seconds(5),
    )
    assert len(bench.timers()) == 1
    assert nearest(bench) == (TimerKind.ACTIVITY_SCHEDULE_TO_START, 20)
    started = bench.after(10).start()
    assert nearest(bench) == (TimerKind.ACTIVITY_HEARTBEAT, 15)
    bench.after(2).heartbeat(started)
    assert nearest(bench) == (TimerKind.ACTIVITY_HEARTBEAT, 17)
    for _ in range(6):
        bench.after(4).heartbeat(started)
    assert nearest(bench) == (TimerKind.ACTIVITY_START_TO_CLOSE, 40)


def test_a_deadline_after_the_runs_end_has_no_timer() -> None:
    bench = Bench(run_timeout_ns=50 * SECOND_NS)
    bench.after(1).activity()
    assert not bench.timers()
    bench.start()
    assert nearest(bench) == (TimerKind.ACTIVITY_START_TO_CLOSE, 11)


def test_an_attempt_that_takes_too_long_is_tried_again() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    bench.start()
    bench.fire(bench.timers()[0])
    _, attempt = bench.pending(scheduled_event_id)
    assert attempt.attempt == 2
    assert nearest(bench) == (TimerKind.ACTIVITY_RETRY, 11)
    assert bench.names() == ["ACTIVITY_TASK_SCHEDULED"]
    bench.fire(bench.timers()[0])
    bench.start(request_id="again")
    bench.fire(bench.timers()[0])
    _, attempt = bench.pending(scheduled_event_id)
    assert (attempt.attempt, attempt.started_time_ns) == (3, 0)


def test_the_last_attempt_that_takes_too_long_ends_the_activity() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity(retry_policy=once())
    started = bench.start()
    bench.after(1).heartbeat(started, "far")
    bench.fire(bench.timers()[0])
    assert bench.names()[1:] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_TIMED_OUT"]
    timed_out = bench.last("ACTIVITY_TASK_TIMED_OUT")
    assert (timed_out.scheduled_event_id, timed_out.started_event_id) == (scheduled_event_id, scheduled_event_id + 1)
    assert timed_out.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED
    assert timed_out.failure.message == "activity StartToClose timeout"
    assert timed_out.failure.source == "Server"
    info = timed_out.failure.timeout_failure_info
    assert (info.timeout_type, info.last_heartbeat_details) == (START_TO_CLOSE, payloads("far"))
    assert not timed_out.failure.HasField("cause")
    assert bench.run.durable.workflow_task is not None


def test_a_missed_heartbeat_can_be_declared_final() -> None:
    bench = Bench()
    policy = RetryPolicy(non_retryable_error_types=["TemporalTimeout:Heartbeat"])
    bench.activity(retry_policy=policy, heartbeat_timeout=seconds(3))
    bench.start()
    bench.fire(bench.timers()[0])
    timed_out = bench.last("ACTIVITY_TASK_TIMED_OUT")
    assert timed_out.retry_state == RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE
    assert timed_out.failure.message == "activity Heartbeat timeout"


def test_nobody_starting_it_is_final() -> None:
    bench = Bench()
    bench.activity(schedule_to_start_timeout=seconds(3))
    bench.fire(bench.timers()[0])
    assert bench.names()[1:] == ["ACTIVITY_TASK_TIMED_OUT"]
    timed_out = bench.last("ACTIVITY_TASK_TIMED_OUT")
    assert timed_out.started_event_id == 0
    assert timed_out.retry_state == RetryState.RETRY_STATE_TIMEOUT
    assert timed_out.failure.message == "activity ScheduleToStart timeout"
    assert timed_out.failure.timeout_failure_info.timeout_type == SCHEDULE_TO_START
    assert not bench.offers()


def test_schedule_to_start_begins_anew_with_each_attempt() -> None:
    bench = Bench()
    bench.activity(schedule_to_start_timeout=seconds(30))
    bench.fail(bench.start())
    assert nearest(bench) == (TimerKind.ACTIVITY_RETRY, 1)
    bench.fire(bench.timers()[0])
    assert nearest(bench) == (TimerKind.ACTIVITY_SCHEDULE_TO_START, 31)


@pytest.mark.parametrize("waiting", [True, False])
def test_schedule_to_close_spans_all_attempts_and_names_the_failure_before(waiting: bool) -> None:
    bench = Bench()
    bench.activity(schedule_to_close_timeout=seconds(5))
    bench.after(2).fail(bench.start())
    if not waiting:
        bench.fire(bench.timers()[0])
        bench.start(request_id="again")
    timer = bench.timers()[0]
    if waiting:
        bench.after(60)
        bench.fire(timer)
        timer = bench.timers()[0]
    assert (timer.kind, timer.due_ns) == (TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE, T0 + 5 * SECOND_NS)
    bench.fire(timer)
    timed_out = bench.last("ACTIVITY_TASK_TIMED_OUT")
    assert timed_out.retry_state == RetryState.RETRY_STATE_TIMEOUT
    assert timed_out.failure.message == NO_TIME
    assert timed_out.failure.timeout_failure_info.timeout_type == SCHEDULE_TO_CLOSE
    assert timed_out.failure.cause == application_failure()
    assert ("ACTIVITY_TASK_STARTED" in bench.names()) is not waiting


def test_an_attempt_without_time_for_another_counts_as_schedule_to_close() -> None:
    bench = Bench()
    policy = RetryPolicy(initial_interval=seconds(9))
    bench.activity(retry_policy=policy, schedule_to_close_timeout=seconds(15), start_to_close_timeout=seconds(10))
    bench.start()
    bench.fire(bench.timers()[0])
    assert bench.now_ns == T0 + 10 * SECOND_NS
    timed_out = bench.last("ACTIVITY_TASK_TIMED_OUT")
    assert timed_out.failure.message == NO_TIME
    assert timed_out.failure.timeout_failure_info.timeout_type == SCHEDULE_TO_CLOSE


def test_all_that_is_due_times_out_at_once() -> None:
    bench = Bench()
    bench.command(
        schedule(activity_id="late", schedule_to_start_timeout=seconds(7)),
        schedule(activity_id="early", schedule_to_start_timeout=seconds(3)),
        schedule(activity_id="not yet", schedule_to_start_timeout=seconds(100)),
    )
    timer = bench.timers()[0]
    bench.after(50).fire(timer)
    assert bench.names()[3:] == ["ACTIVITY_TASK_TIMED_OUT"] * 2
    assert [event.activity_task_timed_out_event_attributes.scheduled_event_id for event in bench.events[3:5]] == [6, 5]
    assert list(bench.run.facts.activity_ids) == ["not yet"]


def test_a_timer_that_the_state_no_longer_wants_changes_nothing() -> None:
    bench = Bench()
    bench.activity(heartbeat_timeout=seconds(3))
    started = bench.start()
    timer = bench.timers()[0]
    bench.after(1).heartbeat(started)
    bench.after(2)
    assert bench.decide(FireTimer(timer)).record is None


def test_a_timer_never_fires_early() -> None:
    bench = Bench()
    bench.activity()
    bench.start()
    timer = bench.timers()[0]
    bench.now_ns = timer.due_ns - 1
    assert bench.decide(FireTimer(timer)).record is None
