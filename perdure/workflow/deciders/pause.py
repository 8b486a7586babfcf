"""PauseWorkflow, UnpauseWorkflow: until it goes on, a run gets no workflow task and none of its activities is given
away.

Everything else goes on meanwhile: timers fire, timeouts end things, signals are written down, and whoever has a task
may answer it. A workflow task that nobody has taken fails; the run has a new one once it goes on.

Differs from the reference by intent: a run whose start is delayed can be paused too (the reference fails with an
internal error), and its delay, if it ends meanwhile, begins the run once it goes on.
"""

import msgspec
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowExecutionPausedEventAttributes, WorkflowExecutionUnpausedEventAttributes
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionResponse, UnpauseWorkflowExecutionResponse

from perdure.base.errors import FailedPrecondition
from perdure.workflow.close import SERVER_IDENTITY, show
from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.intervention_requests import PauseWorkflow, UnpauseWorkflow
from perdure.workflow.lookup import open_draft
from perdure.workflow.lost_task import fail
from perdure.workflow.server_attributes import note_pauses
from perdure.workflow.workflow_task import set_attempt, wake

_UNSTARTED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED


@decides(PauseWorkflow)
def pause(work: Work, request: PauseWorkflow) -> PauseWorkflowExecutionResponse:
    """Pause the open run. The request that did it may be repeated."""
    asked = request.request
    draft = open_draft(work, asked.run_id)
    if draft.run.durable.paused:
        known = WorkflowExecutionPausedEventAttributes.FromString(draft.run.facts.pause)
        if not asked.request_id or asked.request_id != known.request_id:
            raise FailedPrecondition("workflow is already paused.")
        return PauseWorkflowExecutionResponse()
    task = draft.run.workflow_task
    if task is not None and not task.started_event_id:
        fail(draft, _UNSTARTED, identity=SERVER_IDENTITY)
        set_attempt(draft, 1)
    draft.add(
        WorkflowExecutionPausedEventAttributes(
            identity=asked.identity, reason=asked.reason, request_id=asked.request_id
        ),
        worker_may_ignore=True,
    )
    draft.assign("paused", True)
    show(draft)
    note_pauses(draft)
    return PauseWorkflowExecutionResponse()


@decides(UnpauseWorkflow)
def unpause(work: Work, request: UnpauseWorkflow) -> UnpauseWorkflowExecutionResponse:
    """The run goes on with a workflow task."""
    asked = request.request
    draft = open_draft(work, asked.run_id)
    if not draft.run.durable.paused:
        raise FailedPrecondition("workflow is not paused.")
    draft.add(
        WorkflowExecutionUnpausedEventAttributes(
            identity=asked.identity, reason=asked.reason, request_id=asked.request_id
        ),
        worker_may_ignore=True,
    )
    draft.assign("paused", False)
    show(draft)
    note_pauses(draft)
    _offer_anew(draft)
    if draft.run.durable.workflow_task is None:
        set_attempt(draft, 1)  # the worker has the pause to see: no repetition
    wake(draft, skip_delay=draft.run.facts.cancel_requested)  # a cancellation doesn't wait for a delayed start
    return UnpauseWorkflowExecutionResponse()


def _offer_anew(draft: Draft) -> None:
    """Activities that nobody has are other offers from now on: a worker's refused call for one that was made before the
    pause must not take the new one away.
    """
    for scheduled_id, attempt in draft.run.durable.attempts.items():
        if not attempt.started_time_ns:
            draft.put("attempts", scheduled_id, msgspec.structs.replace(attempt, stamp=attempt.stamp + 1))
