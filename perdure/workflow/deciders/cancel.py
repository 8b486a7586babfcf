"""RequestCancel: ask a run to end. Idempotent: a second request, or one to a closed run, succeeds and changes
nothing, but that a run remembers the requests of other workflows, so that one that is repeated does not reach its
successor.
"""

from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import WorkflowExecutionCancelRequestedEventAttributes
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionResponse

from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.lookup import check_chain, check_parent, find_run
from perdure.workflow.requests import EarlierRun, RequestCancel
from perdure.workflow.state import Run
from perdure.workflow.taken_before import taken_before
from perdure.workflow.workflow_task import wake

# Of each run; nothing else bounds how often others may ask.
_REMEMBERED_MAX = 10_000


@decides(RequestCancel)
def request_cancel(work: Work, request: RequestCancel) -> RequestCancelWorkflowExecutionResponse | EarlierRun:
    """Write the request into the open run's history, once; a delayed first task begins now."""
    asked, external = request.request, request.external
    run_id, request_id = "" if asked.first_execution_run_id else asked.workflow_execution.run_id, asked.request_id
    run = find_run(work, run_id)
    repeatable = external is not None and not run_id and external.initiated_event_id != 0
    if external is not None and repeatable:
        taken = taken_before(work, run, external, lambda each: request_id in each.durable.cancel_requests)
        if isinstance(taken, EarlierRun):
            return taken
        if taken:
            return RequestCancelWorkflowExecutionResponse()
    if run.is_open:
        check_chain(run, asked.first_execution_run_id)
        check_parent(run, external)
        if not run.facts.cancel_requested:
            _ask(work, run, request)
    if repeatable:
        _remember(work.draft(run.run_id), request_id)
    return RequestCancelWorkflowExecutionResponse()


def _ask(work: Work, run: Run, request: RequestCancel) -> None:
    asked, external = request.request, request.external
    fields: dict[str, Any] = {}
    if external is not None:
        fields["external_initiated_event_id"] = external.initiated_event_id
        fields["external_workflow_execution"] = WorkflowExecution(
            workflow_id=external.workflow_id, run_id=external.run_id
        )
    attributes = WorkflowExecutionCancelRequestedEventAttributes(cause=asked.reason, identity=asked.identity, **fields)
    draft = work.draft(run.run_id)
    draft.add(attributes, links=asked.links)
    wake(draft, skip_delay=True)


def _remember(draft: Draft, request_id: str) -> None:
    """So that the runs after this one do not take the request for their own."""
    known = draft.run.durable.cancel_requests
    if len(known) >= _REMEMBERED_MAX:
        draft.drop("cancel_requests", next(iter(known)))
    draft.put("cancel_requests", request_id, True)
