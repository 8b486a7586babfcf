from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import RequestCancelActivityTaskCommandAttributes
from temporalio.api.common.v1 import ActivityType, Priority, RetryPolicy
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo

from perdure.base.clock import SECOND_NS, to_timestamp
from perdure.workflow.describe_activity import pending_activity_info
from tests.unit.workflow.bench import T0, Bench, application_failure, command, payloads, seconds

SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


def at(offset: float) -> object:
    return to_timestamp(T0 + int(offset * SECOND_NS))


def options(**changes: object) -> ActivityOptions:
    given = {
        "task_queue": TaskQueue(name="queue", normal_name="queue"),
        "schedule_to_close_timeout": seconds(0),
        "schedule_to_start_timeout": seconds(0),
        "start_to_close_timeout": seconds(10),
        "heartbeat_timeout": seconds(0),
        "retry_policy": RetryPolicy(initial_interval=seconds(1), backoff_coefficient=2, maximum_interval=seconds(100)),
    }
    return ActivityOptions(**{**given, **changes})


def test_scheduled_then_started() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    expected = PendingActivityInfo(
        activity_id="act",
        activity_type=ActivityType(name="work"),
        state=SCHEDULED,
        attempt=1,
        scheduled_time=to_timestamp(T0),
        activity_options=options(),
    )
    assert pending_activity_info(bench.run, scheduled_event_id) == expected
    bench.after(2).start()
    expected.state = STARTED
    expected.last_worker_identity = "worker"
    expected.last_started_time.CopyFrom(to_timestamp(T0 + 2 * SECOND_NS))
    assert pending_activity_info(bench.run, scheduled_event_id) == expected


def test_in_backoff_after_a_failure() -> None:
    bench = Bench()
    policy = RetryPolicy(maximum_attempts=3, non_retryable_error_types=["Mine"])
    scheduled_event_id = bench.activity(
        retry_policy=policy, schedule_to_close_timeout=seconds(60), priority=Priority(priority_key=2)
    )
    started = bench.after(1).start()
    bench.after(1).heartbeat(started, "half")
    bench.after(1).fail(started)
    info = pending_activity_info(bench.run, scheduled_event_id)
    assert (info.state, info.attempt, info.maximum_attempts) == (SCHEDULED, 2, 3)
    assert info.scheduled_time == info.next_attempt_schedule_time == at(4)
    assert info.last_attempt_complete_time == at(3)
    assert info.current_retry_interval == seconds(1)
    assert info.expiration_time == at(60)
    assert (info.last_heartbeat_time, info.heartbeat_details) == (at(2), payloads("half"))
    assert info.last_failure == application_failure()
    assert info.last_worker_identity == "worker"
    assert not info.HasField("last_started_time")
    assert info.priority == info.activity_options.priority == Priority(priority_key=2)
    assert not info.activity_options.retry_policy.non_retryable_error_types
    bench.fire(bench.timers()[0])
    info = pending_activity_info(bench.run, scheduled_event_id)
    assert not info.HasField("next_attempt_schedule_time")
    assert not info.HasField("current_retry_interval")


def test_after_a_cancel_request() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    bench.start()
    attributes = RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id)
    bench.command(command("REQUEST_CANCEL_ACTIVITY_TASK", attributes))
    info = pending_activity_info(bench.run, scheduled_event_id)
    assert info.state == PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
