"""What time does to activities: backoffs end, and deadlines pass.

Schedule-to-start and schedule-to-close are deadlines of the whole activity; start-to-close and heartbeat end one
attempt, which may be tried again. If it can't be because schedule-to-close would come first, that is what the workflow
is told, with the failure before as cause. Source: the reference's timer queue executor.
"""

import msgspec
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import ActivityTaskTimedOutEventAttributes

from perdure.workflow.activity_attempts import end, retry
from perdure.workflow.activity_options import in_force
from perdure.workflow.decide import Work
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.deriving.activity import deadlines
from perdure.workflow.draft import Draft
from perdure.workflow.failures import timeout_failure
from perdure.workflow.retry_policy import TIMEOUT_NAMES
from perdure.workflow.state import Activity, ActivityAttempt, Run
from perdure.workflow.tasks import Timer, TimerKind
from perdure.workflow.workflow_task import wake

_TIMEOUTS: dict[TimerKind, TimeoutType.ValueType] = {
    TimerKind.ACTIVITY_START_TO_CLOSE: TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE,
    TimerKind.ACTIVITY_SCHEDULE_TO_START: TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START,
    TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE: TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE,
    TimerKind.ACTIVITY_HEARTBEAT: TimeoutType.TIMEOUT_TYPE_HEARTBEAT,
}
_NO_TIME_TO_RETRY = "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"


@fires(TimerKind.ACTIVITY_RETRY)
def end_backoff(work: Work, draft: Draft, timer: Timer) -> None:
    """The next attempt is offered from now on."""
    attempt = draft.run.durable.attempts[timer.event_id]
    draft.put("attempts", timer.event_id, msgspec.structs.replace(attempt, waiting=False))


@fires(TimerKind.ACTIVITY_SCHEDULE_TO_START)
@fires(TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE)
@fires(TimerKind.ACTIVITY_START_TO_CLOSE)
@fires(TimerKind.ACTIVITY_HEARTBEAT)
def time_out(work: Work, draft: Draft, timer: Timer) -> None:
    """Every deadline of every activity of the run that has passed, in order; the workflow wakes once."""
    ended = False
    for _, scheduled_event_id, timeout_type, attempt_number in _passed(draft.run, draft.context.now_ns):
        activity = draft.run.facts.activities.get(scheduled_event_id)
        attempt = draft.run.durable.attempts.get(scheduled_event_id)
        # Each activity has several deadlines: one before in this loop may have ended it, or begun its next attempt.
        if activity is not None and attempt is not None and attempt.attempt == attempt_number:
            ended |= _time_out_one(draft, activity, attempt, timeout_type)
    if ended:
        wake(draft)


def _passed(run: Run, now_ns: int) -> list[tuple[int, int, TimeoutType.ValueType, int]]:
    passed = []
    for scheduled_event_id, activity in run.facts.activities.items():
        attempt = run.durable.attempts.get(scheduled_event_id)
        if attempt is None or attempt.paused:
            continue
        for due_ns, kind in deadlines(in_force(activity, attempt), attempt):
            if due_ns <= now_ns and kind in _TIMEOUTS:
                passed.append((due_ns, scheduled_event_id, _TIMEOUTS[kind], attempt.attempt))
    return sorted(passed)


def _time_out_one(
    draft: Draft, activity: Activity, attempt: ActivityAttempt, timeout_type: TimeoutType.ValueType
) -> bool:
    """Retry, or end the activity and return True."""
    failure = timeout_failure(f"activity {TIMEOUT_NAMES[timeout_type]} timeout", timeout_type)
    state = retry(draft, activity, attempt, failure)
    if state == RetryState.RETRY_STATE_IN_PROGRESS:
        return False
    if state == RetryState.RETRY_STATE_TIMEOUT and timeout_type != TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START:
        failure = timeout_failure(_NO_TIME_TO_RETRY, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE)
    if attempt.heartbeat_details:
        details = Payloads.FromString(attempt.heartbeat_details)
        failure.timeout_failure_info.last_heartbeat_details.CopyFrom(details)
    if attempt.last_failure:
        failure.cause.CopyFrom(Failure.FromString(attempt.last_failure))
    end(draft, activity, attempt, ActivityTaskTimedOutEventAttributes(failure=failure, retry_state=state))
    return True
