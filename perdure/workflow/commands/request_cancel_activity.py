"""The command that asks for an activity's cancellation.

One that no worker has is cancelled at once; a worker learns it with its next heartbeat. The request of an activity
whose end is buffered is recorded and has no effect: the workflow could not know.
"""

from temporalio.api.command.v1 import Command, RequestCancelActivityTaskCommandAttributes
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import CommandType, EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    ActivityTaskCanceledEventAttributes,
    ActivityTaskCancelRequestedEventAttributes,
)

from perdure.workflow.activity_attempts import end
from perdure.workflow.commands import BadCommand, Completion, commands, marks
from perdure.workflow.draft import Draft
from perdure.workflow.evolve import attributes_of
from perdure.workflow.workflow_task import wake

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
_NOT_STARTED = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"ACTIVITY_ID_NOT_STARTED"')])
_ENDS = frozenset(
    {
        EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
    }
)


@commands(CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK)
def request_cancel_activity(
    completion: Completion, command: Command, attributes: RequestCancelActivityTaskCommandAttributes
) -> None:
    """Record the request; end the activity if no worker has it. Raises BadCommand."""
    if not command.HasField("request_cancel_activity_task_command_attributes"):
        raise BadCommand(
            _BAD, "RequestCancelActivityTaskCommandAttributes is not set on RequestCancelActivityTaskCommand."
        )
    scheduled_event_id = attributes.scheduled_event_id
    if scheduled_event_id <= 0:
        raise BadCommand(_BAD, "ScheduledEventId is not set on RequestCancelActivityTaskCommand.")
    draft = completion.draft
    activity = draft.run.facts.activities.get(scheduled_event_id)
    if activity.cancel_requested_event_id if activity is not None else not _end_waits(draft, scheduled_event_id):
        action = "add-activitytask-cancel-requested-event"
        details = f"{action}, ScheduledEventID: {scheduled_event_id}"
        raise BadCommand(_BAD, f"invalid history builder state for action: {details}")
    requested = draft.add(
        ActivityTaskCancelRequestedEventAttributes(
            scheduled_event_id=scheduled_event_id,
            workflow_task_completed_event_id=completion.completed_event_id,
        ),
        **marks(command),
    )
    attempt = draft.run.durable.attempts.get(scheduled_event_id)
    if activity is None or attempt is None or attempt.started_time_ns:
        return
    canceled = ActivityTaskCanceledEventAttributes(
        latest_cancel_requested_event_id=requested.event_id,
        details=_NOT_STARTED,
        identity=completion.identity,
    )
    end(draft, activity, attempt, canceled)
    wake(draft)


def _end_waits(draft: Draft, scheduled_event_id: int) -> bool:
    """Whether the activity's terminal event is buffered."""
    return any(
        event.event_type in _ENDS and attributes_of(event).scheduled_event_id == scheduled_event_id
        for event in draft.buffered()
    )
