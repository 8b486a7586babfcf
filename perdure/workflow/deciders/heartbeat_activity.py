"""A worker says that it is still at work on an activity, with details for the next attempt.

The reply tells it what was asked of the activity before this heartbeat.
"""

from perdure.workflow.activity_attempts import heard
from perdure.workflow.activity_lookup import find_activity
from perdure.workflow.decide import Work, decides
from perdure.workflow.requests import HeartbeatActivity, HeartbeatRecorded


@decides(HeartbeatActivity)
def heartbeat_activity(work: Work, request: HeartbeatActivity) -> HeartbeatRecorded:
    """Keep the details and move the heartbeat timeout."""
    run, activity, attempt = find_activity(work, request.ref)
    draft = work.draft(run.run_id)
    draft.put("attempts", activity.scheduled_event_id, heard(draft, attempt, request.details, request.identity))
    return HeartbeatRecorded(
        cancel_requested=bool(activity.cancel_requested_event_id),
        activity_paused=attempt.paused,
        activity_reset=attempt.reset,
    )
