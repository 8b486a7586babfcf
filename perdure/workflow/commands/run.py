"""The loop over a completion's commands.

Refused before anything happens: types that the API does not have, and commands after one that closes the run. Types
that the API has and this server does not yet fail the workflow task and say so.
"""

from collections.abc import Sequence

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.errors import InvalidArgument
from perdure.workflow.commands import HANDLERS, BadCommand, Completion
from perdure.workflow.commands.protocol_message import receive

_CLOSING = frozenset(
    {
        CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
    }
)
_DISABLED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FEATURE_DISABLED


def check_sequence(commands: Sequence[Command]) -> None:
    """Raises InvalidArgument for an unknown type, or a command after the one that closes the run."""
    last = len(commands) - 1
    for position, command in enumerate(commands):
        if command.command_type in _CLOSING:
            if position < last:
                names = ", ".join(_name(each.command_type) for each in commands)
                closing = _name(command.command_type)
                raise InvalidArgument(
                    f"invalid command sequence: [{names}], command {closing} must be the last command."
                )
        elif not command.command_type or command.command_type not in CommandType.values():
            raise InvalidArgument(f"unknown command type: {_name(command.command_type)}")


def run_commands(completion: Completion, answer: RespondWorkflowTaskCompletedRequest) -> None:
    """Carry out the commands in order, and what the worker's messages say. Raises BadCommand at the first that can't
    be.
    """
    for command in answer.commands:
        known = HANDLERS.get(command.command_type)
        if known is None:
            raise BadCommand(_DISABLED, f"command {_name(command.command_type)} is not supported yet")
        field, handler = known
        handler(completion, command, getattr(command, field))
    for message in completion.messages:
        if message is not None:
            receive(completion, message)


def _name(command_type: int) -> str:
    """A command type as the reference spells it: `StartTimer`; a number that it does not know stays one."""
    if command_type not in CommandType.values():
        return str(command_type)
    words = CommandType.Name(command_type).removeprefix("COMMAND_TYPE_").split("_")  # type: ignore[arg-type]  # any int
    return "".join(word.capitalize() for word in words)
