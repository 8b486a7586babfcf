"""The life of an activity's attempts: started, heard of, ended, tried again.

An attempt's start is no event while a retry may follow: it is written with the terminal event, at the time it had.
Without a retry policy it is written at once. Refuses to know who asks: requests, commands and timers use these steps
and then wake the run.
"""

import msgspec
from temporalio.api.common.v1 import Payloads, RetryPolicy, WorkerVersionStamp
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCanceledEventAttributes,
    ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes,
    ActivityTaskStartedEventAttributes,
    ActivityTaskTimedOutEventAttributes,
)

from perdure.workflow.activity_options import in_force
from perdure.workflow.draft import Draft
from perdure.workflow.failures import kept
from perdure.workflow.retry_policy import is_retryable, next_attempt, requested_delay_ns
from perdure.workflow.server_attributes import note_pauses
from perdure.workflow.state import Activity, ActivityAttempt

Terminal = (
    ActivityTaskCompletedEventAttributes
    | ActivityTaskFailedEventAttributes
    | ActivityTaskTimedOutEventAttributes
    | ActivityTaskCanceledEventAttributes
)
_DEADLINES = (TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE)


def start(
    draft: Draft,
    activity: Activity,
    attempt: ActivityAttempt,
    request_id: str,
    identity: str,
    version: WorkerVersionStamp | None = None,
) -> ActivityAttempt:
    """A worker has the attempt from now on. Returns the attempt as it is then."""
    started = msgspec.structs.replace(
        attempt,
        started_time_ns=draft.context.now_ns,
        started_identity=identity,
        last_worker_identity=identity,
        request_id=request_id,
        started_event_pending=bool(activity.retry_policy),
        waiting=False,
    )
    if not started.started_event_pending:
        draft.add(_started_event(activity, started, version))
    draft.put("attempts", activity.scheduled_event_id, started)
    return started


def end(
    draft: Draft,
    activity: Activity,
    attempt: ActivityAttempt,
    terminal: Terminal,
    version: WorkerVersionStamp | None = None,
) -> None:
    """Write the start, if it waits for this, and `terminal`, whose started event id is filled in here; the activity is
    over.

    A start that is buffered has no id yet: numbering the buffer fills it in.
    """
    if attempt.started_event_pending:
        draft.add(_started_event(activity, attempt, version), time_ns=attempt.started_time_ns)
        activity = draft.run.facts.activities[activity.scheduled_event_id]
    terminal.scheduled_event_id = activity.scheduled_event_id
    terminal.started_event_id = activity.started_event_id
    draft.add(terminal)
    draft.drop("attempts", activity.scheduled_event_id)
    if attempt.paused:
        note_pauses(draft)


def heard(draft: Draft, attempt: ActivityAttempt, details: Payloads | None, identity: str) -> ActivityAttempt:
    """The attempt after a heartbeat: its newest details go to the next attempt."""
    return msgspec.structs.replace(
        attempt,
        heartbeat_details=details.SerializeToString() if details is not None else b"",
        heartbeat_time_ns=draft.context.now_ns,
        last_worker_identity=identity or attempt.last_worker_identity,
    )


def retry(draft: Draft, activity: Activity, attempt: ActivityAttempt, failure: Failure | None) -> RetryState.ValueType:
    """Begin the next attempt's backoff and return IN_PROGRESS, or return why there is none and change nothing."""
    state, interval_ns = retry_decision(draft, activity, attempt, failure)
    if state != RetryState.RETRY_STATE_IN_PROGRESS:
        return state
    bytes_max = draft.context.limits.activity_failure_bytes_max
    following = msgspec.structs.replace(
        attempt,
        attempt=attempt.attempt + 1,
        started_time_ns=0,
        request_id="",
        started_event_pending=False,
        last_failure=kept(failure, bytes_max).SerializeToString() if failure is not None else b"",
    )
    if not attempt.paused:
        now_ns = draft.context.now_ns
        following = due(following, now_ns + interval_ns, now_ns, now_ns)
    draft.put("attempts", activity.scheduled_event_id, following)
    return state


def due(attempt: ActivityAttempt, due_ns: int, now_ns: int, ended_ns: int) -> ActivityAttempt:
    """The attempt that nobody has started, to be offered at `due_ns`; a reset has had its effect with that.

    `ended_ns`: when the attempt before it ended.
    """
    if attempt.reset or attempt.reset_heartbeat:
        attempt = msgspec.structs.replace(
            attempt,
            heartbeat_details=b"" if attempt.reset_heartbeat else attempt.heartbeat_details,
            heartbeat_time_ns=0 if attempt.reset_heartbeat else attempt.heartbeat_time_ns,
            reset=False,
            reset_heartbeat=False,
        )
    return msgspec.structs.replace(
        attempt, scheduled_time_ns=due_ns, waiting=due_ns > now_ns, retry_interval_ns=max(0, due_ns - ended_ns)
    )


def retry_decision(
    draft: Draft, activity: Activity, attempt: ActivityAttempt, failure: Failure | None
) -> tuple[RetryState.ValueType, int]:
    """(IN_PROGRESS, nanoseconds until the next attempt), or (why there is none, 0).

    A delay that the application asks for beats the policy's maximum. A missed deadline of the whole activity is no
    failure of an attempt. A paused activity is tried again when it goes on.
    """
    if not activity.retry_policy:
        return RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET, 0
    if activity.cancel_requested_event_id:
        return RetryState.RETRY_STATE_CANCEL_REQUESTED, 0
    if failure is not None and failure.timeout_failure_info.timeout_type in _DEADLINES:
        return RetryState.RETRY_STATE_TIMEOUT, 0
    activity = in_force(activity, attempt)
    policy = RetryPolicy.FromString(activity.retry_policy)
    if not is_retryable(failure, policy):
        return RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE, 0
    if attempt.paused:
        return RetryState.RETRY_STATE_IN_PROGRESS, 0
    delay_ns = requested_delay_ns(failure)
    expiration_ns = expires_ns(activity, attempt)
    return next_attempt(policy, attempt.attempt, draft.context.now_ns, expiration_ns, delay_ns, delay_ns)


def expires_ns(activity: Activity, attempt: ActivityAttempt) -> int:
    """When schedule-to-close is over, by the options of `activity`; 0 = never."""
    if not activity.schedule_to_close_ns:
        return 0
    return attempt.first_scheduled_time_ns + activity.schedule_to_close_ns


def _started_event(
    activity: Activity, attempt: ActivityAttempt, version: WorkerVersionStamp | None
) -> ActivityTaskStartedEventAttributes:
    return ActivityTaskStartedEventAttributes(
        scheduled_event_id=activity.scheduled_event_id,
        identity=attempt.started_identity,
        request_id=attempt.request_id,
        attempt=attempt.attempt,
        last_failure=Failure.FromString(attempt.last_failure) if attempt.last_failure else None,
        worker_version=version,
    )
