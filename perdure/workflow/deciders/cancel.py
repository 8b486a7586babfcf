"""RequestCancel: ask a run to end. Idempotent: a second request, or one to a closed run, succeeds and changes
nothing.
"""

from temporalio.api.history.v1 import WorkflowExecutionCancelRequestedEventAttributes
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionResponse

from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_chain, find_run
from perdure.workflow.requests import RequestCancel
from perdure.workflow.workflow_task import wake


@decides(RequestCancel)
def request_cancel(work: Work, request: RequestCancel) -> RequestCancelWorkflowExecutionResponse:
    """Write the request into the open run's history, once; a delayed first task begins now."""
    asked = request.request
    run_id = "" if asked.first_execution_run_id else asked.workflow_execution.run_id
    run = find_run(work, run_id)
    if run.is_open:
        check_chain(run, asked.first_execution_run_id)
        if not run.facts.cancel_requested:
            draft = work.draft(run.run_id)
            attributes = WorkflowExecutionCancelRequestedEventAttributes(cause=asked.reason, identity=asked.identity)
            draft.add(attributes, links=asked.links)
            wake(draft, skip_delay=True)
    return RequestCancelWorkflowExecutionResponse()
