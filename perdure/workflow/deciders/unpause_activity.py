"""UnpauseActivity: paused activities go on, those that nobody has at once or after some jitter.

Deadlines that passed meanwhile pass now. Source: the reference (`unpauseactivity`).
"""

import msgspec
from temporalio.api.workflowservice.v1 import UnpauseActivityResponse

from perdure.workflow.activity_attempts import due
from perdure.workflow.activity_lookup import addressed, jittered_ns, unpaused
from perdure.workflow.activity_requests import UnpauseActivity
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_open, find_run
from perdure.workflow.server_attributes import note_pauses


@decides(UnpauseActivity)
def unpause_activity(work: Work, request: UnpauseActivity) -> UnpauseActivityResponse:
    """Those that aren't paused are left alone."""
    asked = request.request
    run = find_run(work, asked.execution.run_id)
    check_open(run)
    context = work.context.ahead(run.ahead_ns)
    draft = None
    for activity in addressed(run, asked):
        attempt = run.durable.attempts[activity.scheduled_event_id]
        if not attempt.paused:
            continue
        draft = work.draft(run.run_id)
        freed = unpaused(attempt)
        if asked.reset_attempts:
            freed = msgspec.structs.replace(freed, attempt=1)
        if asked.reset_heartbeat:
            freed = msgspec.structs.replace(freed, heartbeat_details=b"", heartbeat_time_ns=0)
        if not freed.started_time_ns:
            due_ns = jittered_ns(context, asked.jitter, activity)
            freed = due(freed, due_ns, context.now_ns, freed.last_attempt_complete_time_ns or context.now_ns)
            freed = msgspec.structs.replace(freed, last_failure=b"")
        draft.put("attempts", activity.scheduled_event_id, freed)
    if draft is not None:
        note_pauses(draft)
    return UnpauseActivityResponse()
