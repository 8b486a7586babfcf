"""The command that cancels a user timer. A timer that fired while this task ran, which the workflow does not know,
never did.
"""

from temporalio.api.command.v1 import CancelTimerCommandAttributes, Command
from temporalio.api.enums.v1 import CommandType, EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import TimerCanceledEventAttributes

from perdure.workflow.commands import BadCommand, Completion, commands, marks
from perdure.workflow.commands.start_timer import check_timer_id

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_TIMER_ATTRIBUTES


@commands(CommandType.COMMAND_TYPE_CANCEL_TIMER)
def cancel_timer(completion: Completion, command: Command, attributes: CancelTimerCommandAttributes) -> None:
    """The timer is gone, and a TimerFired of it that waits for its id too. Raises BadCommand."""
    if not command.HasField("cancel_timer_command_attributes"):
        raise BadCommand(_BAD, "CancelTimerCommandAttributes is not set on CancelTimerCommand.")
    timer_id = attributes.timer_id
    check_timer_id(completion, timer_id, _BAD, "CancelTimerCommand")
    draft = completion.draft
    pending = draft.run.facts.timers.get(timer_id)
    started_event_id = pending.started_event_id if pending is not None else _take_back(completion, timer_id)
    if not started_event_id:
        details = f"add-timer-canceled-event, TimerID: {timer_id}"
        raise BadCommand(_BAD, f"invalid history builder state for action: {details}")
    canceled = TimerCanceledEventAttributes(
        timer_id=timer_id,
        started_event_id=started_event_id,
        workflow_task_completed_event_id=completion.completed_event_id,
        identity=completion.identity,
    )
    draft.add(canceled, **marks(command))


def _take_back(completion: Completion, timer_id: str) -> int:
    """Remove the timer's buffered TimerFired; returns the id of its TimerStarted, 0 if nothing was buffered."""
    draft = completion.draft
    for index, event in enumerate(draft.buffered()):
        fired = event.timer_fired_event_attributes
        if event.event_type == EventType.EVENT_TYPE_TIMER_FIRED and fired.timer_id == timer_id:
            draft.unbuffer(index)
            completion.unhandled = completion.unhandled and bool(draft.run.durable.buffered)
            return fired.started_event_id
    return 0
