"""ResetSticky: the worker that kept a run in its cache says that it does not any more."""

import msgspec
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueResponse

from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import open_draft
from perdure.workflow.lost_task import clear_sticky
from perdure.workflow.requests import ResetSticky


@decides(ResetSticky)
def reset_sticky(work: Work, request: ResetSticky) -> ResetStickyTaskQueueResponse:
    """Later workflow tasks go to the normal queue, and so does one that waits on the sticky queue."""
    draft = open_draft(work, request.run_id)
    clear_sticky(draft)
    waiting = draft.run.workflow_task
    if waiting is not None and waiting.sticky and not waiting.started_event_id:
        draft.settle_task()
        task = draft.run.durable.workflow_task
        assert task is not None
        stamp = draft.run.durable.workflow_task_stamp + 1
        draft.assign("workflow_task_stamp", stamp)
        queue = draft.run.facts.task_queue
        moved = msgspec.structs.replace(task, sticky=False, queue=queue, schedule_to_start_ns=0, stamp=stamp)
        draft.assign("workflow_task", moved)
    return ResetStickyTaskQueueResponse()
