"""A worker's messages about updates: accepted, rejected, completed.

A PROTOCOL_MESSAGE command says where among the commands its message takes effect; what no command names comes after all
of them, in order. An update that the server has lost is taken from the worker's message, if the request is in it.
Source: the reference's update state machine, whose words the errors use.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError, Message
from temporalio.api.command.v1 import Command, ProtocolMessageCommandAttributes
from temporalio.api.enums.v1 import CommandType, EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    WorkflowExecutionUpdateAcceptedEventAttributes,
    WorkflowExecutionUpdateCompletedEventAttributes,
)
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Rejection, Request, Response

from perdure.base.depth import parser
from perdure.base.errors import InvalidArgument
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, require
from perdure.workflow.deciders.admit_update import check_total
from perdure.workflow.state import AdmittedUpdate, RequestRecord, Run
from perdure.workflow.updates import ACCEPTED, COMPLETED, abort, message_id, reject, tell

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE
_PACKAGE = "temporal.api.update.v1"
_ACCEPTED_TYPE = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
_WAITING = ("Sent", "Admitted")
_RUNNING = ("ProvisionallyAccepted", "Accepted")


@commands(CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE)
def protocol_message(completion: Completion, command: Command, attributes: ProtocolMessageCommandAttributes) -> None:
    """The message that the command names takes effect now."""
    require(command, "ProtocolMessage", _BAD)
    if not attributes.message_id:
        raise BadCommand(_BAD, "MessageID is not set on ProtocolMessageCommand.")
    message = completion.take_message(attributes.message_id)
    if message is None:
        raise BadCommand(_BAD, f"ProtocolMessageCommand referenced absent message ID {attributes.message_id}")
    receive(completion, message)


def receive(completion: Completion, message: ProtocolMessage) -> None:
    """The message takes effect. Raises BadCommand; InvalidArgument where it can't even be told what it is."""
    name = _type_name(message)
    limit = completion.draft.context.limits.blob_bytes_max
    check_size(message.body.ByteSize(), limit, _BAD, f"Message type {name} exceeds size limit.")
    package = name.rpartition(".")[0]
    if package != _PACKAGE:
        raise BadCommand(_BAD, f"unsupported protocol type {package}")
    update_id = message.protocol_instance_id
    body = _body(message, name)
    state = _state(completion, update_id) or _resurrect(completion, update_id, body)
    if not state:
        raise BadCommand(
            _BAD,
            f"update {update_id} wasn't found on the server. This is most likely a transient error which will be "
            "resolved automatically by retries",
        )
    if not completion.draft.run.is_open and not isinstance(body, Rejection):
        if state != "ProvisionallyAborted":
            completion.updates[update_id] = "ProvisionallyAborted"
            abort(completion.work, completion.draft.run, update_id, continues=False)
        return
    known = _EFFECTS.get(type(body))
    if known is None:
        raise BadCommand(_BAD, f"Message type *update.{name.rpartition('.')[2]} not supported")
    allowed, effect = known
    if state not in allowed:
        raise BadCommand(
            _BAD,
            f"invalid state transition attempted for Update {update_id}: received *update.{type(body).__name__} "
            f"message while in state {state}",
        )
    effect(completion, update_id, body)


def _type_name(message: ProtocolMessage) -> str:
    if not message.HasField("body"):
        raise InvalidArgument("nil message body")
    name = message.body.type_url.rpartition("/")[2]
    if not name:
        raise InvalidArgument("no message name specified")
    if "." not in name:
        raise InvalidArgument(f'failed to extract protocol type: no . found in "{name}"')
    return name


def _body(message: ProtocolMessage, name: str) -> Message:
    """The message's body. Raises BadCommand."""
    parse = _BODIES.get(name)
    if parse is None:
        raise BadCommand(_BAD, f'unable to unmarshal request: could not resolve "{name}"')
    try:
        body: Message = parse(message.body.value)
        return body
    except DecodeError as error:
        raise BadCommand(_BAD, f"unable to unmarshal request: {error}") from error


def _state(completion: Completion, update_id: str) -> str:
    """The name of the update's state, with what this completion did to it so far; "" if it is not known."""
    provisional = completion.updates.get(update_id)
    if provisional is not None:
        return provisional
    run = completion.draft.run
    admitted = run.ephemeral.admitted_updates.get(update_id)
    if admitted is not None:
        return "Sent" if admitted.sent else "Admitted"
    update = run.facts.updates.get(update_id)
    if update is None:
        return ""
    if update.completed_event_id:
        return "Completed"
    return "Accepted" if update.accepted_event_id else "Sent"


def _resurrect(completion: Completion, update_id: str, body: Message) -> str:
    """Admit the update that the worker has and the server has not, by what the worker says of its request."""
    request = None
    if isinstance(body, Acceptance) and body.HasField("accepted_request"):
        request = body.accepted_request
    elif isinstance(body, Rejection) and body.HasField("rejected_request"):
        request = body.rejected_request
    if request is None:
        return ""
    run = completion.draft.run
    check_total(run, completion.draft.context.limits)
    update = AdmittedUpdate(update_id, request.SerializeToString(), sent=True)
    completion.draft.note("admitted_updates", update_id, update)
    return "Admitted"


def _accept(completion: Completion, update_id: str, body: Acceptance) -> None:
    _require(body.accepted_request_sequencing_event_id, body, "accepted_request_sequencing_event_id")
    _require(body.accepted_request_message_id, body, "accepted_request_message_id")
    draft = completion.draft
    attributes = WorkflowExecutionUpdateAcceptedEventAttributes(
        protocol_instance_id=update_id,
        accepted_request_message_id=message_id(update_id),
        accepted_request_sequencing_event_id=body.accepted_request_sequencing_event_id,
    )
    admitted = draft.run.ephemeral.admitted_updates.get(update_id)
    request_id = ""
    if admitted is not None:  # else it is in the event that carried it over a reset
        attributes.accepted_request.ParseFromString(admitted.request)
        request_id = attributes.accepted_request.request_id
        draft.forget("admitted_updates", update_id)
    links = [link for callback in attributes.accepted_request.completion_callbacks for link in callback.links]
    event = draft.add(attributes, links=links)
    if request_id:
        draft.put("request_ids", request_id, RequestRecord(_ACCEPTED_TYPE, event.event_id))
    completion.updates[update_id] = "ProvisionallyAccepted"
    tell(completion.work, draft.run.run_id, update_id, ACCEPTED)


def _reject(completion: Completion, update_id: str, body: Rejection) -> None:
    completion.updates[update_id] = "ProvisionallyCompleted"
    reject(completion.work, completion.draft.run, update_id, body.failure)


def _complete(completion: Completion, update_id: str, body: Response) -> None:
    _require(body.HasField("meta"), body, "meta")
    _require(body.meta.update_id, body, "meta.update_id")
    if body.meta.update_id != update_id:
        raise BadCommand(_BAD, f"invalid *update.Response: meta.update_id != {update_id}")
    _require(body.HasField("outcome"), body, "outcome")
    draft = completion.draft
    attributes = WorkflowExecutionUpdateCompletedEventAttributes(
        accepted_event_id=_accepted_event_id(draft.run, update_id), meta=body.meta, outcome=body.outcome
    )
    draft.add(attributes)
    completion.updates[update_id] = "ProvisionallyCompleted"
    tell(completion.work, draft.run.run_id, update_id, COMPLETED, outcome=body.outcome)


def _accepted_event_id(run: Run, update_id: str) -> int:
    return run.facts.updates[update_id].accepted_event_id


def _require(value: object, body: Message, name: str) -> None:
    if not value:
        raise BadCommand(_BAD, f"invalid *update.{type(body).__name__}: {name} is not set")


_EFFECTS: dict[type[Message], tuple[tuple[str, ...], Callable[[Completion, str, Any], None]]] = {
    Acceptance: (_WAITING, _accept),
    Rejection: (_WAITING, _reject),
    Response: (_RUNNING, _complete),
}
# They come as bytes within the completion, so that its own parser has not seen how deep they are.
_BODIES: dict[str, Callable[[bytes], Any]] = {
    f"{_PACKAGE}.{body.__name__}": parser(body) for body in (Acceptance, Rejection, Request, Response)
}
