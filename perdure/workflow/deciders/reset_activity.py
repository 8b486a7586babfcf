"""ResetActivity: activities begin again with their first attempt.

One that nobody has is offered at once, or after some jitter, and is unpaused unless it shall stay so. One that runs
goes on: a first attempt learns of it with a heartbeat; the answers of a later one are refused, because its number isn't
any more, and it ends by a timeout. No event says so. Source: the reference (`resetactivity`).
"""

import msgspec
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import ResetActivityResponse

from perdure.workflow.activity_attempts import due
from perdure.workflow.activity_lookup import addressed, jittered_ns, unpaused
from perdure.workflow.activity_options import in_force, options_of
from perdure.workflow.activity_requests import ResetActivity
from perdure.workflow.context import Context
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import find_run
from perdure.workflow.server_attributes import note_pauses
from perdure.workflow.state import Activity, ActivityAttempt


@decides(ResetActivity)
def reset_activity(work: Work, request: ResetActivity) -> ResetActivityResponse:
    """Reset all that are addressed."""
    asked = request.request
    run = find_run(work, asked.execution.run_id)
    activities = addressed(run, asked)
    draft = work.draft(run.run_id)
    freed = False
    for activity in activities:
        attempt = run.durable.attempts[activity.scheduled_event_id]
        # Attempts count from one again: what the stamp tells apart is this life of the activity from the one before.
        again = msgspec.structs.replace(
            attempt,
            attempt=1,
            stamp=attempt.stamp + 1,
            reset=True,
            reset_heartbeat=attempt.reset_heartbeat or asked.reset_heartbeat,
        )
        if asked.restore_original_options:
            again = _with_original_options(activity, again)
        if attempt.paused and not asked.keep_paused:
            again = unpaused(again)
            freed = True
        if not again.started_time_ns and not again.paused:
            again = _offered_anew(draft.context, activity, again, asked.jitter)
        draft.put("attempts", activity.scheduled_event_id, again)
    if freed:
        note_pauses(draft)
    return ResetActivityResponse()


def _offered_anew(context: Context, activity: Activity, attempt: ActivityAttempt, jitter: Duration) -> ActivityAttempt:
    due_ns = jittered_ns(context, jitter, activity)
    attempt = due(attempt, due_ns, context.now_ns, attempt.last_attempt_complete_time_ns or context.now_ns)
    return msgspec.structs.replace(attempt, last_failure=b"")


def _with_original_options(activity: Activity, attempt: ActivityAttempt) -> ActivityAttempt:
    """The options of its schedule; but the priority stays as it was set, as in the reference."""
    priority = in_force(activity, attempt).priority
    encoded = b""
    if priority != activity.priority:
        options = options_of(msgspec.structs.replace(activity, priority=priority))
        encoded = options.SerializeToString()
    return msgspec.structs.replace(attempt, options=encoded)
