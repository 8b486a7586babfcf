"""The commands of a workflow task's completion: one file each, registered by type.

A handler sees the state that the commands before it made. `BadCommand` discards everything of the completion: the
workflow task fails with its cause instead.
"""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.protocol.v1 import Message

from perdure.workflow.decide import Work
from perdure.workflow.draft import Draft


class BadCommand(Exception):  # it is the API's word for the thing, not an error of ours
    """A command that can't be carried out: the workflow task fails with `cause`, and the worker reads `message`.

    `terminate`: no other attempt can do better (a payload over its limit), so the run is terminated too.
    """

    def __init__(self, cause: WorkflowTaskFailedCause.ValueType, message: str = "", *, terminate: bool = False) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.terminate = terminate


class Completion:
    """A completion at work. `completed_event_id`: of the WorkflowTaskCompleted event that carries the commands.

    `unhandled`: events are buffered that this completion's worker has not seen, so the workflow may not close; whoever
    cancels a timer whose event was among them sets it anew. `eager_activities`: scheduled event ids that the worker
    asked to start. A handler that makes an event which the worker must see calls `workflow_task.wake`, as everywhere.
    `work`: for a handler that begins another run of the chain. `children`: workflow ids of those that it starts.
    `messages`: the worker's, None once they took effect; `updates`: the states that they brought updates to, by id.
    `memo_bytes`: the size of the run's memo, once a command has changed it.
    `completed_event_id` is 0 where nothing is written (a speculative task whose updates are all rejected).
    """

    __slots__ = (
        "_places",
        "children",
        "completed_event_id",
        "draft",
        "eager_activities",
        "identity",
        "memo_bytes",
        "messages",
        "unhandled",
        "updates",
        "work",
    )

    def __init__(
        self, work: Work, draft: Draft, completed_event_id: int, identity: str, messages: Sequence[Message] = ()
    ) -> None:
        self.work = work
        self.draft = draft
        self.completed_event_id = completed_event_id
        self.identity = identity
        self.unhandled = bool(draft.run.durable.buffered)
        self.eager_activities: list[int] = []
        self.memo_bytes: int | None = None
        self.children: set[str] = set()
        self.messages: list[Message | None] = list(messages)
        self.updates: dict[str, str] = {}
        self._places: dict[str, int] = {}  # in `messages`, of the first one of an id
        for place, message in enumerate(messages):
            self._places.setdefault(message.id, place)

    def take_message(self, message_id: str) -> Message | None:
        """The worker's message of this id, once; of two with one id the second can't be named."""
        place = self._places.get(message_id)
        if place is None:
            return None
        message, self.messages[place] = self.messages[place], None
        return message


def marks(command: Command) -> dict[str, Any]:
    """What every event of a command takes over from it, as `Draft.add`'s fields: user metadata and group markers."""
    fields: dict[str, Any] = {}
    if command.HasField("user_metadata"):
        fields["user_metadata"] = command.user_metadata
    if command.event_group_markers:
        fields["event_group_markers"] = command.event_group_markers
    return fields


Handler = Callable[[Completion, Command, Any], None]
HANDLERS: dict[int, tuple[str, Handler]] = {}


def commands(command_type: CommandType.ValueType) -> Callable[[Handler], Handler]:
    """Registers the handler `(completion, command, attributes)` of a command type."""
    name = CommandType.Name(command_type).removeprefix("COMMAND_TYPE_").lower() + "_command_attributes"

    def register(handler: Handler) -> Handler:
        HANDLERS[command_type] = (name, handler)
        return handler

    return register


def require(command: Command, name: str, cause: WorkflowTaskFailedCause.ValueType) -> None:
    """Raises BadCommand if the command carries no attributes, or those of another type."""
    field, _ = HANDLERS[command.command_type]
    if command.WhichOneof("attributes") != field:
        raise BadCommand(cause, f"{name}CommandAttributes is not set on {name}Command.")


def check_size(size: int, limit: int, cause: WorkflowTaskFailedCause.ValueType, message: str) -> None:
    """Raises BadCommand that ends the workflow if `size` is over `limit` (bytes)."""
    if size > limit:
        raise BadCommand(cause, message, terminate=True)
