"""Terminate: end a run now, without asking its code."""

from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes
from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionResponse

from perdure.workflow.close import close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_chain, check_parent, open_draft
from perdure.workflow.requests import Terminate


@decides(Terminate)
def terminate(work: Work, request: Terminate) -> TerminateWorkflowExecutionResponse:
    """Close the open run as terminated."""
    asked = request.request
    draft = open_draft(work, "" if asked.first_execution_run_id else asked.workflow_execution.run_id)
    check_chain(draft.run, asked.first_execution_run_id)
    check_parent(draft.run, request.external)
    attributes = WorkflowExecutionTerminatedEventAttributes(reason=asked.reason, identity=asked.identity)
    if asked.HasField("details"):
        attributes.details.CopyFrom(asked.details)
    close_from_outside(work, draft, attributes, links=asked.links)
    return TerminateWorkflowExecutionResponse()
