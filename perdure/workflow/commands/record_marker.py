"""Command record_marker: something that the workflow's code wants to find again in its history."""

from temporalio.api.command.v1 import Command, RecordMarkerCommandAttributes
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import MarkerRecordedEventAttributes

from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_RECORD_MARKER_ATTRIBUTES


@commands(CommandType.COMMAND_TYPE_RECORD_MARKER)
def record_marker(completion: Completion, command: Command, attributes: RecordMarkerCommandAttributes) -> None:
    """Write the marker."""
    require(command, "RecordMarker", _BAD)
    limits = completion.draft.context.limits
    if not attributes.marker_name:
        raise BadCommand(_BAD, "MarkerName is not set on RecordMarkerCommand.")
    name, length = attributes.marker_name, len(attributes.marker_name.encode())
    if length > limits.id_bytes_max:
        shown = f"MarkerName={name} Length={length} Limit={limits.id_bytes_max}"
        raise BadCommand(_BAD, f"MarkerName on RecordMarkerCommand exceeds length limit. {shown}")
    size = sum(len(name.encode()) + payloads.ByteSize() for name, payloads in attributes.details.items())
    check_size(size, limits.blob_bytes_max, _BAD, "RecordMarkerCommandAttributes.Details exceeds size limit.")
    event = MarkerRecordedEventAttributes(
        marker_name=attributes.marker_name,
        details=attributes.details,
        workflow_task_completed_event_id=completion.completed_event_id,
    )
    if attributes.HasField("header"):
        event.header.CopyFrom(attributes.header)
    if attributes.HasField("failure"):
        event.failure.CopyFrom(attributes.failure)
    completion.draft.add(event, **marks(command))
