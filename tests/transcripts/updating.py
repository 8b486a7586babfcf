"""What tests of updates send: a client's requests, and a worker's messages about them."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message as Body
from temporalio.api.command.v1 import Command, ProtocolMessageCommandAttributes
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Input, Meta, Outcome, Rejection, Request, Response
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

from perdure.workflow.decide import Decision, UpdateMoved
from perdure.workflow.requests import WorkflowTaskStarted
from perdure.workflow.update_requests import AdmitUpdate
from tests.transcripts.stage import Stage

RESULT = Payloads(payloads=[Payload(data=b'"result"')])


def asked(update_id: str = "u", *, request_id: str = "") -> Request:
    """The client's request for an update `change`."""
    return Request(meta=Meta(update_id=update_id, identity="client"), input=Input(name="change"), request_id=request_id)


def update(update_id: str = "u", *, run_id: str = "", request: Request | None = None, **fields: Any) -> AdmitUpdate:
    """A client's update of the workflow."""
    return AdmitUpdate(
        UpdateWorkflowExecutionRequest(
            workflow_execution=WorkflowExecution(workflow_id="wf", run_id=run_id),
            request=request if request is not None else asked(update_id),
            **fields,
        )
    )


def message(body: Body, update_id: str = "u", *, message_id: str = "") -> Message:
    """A worker's message about the update."""
    packed = AnyMessage()
    packed.Pack(body)
    return Message(
        id=message_id or f"{update_id}/{type(body).__name__.lower()}", protocol_instance_id=update_id, body=packed
    )


def accepted(update_id: str = "u", **fields: Any) -> Message:
    """The workflow takes the update."""
    given = {"accepted_request_message_id": f"{update_id}/request", "accepted_request_sequencing_event_id": 3, **fields}
    return message(Acceptance(**given), update_id)


def rejected(update_id: str = "u", **fields: Any) -> Message:
    """The workflow does not want the update."""
    return message(Rejection(failure=refusal(), **fields), update_id)


def completed(update_id: str = "u", *, outcome: Outcome | None = None) -> Message:
    """The update has its outcome."""
    body = Response(meta=Meta(update_id=update_id), outcome=outcome if outcome is not None else Outcome(success=RESULT))
    return message(body, update_id)


def refusal() -> Failure:
    """Why the workflow rejects."""
    return Failure(message="not now", application_failure_info=ApplicationFailureInfo(type="Refused"))


def command_for(named: Message) -> Command:
    """The command that puts a message in its place."""
    return Command(
        command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE,
        protocol_message_command_attributes=ProtocolMessageCommandAttributes(message_id=named.id),
    )


def answer(stage: Stage, *messages: Message, commands: tuple[Command, ...] = (), **fields: Any) -> Decision:
    """Complete the workflow task that was handed out last as SDKs do: a command for all messages but rejections."""
    named = [command_for(each) for each in messages if not each.body.Is(Rejection.DESCRIPTOR)]
    return stage.complete(*named, *commands, messages=messages, **fields)


def carried(started: WorkflowTaskStarted) -> list[str]:
    """The ids of the updates that a started task carries."""
    return [Message.FromString(each).protocol_instance_id for each in started.messages]


def heard(stage: Stage) -> list[UpdateMoved]:
    """What was told of updates since the last call."""
    moved = [notice for notice in stage.notices if isinstance(notice, UpdateMoved)]
    stage.notices = [notice for notice in stage.notices if not isinstance(notice, UpdateMoved)]
    return moved
