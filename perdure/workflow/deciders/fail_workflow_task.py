"""FailWorkflowTask: the worker could not carry out its workflow task; another attempt follows."""

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskFailedResponse

from perdure.workflow.cause_names import cause_name
from perdure.workflow.close import SERVER_IDENTITY, close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_open, find_run
from perdure.workflow.lost_task import fail, started_task
from perdure.workflow.requests import FailWorkflowTask
from perdure.workflow.workflow_task import wake

_TOO_LARGE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE


@decides(FailWorkflowTask)
def fail_workflow_task(work: Work, request: FailWorkflowTask) -> RespondWorkflowTaskFailedResponse:
    """Fail the started task. A completion too large to be sent can't be sent next time either: it ends the run."""
    asked = request.request
    run = find_run(work, request.token.run_id)
    check_open(run)
    started_task(run, request.token)
    draft = work.draft(run.run_id)
    if asked.cause == _TOO_LARGE:
        attributes = WorkflowExecutionTerminatedEventAttributes(
            reason=cause_name(asked.cause), identity=SERVER_IDENTITY
        )
        close_from_outside(work, draft, attributes)
    else:
        failure = asked.failure if asked.HasField("failure") else None
        fail(draft, asked.cause, failure, asked.identity, asked.binary_checksum)
        wake(draft)
    return RespondWorkflowTaskFailedResponse()
