"""Commands that close the run: complete, fail, cancel.

A workflow may not close over events that its code has not seen: the task fails, and the next one shows them.
"""

from typing import Any

from temporalio.api.command.v1 import (
    CancelWorkflowExecutionCommandAttributes,
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
)
from temporalio.api.enums.v1 import CommandType, RetryState, WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionFailedEventAttributes,
)

from perdure.workflow.close import close
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require

_UNHANDLED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
_BAD_COMPLETE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES
_BAD_FAIL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES
_BAD_CANCEL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES


@commands(CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
def complete_workflow(
    completion: Completion, command: Command, attributes: CompleteWorkflowExecutionCommandAttributes
) -> None:
    """The workflow returned."""
    _check(completion, command, "CompleteWorkflowExecution", _BAD_COMPLETE)
    # The reference names this cause for a result that is too large.
    check_size(
        attributes.result.ByteSize(),
        completion.draft.context.limits.blob_bytes_max,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
        "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.",
    )
    event = WorkflowExecutionCompletedEventAttributes(workflow_task_completed_event_id=completion.completed_event_id)
    if attributes.HasField("result"):
        event.result.CopyFrom(attributes.result)
    close(completion.draft, event, **marks(command))


@commands(CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
def fail_workflow(completion: Completion, command: Command, attributes: FailWorkflowExecutionCommandAttributes) -> None:
    """The workflow failed. Runs with a retry policy or a schedule are refused at their start, so nothing follows."""
    _check(completion, command, "FailWorkflowExecution", _BAD_FAIL)
    if not attributes.HasField("failure"):
        raise BadCommand(_BAD_FAIL, "Failure is not set on FailWorkflowExecutionCommand.")
    check_size(
        attributes.failure.ByteSize(),
        completion.draft.context.limits.blob_bytes_max,
        _BAD_FAIL,
        "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit.",
    )
    event = WorkflowExecutionFailedEventAttributes(
        failure=attributes.failure,
        retry_state=RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET,
        workflow_task_completed_event_id=completion.completed_event_id,
    )
    close(completion.draft, event, **marks(command))


@commands(CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION)
def cancel_workflow(
    completion: Completion, command: Command, attributes: CancelWorkflowExecutionCommandAttributes
) -> None:
    """The workflow ended because it was asked to."""
    _check(completion, command, "CancelWorkflowExecution", _BAD_CANCEL)
    event = WorkflowExecutionCanceledEventAttributes(workflow_task_completed_event_id=completion.completed_event_id)
    if attributes.HasField("details"):
        event.details.CopyFrom(attributes.details)
    close(completion.draft, event, **marks(command))


def _check(completion: Completion, command: Any, name: str, cause: WorkflowTaskFailedCause.ValueType) -> None:
    if completion.unhandled:
        raise BadCommand(_UNHANDLED)
    require(command, name, cause)
