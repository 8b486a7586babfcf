"""The command that starts a user timer."""

from temporalio.api.command.v1 import Command, StartTimerCommandAttributes
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import TimerStartedEventAttributes

from perdure.base.clock import to_duration
from perdure.workflow.commands import BadCommand, Completion, commands, marks
from perdure.workflow.durations import capped_ns, duration_fault

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_TIMER_ATTRIBUTES
_DUPLICATE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_START_TIMER_DUPLICATE_ID


@commands(CommandType.COMMAND_TYPE_START_TIMER)
def start_timer(completion: Completion, command: Command, attributes: StartTimerCommandAttributes) -> None:
    """The timer is pending. Raises BadCommand."""
    if not command.HasField("start_timer_command_attributes"):
        raise BadCommand(_BAD, "StartTimerCommandAttributes is not set on StartTimerCommand.")
    timer_id = attributes.timer_id
    check_timer_id(completion, timer_id, _BAD, "StartTimerCommand")
    if fault := duration_fault(attributes.start_to_fire_timeout):
        message = f"An invalid StartToFireTimeout is set on StartTimerCommand: {fault}. TimerId={timer_id}"
        raise BadCommand(_BAD, message)
    if timer_id in completion.draft.run.facts.timers:
        details = f"add-timer-started-event, TimerID: {timer_id}"
        raise BadCommand(_DUPLICATE, f"invalid history builder state for action: {details}")
    timeout = None
    if attributes.HasField("start_to_fire_timeout"):
        timeout = to_duration(capped_ns(attributes.start_to_fire_timeout))
    started = TimerStartedEventAttributes(
        timer_id=timer_id,
        start_to_fire_timeout=timeout,
        workflow_task_completed_event_id=completion.completed_event_id,
    )
    completion.draft.add(started, **marks(command))


def check_timer_id(
    completion: Completion, timer_id: str, cause: WorkflowTaskFailedCause.ValueType, command_name: str
) -> None:
    """Raises BadCommand unless `timer_id` is there and within its limit."""
    if not timer_id:
        raise BadCommand(cause, f"TimerId is not set on {command_name}.")
    length, limit = len(timer_id.encode()), completion.draft.context.limits.id_bytes_max
    if length > limit:
        message = f"TimerId on {command_name} exceeds length limit. TimerId={timer_id} Length={length} Limit={limit}"
        raise BadCommand(cause, message)
