"""The command that asks another workflow to cancel: recorded here, sent by an errand. Source: the reference
(`command_attr_validator.go`).
"""

from temporalio.api.command.v1 import Command, RequestCancelExternalWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import RequestCancelExternalWorkflowExecutionInitiatedEventAttributes

from perdure.base.uuids import is_uuid
from perdure.workflow.commands import BadCommand, Completion, commands, marks, require
from perdure.workflow.commands.target_namespace import refuse_other, target_namespace_id

_COMMAND = "RequestCancelExternalWorkflowExecutionCommand"
_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
_TOO_MANY = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED


@commands(CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION)
def request_cancel_external(
    completion: Completion, command: Command, attributes: RequestCancelExternalWorkflowExecutionCommandAttributes
) -> None:
    """The request is pending. Raises BadCommand, NamespaceNotFound."""
    draft = completion.draft
    context, limits = draft.context, draft.context.limits
    namespace_id = target_namespace_id(context, attributes.namespace)
    require(command, "RequestCancelExternalWorkflowExecution", _BAD)
    refuse_other(context, namespace_id, _BAD)
    _check(completion, attributes)
    pending = len(draft.run.facts.external_cancels)
    if pending >= limits.pending_cancel_requests_max:
        what = f"pending requests to cancel external workflows, {pending},"
        limit = limits.pending_cancel_requests_max
        raise BadCommand(_TOO_MANY, f"the number of {what} has reached the per-workflow limit of {limit}")
    event = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
        workflow_task_completed_event_id=completion.completed_event_id,
        namespace=attributes.namespace,
        namespace_id=namespace_id,
        workflow_execution=WorkflowExecution(workflow_id=attributes.workflow_id, run_id=attributes.run_id),
        control=attributes.control,
        child_workflow_only=attributes.child_workflow_only,
        reason=attributes.reason,
    )
    draft.add(event, **marks(command))


def _check(completion: Completion, attributes: RequestCancelExternalWorkflowExecutionCommandAttributes) -> None:
    workflow_id, run_id, namespace = attributes.workflow_id, attributes.run_id, attributes.namespace
    length, limit = len(workflow_id.encode()), completion.draft.context.limits.id_bytes_max
    shown = f"WorkflowId={workflow_id} RunId={run_id} Namespace={namespace}"
    if not workflow_id:
        raise BadCommand(_BAD, f"WorkflowId is not set on {_COMMAND}. Namespace={namespace} RunId={run_id}")
    if length > limit:
        shown = f"WorkflowId={workflow_id} Length={length} Limit={limit} RunId={run_id} Namespace={namespace}"
        raise BadCommand(_BAD, f"WorkflowId on {_COMMAND} exceeds length limit. {shown}")
    if run_id and not is_uuid(run_id):
        raise BadCommand(_BAD, f"Invalid RunId set on {_COMMAND}. {shown}")
    if workflow_id in completion.children:
        rule = "Start and RequestCancel for child workflow is not allowed in same workflow task."
        raise BadCommand(_BAD, f"{rule} {shown}")
