"""What a program makes of updates: rejected, done at once, or done with the next workflow task, as their ids say.

Invariant: the same update fares the same however often it is asked for; what it comes to names the task that did it, so
that an update which is done twice shows.
"""

from collections.abc import Iterable

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message as AnyProto
from temporalio.api.command.v1 import Command, ProtocolMessageCommandAttributes
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Meta, Outcome, Rejection, Request, Response

from perdure.testing.programs.facts import Facts
from perdure.testing.programs.steps import payloads

REJECTED = "the program does not want it"
_REJECTS, _IS_SLOW = 64, 160


def answers(asked: Iterable[Message], facts: Facts, started_event_id: int) -> list[Message]:
    """What the program says of the updates that a task brings, and of those that it accepted before."""
    found = [_response(update_id, started_event_id) for update_id in facts.updates if update_id not in facts.updated]
    for request in asked:
        update_id = request.protocol_instance_id
        if update_id in facts.updates:
            continue
        given = Request()
        request.body.Unpack(given)
        chance = int(update_id[:2], 16)
        if chance < _REJECTS:
            found.append(_rejection(request, given))
            continue
        acceptance = Acceptance(
            accepted_request_message_id=request.id,
            accepted_request_sequencing_event_id=request.event_id,
            accepted_request=given,
        )
        found.append(_message(update_id, "accept", acceptance))
        if chance < _IS_SLOW:
            found.append(_response(update_id, started_event_id))
    return found


def carrying(messages: Iterable[Message]) -> list[Command]:
    """The commands that say where among the others these messages take effect; a rejection has none."""
    return [
        Command(
            command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE,
            protocol_message_command_attributes=ProtocolMessageCommandAttributes(message_id=message.id),
        )
        for message in messages
        if not message.id.endswith("/reject")
    ]


def _rejection(request: Message, given: Request) -> Message:
    rejection = Rejection(
        rejected_request_message_id=request.id,
        rejected_request_sequencing_event_id=request.event_id,
        rejected_request=given,
        failure=Failure(message=REJECTED, application_failure_info=ApplicationFailureInfo(type="Planned")),
    )
    return _message(request.protocol_instance_id, "reject", rejection)


def _response(update_id: str, started_event_id: int) -> Message:
    outcome = Outcome(success=payloads(f'"{update_id} at {started_event_id}"'.encode()))
    return _message(update_id, "respond", Response(meta=Meta(update_id=update_id), outcome=outcome))


def _message(update_id: str, kind: str, body: AnyProto) -> Message:
    packed = AnyMessage()
    packed.Pack(body)
    return Message(id=f"{update_id}/{kind}", protocol_instance_id=update_id, body=packed)
