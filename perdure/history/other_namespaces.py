"""Which other namespace a completion's commands name: it is looked up before the decision, which does no IO.

The first is enough: a command across namespaces refuses the whole completion, whether its namespace exists or not.
"""

from collections.abc import Sequence

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType

_ATTRIBUTES: dict[int, str] = {
    CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: "start_child_workflow_execution_command_attributes",
    CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: (
        "signal_external_workflow_execution_command_attributes"
    ),
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: (
        "request_cancel_external_workflow_execution_command_attributes"
    ),
}


def other_namespace(commands: Sequence[Command], own: str) -> str:
    """The name of the first namespace besides `own` that a command names, "" if none does."""
    for command in commands:
        field = _ATTRIBUTES.get(command.command_type)
        if field is not None:
            name: str = getattr(command, field).namespace
            if name not in ("", own):
                return name
    return ""
