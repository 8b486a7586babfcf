"""Updates: the calls that a client makes, and the messages and commands that a worker answers them with."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.enums.v1 import command_type_pb2 as kinds
from temporalio.api.enums.v1 import update_pb2 as stages
from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.update.v1 import message_pb2 as update
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.payloads import failure, payloads
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session

ADMITTED = stages.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED = stages.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = stages.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def request_of(update_id: str = "u", **fields: Any) -> update.Request:
    """An update by its id; empty leaves it to the server."""
    plain: dict[str, Any] = {
        "meta": update.Meta(update_id=update_id, identity=CLIENT),
        "input": update.Input(name="change", args=payloads(f"arg of {update_id}")),
    }
    return update.Request(**{**plain, **fields})


def update_request(
    s: Session, update_id: str = "u", workflow: str = "wf", stage: int = COMPLETED, run_id: str = "", **fields: Any
) -> ws.UpdateWorkflowExecutionRequest:
    """An update of a workflow that waits for a stage."""
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_execution": s.execution(workflow, run_id),
        "wait_policy": update.WaitPolicy(lifecycle_stage=stage),  # type: ignore[arg-type]  # an enum's number
        "request": request_of(update_id),
    }
    return ws.UpdateWorkflowExecutionRequest(**{**plain, **fields})


def poll_request(
    s: Session, update_id: str = "u", workflow: str = "wf", stage: int = COMPLETED, run_id: str = "", **fields: Any
) -> ws.PollWorkflowExecutionUpdateRequest:
    """A poll of an update that waits for a stage; 0 asks for what there is."""
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "update_ref": update.UpdateRef(workflow_execution=s.execution(workflow, run_id), update_id=update_id),
        "identity": CLIENT,
    }
    if stage:
        plain["wait_policy"] = update.WaitPolicy(lifecycle_stage=stage)  # type: ignore[arg-type]  # an enum's number
    return ws.PollWorkflowExecutionUpdateRequest(**{**plain, **fields})


def update_with_start(
    s: Session, update_id: str = "u", workflow: str = "wf", stage: int = COMPLETED, **start: Any
) -> ws.ExecuteMultiOperationRequest:
    """A start and an update of one workflow; keyword arguments are the start's."""
    return both(s.start_request(workflow, **start), update_request(s, update_id, workflow, stage))


def both(
    start: ws.StartWorkflowExecutionRequest, asked: ws.UpdateWorkflowExecutionRequest
) -> ws.ExecuteMultiOperationRequest:
    """An update-with-start of these two."""
    operation = ws.ExecuteMultiOperationRequest.Operation
    return ws.ExecuteMultiOperationRequest(
        namespace=NAMESPACE, operations=[operation(start_workflow=start), operation(update_workflow=asked)]
    )


def _message(asked: protocol.Message, kind: str, body: Message) -> protocol.Message:
    packed = AnyMessage()
    packed.Pack(body)
    update_id = asked.protocol_instance_id
    return protocol.Message(id=f"{update_id}/{kind}", protocol_instance_id=update_id, body=packed)


def accept(asked: protocol.Message) -> protocol.Message:
    """The workflow takes the update that a task's message asks for."""
    given = update.Request()
    asked.body.Unpack(given)
    body = update.Acceptance(
        accepted_request_message_id=asked.id,
        accepted_request_sequencing_event_id=asked.event_id,
        accepted_request=given,
    )
    return _message(asked, "accept", body)


def reject(asked: protocol.Message, message: str = "no") -> protocol.Message:
    """The workflow refuses the update that a task's message asks for."""
    given = update.Request()
    asked.body.Unpack(given)
    body = update.Rejection(
        rejected_request_message_id=asked.id,
        rejected_request_sequencing_event_id=asked.event_id,
        rejected_request=given,
        failure=failure(message),
    )
    return _message(asked, "reject", body)


def respond(asked: protocol.Message, result: str = "result") -> protocol.Message:
    """The outcome of an update that was accepted, now or before."""
    body = update.Response(
        meta=update.Meta(update_id=asked.protocol_instance_id, identity=CLIENT),
        outcome=update.Outcome(success=payloads(result)),
    )
    return _message(asked, "respond", body)


def respond_failed(asked: protocol.Message, message: str = "failed") -> protocol.Message:
    """The failure of an update that was accepted, now or before."""
    body = update.Response(
        meta=update.Meta(update_id=asked.protocol_instance_id, identity=CLIENT),
        outcome=update.Outcome(failure=failure(message)),
    )
    return _message(asked, "respond", body)


def carry(message: protocol.Message) -> command.Command:
    """The command that says where among the others a message takes effect."""
    return command.Command(
        command_type=kinds.COMMAND_TYPE_PROTOCOL_MESSAGE,
        protocol_message_command_attributes=command.ProtocolMessageCommandAttributes(message_id=message.id),
    )


async def answer(
    s: Session, task: ws.PollWorkflowTaskQueueResponse, *messages: protocol.Message, commands: Any = ()
) -> None:
    """Complete a task with these messages, each with its command, and the other commands after them; unrecorded."""
    carried = [carry(message) for message in messages if not message.id.endswith("/reject")]
    await s.quiet(s.completion(task, *carried, *commands, messages=messages))


async def take_update(s: Session, **fields: Any) -> tuple[ws.PollWorkflowTaskQueueResponse, protocol.Message]:
    """The next workflow task, unrecorded, and the one update that it carries."""
    task = await s.take(**fields)
    (message,) = task.messages
    return task, message
