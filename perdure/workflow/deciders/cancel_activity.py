"""A worker reports that an activity ended because its cancellation was requested."""

from temporalio.api.history.v1 import ActivityTaskCanceledEventAttributes

from perdure.base.errors import InvalidArgument
from perdure.workflow.activity_attempts import end
from perdure.workflow.activity_lookup import find_activity
from perdure.workflow.decide import Work, decides
from perdure.workflow.requests import CancelActivity
from perdure.workflow.workflow_task import wake

_NOT_REQUESTED = "unable to mark activity as canceled without activity being request canceled first"


@decides(CancelActivity)
def cancel_activity(work: Work, request: CancelActivity) -> None:
    """The activity was cancelled; only after the workflow asked for it."""
    run, activity, attempt = find_activity(work, request.ref)
    if not activity.cancel_requested_event_id:
        raise InvalidArgument(_NOT_REQUESTED)
    draft = work.draft(run.run_id)
    canceled = ActivityTaskCanceledEventAttributes(
        latest_cancel_requested_event_id=activity.cancel_requested_event_id,
        details=request.details,
        identity=request.identity,
    )
    end(draft, activity, attempt, canceled)
    wake(draft)
