"""Commands that close the run: complete, fail, cancel.

A workflow may not close over events that its code has not seen: the task fails, and the next one shows them. A failed
run may be tried again, and a schedule goes on after both ends; a cancelled run is its chain's last.
"""

from temporalio.api.command.v1 import (
    CancelWorkflowExecutionCommandAttributes,
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
)
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionFailedEventAttributes,
)

from perdure.workflow.close import close
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require
from perdure.workflow.successor import after_completion, after_failure, last_result, repeat

_UNHANDLED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
_BAD_COMPLETE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES
_BAD_FAIL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES
_BAD_CANCEL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES


@commands(CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
def complete_workflow(
    completion: Completion, command: Command, attributes: CompleteWorkflowExecutionCommandAttributes
) -> None:
    """The workflow returned."""
    check_close(completion, command, "CompleteWorkflowExecution", _BAD_COMPLETE)
    # The reference names this cause for a result that is too large.
    check_size(
        attributes.result.ByteSize(),
        completion.draft.context.limits.blob_bytes_max,
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
        "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.",
    )
    run = completion.draft.run
    event = WorkflowExecutionCompletedEventAttributes(workflow_task_completed_event_id=completion.completed_event_id)
    result = attributes.result if attributes.HasField("result") else None
    if result is not None:
        event.result.CopyFrom(result)
    succession = after_completion(run, completion.draft.context)
    if succession is not None:
        event.new_execution_run_id = succession.run_id
    close(completion.draft, event, **marks(command))
    if succession is not None:
        repeat(completion.work, run, succession, result=result)


@commands(CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
def fail_workflow(completion: Completion, command: Command, attributes: FailWorkflowExecutionCommandAttributes) -> None:
    """The workflow failed."""
    check_close(completion, command, "FailWorkflowExecution", _BAD_FAIL)
    if not attributes.HasField("failure"):
        raise BadCommand(_BAD_FAIL, "Failure is not set on FailWorkflowExecutionCommand.")
    check_size(
        attributes.failure.ByteSize(),
        completion.draft.context.limits.blob_bytes_max,
        _BAD_FAIL,
        "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit.",
    )
    run = completion.draft.run
    retry_state, succession = after_failure(run, completion.draft.context, attributes.failure)
    event = WorkflowExecutionFailedEventAttributes(
        failure=attributes.failure,
        retry_state=retry_state,
        workflow_task_completed_event_id=completion.completed_event_id,
    )
    if succession is not None:
        event.new_execution_run_id = succession.run_id
    close(completion.draft, event, **marks(command))
    if succession is not None:
        # Another attempt does not get the result that the schedule's last completed run left, as in the reference.
        result = None if succession.is_retry else last_result(run)
        repeat(completion.work, run, succession, result=result, failure=attributes.failure)


@commands(CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION)
def cancel_workflow(
    completion: Completion, command: Command, attributes: CancelWorkflowExecutionCommandAttributes
) -> None:
    """The workflow ended because it was asked to."""
    check_close(completion, command, "CancelWorkflowExecution", _BAD_CANCEL)
    event = WorkflowExecutionCanceledEventAttributes(workflow_task_completed_event_id=completion.completed_event_id)
    if attributes.HasField("details"):
        event.details.CopyFrom(attributes.details)
    close(completion.draft, event, **marks(command))


def check_close(completion: Completion, command: Command, name: str, cause: WorkflowTaskFailedCause.ValueType) -> None:
    """What every command that closes the run needs. Raises BadCommand."""
    if completion.unhandled:
        raise BadCommand(_UNHANDLED)
    require(command, name, cause)
