"""ResetSticky: the worker that kept a run in its cache says that it does not any more."""

from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueResponse

from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import open_draft
from perdure.workflow.lost_task import clear_sticky
from perdure.workflow.requests import ResetSticky


@decides(ResetSticky)
def reset_sticky(work: Work, request: ResetSticky) -> ResetStickyTaskQueueResponse:
    """Later workflow tasks go to the normal queue."""
    clear_sticky(open_draft(work, request.run_id))
    return ResetStickyTaskQueueResponse()
