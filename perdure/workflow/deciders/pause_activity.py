"""PauseActivity: until it is unpaused, an activity is given to nobody, and no deadline of it passes.

One that runs goes on: its worker learns of it with a heartbeat, and its end counts. No event says so. Source: the
reference (`pauseactivity`).
"""

import msgspec
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import PauseActivityResponse

from perdure.base.clock import set_timestamp
from perdure.base.errors import FailedPrecondition
from perdure.workflow.activity_lookup import addressed, check_copies
from perdure.workflow.activity_requests import PauseActivity
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import find_run
from perdure.workflow.server_attributes import note_pauses


@decides(PauseActivity)
def pause_activity(work: Work, request: PauseActivity) -> PauseActivityResponse:
    """Pause all that are addressed, or none: one that is paused already is left alone only if this request did it."""
    asked = request.request
    run = find_run(work, asked.execution.run_id)
    pause = PendingActivityInfo.PauseInfo()
    set_timestamp(pause.pause_time, work.context.ahead(run.ahead_ns).now_ns)
    pause.manual.identity, pause.manual.reason = asked.identity, asked.reason
    pause.manual.SetInParent()
    encoded = pause.SerializeToString()
    draft = None
    activities = addressed(run, asked)
    check_copies(len(encoded) + len(asked.request_id), len(activities), work.context.limits)
    for activity in activities:
        attempt = run.durable.attempts[activity.scheduled_event_id]
        if attempt.paused:
            if attempt.pause_request_id != asked.request_id:
                raise FailedPrecondition("activity is already paused")
            continue
        draft = work.draft(run.run_id)
        # What runs may end, so that only an offer is void from now on.
        stamp = attempt.stamp if attempt.started_time_ns else attempt.stamp + 1
        paused = msgspec.structs.replace(
            attempt, stamp=stamp, paused=True, pause_info=encoded, pause_request_id=asked.request_id
        )
        draft.put("attempts", activity.scheduled_event_id, paused)
    if draft is not None:
        note_pauses(draft)
    return PauseActivityResponse()
