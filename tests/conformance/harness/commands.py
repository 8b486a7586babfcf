"""Commands of a workflow task with the plainest attributes; keyword arguments set or replace attributes."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import command_type_pb2 as kinds
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue

from tests.conformance.harness.payloads import duration, failure, payloads


def complete_workflow(result: str = "done") -> command.Command:
    """Close as completed."""
    attributes = command.CompleteWorkflowExecutionCommandAttributes(result=payloads(result))
    return command.Command(
        command_type=kinds.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        complete_workflow_execution_command_attributes=attributes,
    )


def fail_workflow(message: str = "broken", **fields: Any) -> command.Command:
    """Close as failed."""
    attributes = command.FailWorkflowExecutionCommandAttributes(**{"failure": failure(message), **fields})
    return command.Command(
        command_type=kinds.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        fail_workflow_execution_command_attributes=attributes,
    )


def cancel_workflow(details: str = "cancelled") -> command.Command:
    """Close as cancelled."""
    attributes = command.CancelWorkflowExecutionCommandAttributes(details=payloads(details))
    return command.Command(
        command_type=kinds.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
        cancel_workflow_execution_command_attributes=attributes,
    )


def start_timer(timer_id: str = "timer", seconds: float | None = 1, **fields: Any) -> command.Command:
    """Start a timer; `seconds` None leaves its time unset."""
    given = {} if seconds is None else {"start_to_fire_timeout": duration(seconds)}
    attributes = command.StartTimerCommandAttributes(timer_id=timer_id, **{**given, **fields})
    return command.Command(command_type=kinds.COMMAND_TYPE_START_TIMER, start_timer_command_attributes=attributes)


def cancel_timer(timer_id: str = "timer") -> command.Command:
    """Cancel a timer."""
    attributes = command.CancelTimerCommandAttributes(timer_id=timer_id)
    return command.Command(command_type=kinds.COMMAND_TYPE_CANCEL_TIMER, cancel_timer_command_attributes=attributes)


def schedule_activity(
    queue: taskqueue.TaskQueue, activity_id: str = "act", kind: str = "work", **fields: Any
) -> command.Command:
    """Schedule an activity, with a start-to-close timeout of 10 s if no other timeout is given."""
    given: dict[str, Any] = {"activity_id": activity_id, "activity_type": common.ActivityType(name=kind)}
    if not any(name in fields for name in ("start_to_close_timeout", "schedule_to_close_timeout")):
        given["start_to_close_timeout"] = duration(10)
    attributes = command.ScheduleActivityTaskCommandAttributes(**{**given, "task_queue": queue, **fields})
    return command.Command(
        command_type=kinds.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK, schedule_activity_task_command_attributes=attributes
    )


def cancel_activity(scheduled_event_id: int) -> command.Command:
    """Request cancellation of an activity."""
    attributes = command.RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id)
    return command.Command(
        command_type=kinds.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK,
        request_cancel_activity_task_command_attributes=attributes,
    )


def record_marker(name: str = "marker", **fields: Any) -> command.Command:
    """Record a marker."""
    attributes = command.RecordMarkerCommandAttributes(marker_name=name, **fields)
    return command.Command(command_type=kinds.COMMAND_TYPE_RECORD_MARKER, record_marker_command_attributes=attributes)


def upsert_search_attributes(attributes: common.SearchAttributes | None) -> command.Command:
    """Upsert search attributes; None leaves them unset."""
    given = command.UpsertWorkflowSearchAttributesCommandAttributes(search_attributes=attributes)
    return command.Command(
        command_type=kinds.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        upsert_workflow_search_attributes_command_attributes=given,
    )


def modify_properties(memo: common.Memo | None) -> command.Command:
    """Upsert the memo; None leaves it unset."""
    given = command.ModifyWorkflowPropertiesCommandAttributes(upserted_memo=memo)
    return command.Command(
        command_type=kinds.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES,
        modify_workflow_properties_command_attributes=given,
    )


def start_child(queue: taskqueue.TaskQueue, workflow_id: str, **fields: Any) -> command.Command:
    """Start a child workflow of type `child`; its workflow id is sent as it is given."""
    plain: dict[str, Any] = {
        "workflow_id": workflow_id,
        "workflow_type": common.WorkflowType(name="child"),
        "task_queue": queue,
    }
    attributes = command.StartChildWorkflowExecutionCommandAttributes(**{**plain, **fields})
    return command.Command(
        command_type=kinds.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
        start_child_workflow_execution_command_attributes=attributes,
    )


def signal_external(execution: common.WorkflowExecution | None, name: str = "hello", **fields: Any) -> command.Command:
    """Signal another workflow; its id is sent as it is given."""
    plain: dict[str, Any] = {"execution": execution, "signal_name": name}
    attributes = command.SignalExternalWorkflowExecutionCommandAttributes(**{**plain, **fields})
    return command.Command(
        command_type=kinds.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION,
        signal_external_workflow_execution_command_attributes=attributes,
    )


def cancel_external(workflow_id: str, **fields: Any) -> command.Command:
    """Request cancellation of another workflow; its id is sent as it is given."""
    attributes = command.RequestCancelExternalWorkflowExecutionCommandAttributes(workflow_id=workflow_id, **fields)
    return command.Command(
        command_type=kinds.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION,
        request_cancel_external_workflow_execution_command_attributes=attributes,
    )


def continue_as_new(**fields: Any) -> command.Command:
    """Close, and go on in a new run; what isn't given is left unset."""
    attributes = command.ContinueAsNewWorkflowExecutionCommandAttributes(**fields)
    return command.Command(
        command_type=kinds.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
        continue_as_new_workflow_execution_command_attributes=attributes,
    )
