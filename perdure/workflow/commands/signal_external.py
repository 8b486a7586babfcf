"""The command that signals another workflow: recorded here, sent by an errand. Source: the reference
(`command_attr_validator.go`).
"""

from temporalio.api.command.v1 import Command, SignalExternalWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import SignalExternalWorkflowExecutionInitiatedEventAttributes

from perdure.base.uuids import is_uuid
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require
from perdure.workflow.commands.target_namespace import refuse_other, target_namespace_id
from perdure.workflow.context import Context

_COMMAND = "SignalExternalWorkflowExecutionCommand"
_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
_TOO_MANY = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_SIGNALS_LIMIT_EXCEEDED


@commands(CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION)
def signal_external(
    completion: Completion, command: Command, attributes: SignalExternalWorkflowExecutionCommandAttributes
) -> None:
    """The signal is pending. Raises BadCommand, NamespaceNotFound."""
    draft = completion.draft
    context, limits = draft.context, draft.context.limits
    namespace_id = target_namespace_id(context, attributes.namespace)
    require(command, "SignalExternalWorkflowExecution", _BAD)
    _check(attributes, namespace_id, context)
    pending = len(draft.run.facts.external_signals)
    if pending >= limits.pending_signals_max:
        what = f"pending signals to external workflows, {pending},"
        limit = limits.pending_signals_max
        raise BadCommand(_TOO_MANY, f"the number of {what} has reached the per-workflow limit of {limit}")
    message = "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit."
    check_size(attributes.input.ByteSize(), limits.blob_bytes_max, _BAD, message)
    target = attributes.execution
    event = SignalExternalWorkflowExecutionInitiatedEventAttributes(
        workflow_task_completed_event_id=completion.completed_event_id,
        namespace=attributes.namespace,
        namespace_id=namespace_id,
        workflow_execution=WorkflowExecution(workflow_id=target.workflow_id, run_id=target.run_id),
        signal_name=attributes.signal_name,
        control=attributes.control,
        child_workflow_only=attributes.child_workflow_only,
    )
    if attributes.HasField("input"):
        event.input.CopyFrom(attributes.input)
    if attributes.HasField("header"):
        event.header.CopyFrom(attributes.header)
    draft.add(event, **marks(command))


def _check(attributes: SignalExternalWorkflowExecutionCommandAttributes, namespace_id: str, context: Context) -> None:
    if not attributes.HasField("execution"):
        raise BadCommand(_BAD, f"Execution is not set on {_COMMAND}.")
    refuse_other(context, namespace_id, _BAD)
    workflow_id, run_id = attributes.execution.workflow_id, attributes.execution.run_id
    name, namespace = attributes.signal_name, attributes.namespace
    length, limit = len(workflow_id.encode()), context.limits.id_bytes_max
    if not workflow_id:
        shown = f"Namespace={namespace} RunId={run_id} SignalName={name}"
        raise BadCommand(_BAD, f"WorkflowId is not set on {_COMMAND}. {shown}")
    if length > limit:
        shown = f"WorkflowId={workflow_id} Length={length} Limit={limit} Namespace={namespace} RunId={run_id}"
        raise BadCommand(_BAD, f"WorkflowId on {_COMMAND} exceeds length limit. {shown} SignalName={name}")
    if run_id and not is_uuid(run_id):
        shown = f"WorkflowId={workflow_id} Namespace={namespace} RunId={run_id} SignalName={name}"
        raise BadCommand(_BAD, f"Invalid RunId set on {_COMMAND}. {shown}")
    if not name:
        shown = f"WorkflowId={workflow_id} Namespace={namespace} RunId={run_id}"
        raise BadCommand(_BAD, f"SignalName is not set on {_COMMAND}. {shown}")
