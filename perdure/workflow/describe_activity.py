"""A pending activity as DescribeWorkflowExecution shows it.

Differs from the reference in one value by intent: the current retry interval after a timeout is the interval, not the
time since 1970 (the reference subtracts the completion time of an attempt that never completed).
"""

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payloads, Priority
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo

from perdure.base.clock import to_duration, to_timestamp
from perdure.workflow.activity_attempts import expires_ns
from perdure.workflow.activity_options import in_force, options_of
from perdure.workflow.state import Activity, ActivityAttempt, Run


def pending_activity_info(run: Run, scheduled_event_id: int) -> PendingActivityInfo:
    """What is known about a pending activity of `run`, which must have it."""
    attempt = run.durable.attempts[scheduled_event_id]
    activity = in_force(run.facts.activities[scheduled_event_id], attempt)
    info = PendingActivityInfo(
        activity_id=activity.activity_id,
        state=_state(activity, attempt),
        attempt=attempt.attempt,
        scheduled_time=to_timestamp(attempt.scheduled_time_ns),
        last_worker_identity=attempt.started_identity or attempt.last_worker_identity,
        paused=attempt.paused,
        activity_options=_options(activity),
    )
    info.activity_type.name = activity.activity_type
    if activity.priority:
        info.priority.CopyFrom(Priority.FromString(activity.priority))
    if attempt.started_time_ns:
        info.last_started_time.CopyFrom(to_timestamp(attempt.started_time_ns))
    if attempt.heartbeat_time_ns:
        info.last_heartbeat_time.CopyFrom(to_timestamp(attempt.heartbeat_time_ns))
        if attempt.heartbeat_details:
            info.heartbeat_details.CopyFrom(Payloads.FromString(attempt.heartbeat_details))
    if attempt.last_attempt_complete_time_ns:
        info.last_attempt_complete_time.CopyFrom(to_timestamp(attempt.last_attempt_complete_time_ns))
    if attempt.paused:
        info.pause_info.CopyFrom(PendingActivityInfo.PauseInfo.FromString(attempt.pause_info))
    if activity.retry_policy:
        _add_retries(info, activity, attempt)
    return info


def _add_retries(info: PendingActivityInfo, activity: Activity, attempt: ActivityAttempt) -> None:
    info.maximum_attempts = info.activity_options.retry_policy.maximum_attempts
    if expiration_ns := expires_ns(activity, attempt):
        info.expiration_time.CopyFrom(to_timestamp(expiration_ns))
    if attempt.last_failure:
        info.last_failure.CopyFrom(Failure.FromString(attempt.last_failure))
    if attempt.waiting and info.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        info.next_attempt_schedule_time.CopyFrom(to_timestamp(attempt.scheduled_time_ns))
        info.current_retry_interval.CopyFrom(to_duration(attempt.retry_interval_ns))


def _state(activity: Activity, attempt: ActivityAttempt) -> PendingActivityState.ValueType:
    if activity.cancel_requested_event_id:
        return PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
    if attempt.started_time_ns:
        if attempt.paused:
            return PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
        return PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    if attempt.paused:
        return PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
    return PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


def _options(activity: Activity) -> ActivityOptions:
    """The options in force; non-retryable error types are not shown."""
    options = options_of(activity)
    options.task_queue.normal_name = activity.task_queue
    del options.retry_policy.non_retryable_error_types[:]
    return options
