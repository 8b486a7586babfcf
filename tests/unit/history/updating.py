"""Short words for updates: what a client asks for, and what a worker answers."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message as AnyProto
from temporalio.api.command.v1 import Command, ProtocolMessageCommandAttributes
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, WorkflowIdConflictPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.protocol.v1 import Message
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import (
    Acceptance,
    Input,
    Meta,
    Outcome,
    Rejection,
    Request,
    Response,
    UpdateRef,
    WaitPolicy,
)
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import PerdureError
from perdure.cluster.roles import Call
from perdure.history.updates import Updates
from perdure.workflow.requests import CompleteWorkflowTask, Terminate
from perdure.workflow.tokens import decode_token
from perdure.workflow.update_requests import StartWithUpdate
from perdure.workflow.updates import COMPLETED
from tests.unit.history.house import House, key_of

T = TypeVar("T")
USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING


def asked(workflow_id: str, update_id: str, stage: int = COMPLETED, run_id: str = "") -> UpdateWorkflowExecutionRequest:
    """A request for an update."""
    return UpdateWorkflowExecutionRequest(
        namespace="default",
        workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        wait_policy=WaitPolicy(lifecycle_stage=stage),  # type: ignore[arg-type]  # an enum's number
        request=Request(meta=Meta(update_id=update_id), input=Input(name="change")),
    )


async def update(
    house: House, update_id: str, stage: int = COMPLETED, *, run_id: str = "", seconds: float = 0
) -> UpdateWorkflowExecutionResponse:
    """Update `w`; `seconds`: the caller's time."""
    call = Call(timeout_ns=int(seconds * SECOND_NS))
    return await house.roles.history.update(key_of("w"), asked("w", update_id, stage, run_id), call)


async def poll(house: House, update_id: str, stage: int = COMPLETED) -> PollWorkflowExecutionUpdateResponse:
    """Poll for an update of `w`."""
    ref = UpdateRef(workflow_execution=WorkflowExecution(workflow_id="w"), update_id=update_id)
    request = PollWorkflowExecutionUpdateRequest(
        update_ref=ref,
        wait_policy=WaitPolicy(lifecycle_stage=stage),  # type: ignore[arg-type]  # an enum's number
    )
    return await house.roles.history.poll_update(key_of("w"), request, Call())


async def start_with_update(
    house: House, update_id: str, request_id: str = "start", policy: int = USE_EXISTING
) -> ExecuteMultiOperationResponse:
    """Start `w`, or use it, with an update."""
    start = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id="w",
        request_id=request_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name="q"),
        workflow_id_conflict_policy=policy,  # type: ignore[arg-type]  # an enum's number
    )
    return await house.roles.history.start_with_update(
        key_of("w"), StartWithUpdate(start, asked("w", update_id)), Call()
    )


def _message(request: Message, kind: str, body: AnyProto) -> Message:
    packed = AnyMessage()
    packed.Pack(body)
    update_id = request.protocol_instance_id
    return Message(id=f"{update_id}/{kind}", protocol_instance_id=update_id, body=packed)


def accept(request: Message) -> Message:
    """The workflow takes it."""
    given = Request()
    request.body.Unpack(given)
    return _message(
        request,
        "accept",
        Acceptance(
            accepted_request_message_id=request.id,
            accepted_request_sequencing_event_id=request.event_id,
            accepted_request=given,
        ),
    )


def reject(request: Message) -> Message:
    """The workflow refuses it."""
    given = Request()
    request.body.Unpack(given)
    body = Rejection(
        rejected_request_message_id=request.id,
        rejected_request_sequencing_event_id=request.event_id,
        rejected_request=given,
        failure=Failure(message="no"),
    )
    return _message(request, "reject", body)


def respond(request: Message, result: bytes = b"done") -> Message:
    """The workflow has done it."""
    outcome = Outcome(success=Payloads(payloads=[Payload(data=result)]))
    return _message(request, "respond", Response(meta=Meta(update_id=request.protocol_instance_id), outcome=outcome))


async def answer(
    house: House, task: PollWorkflowTaskQueueResponse, *messages: Message, then: Command | None = None
) -> None:
    """Complete a task with messages, then with a command."""
    commands = [
        Command(
            command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE,
            protocol_message_command_attributes=ProtocolMessageCommandAttributes(message_id=message.id),
        )
        for message in messages
        if not message.id.endswith("/reject")
    ]
    request = RespondWorkflowTaskCompletedRequest(
        commands=[*commands, then] if then is not None else commands, messages=messages
    )
    decided = CompleteWorkflowTask(decode_token(task.task_token), request)
    await house.roles.history.complete_workflow_task(key_of("w"), decided, Call())


def continue_as_new() -> Command:
    """A command that goes on as another run."""
    command = Command(command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
    command.continue_as_new_workflow_execution_command_attributes.SetInParent()
    return command


async def terminate(house: House) -> None:
    """`w` is ended from outside."""
    request = TerminateWorkflowExecutionRequest(workflow_execution=WorkflowExecution(workflow_id="w"))
    await house.roles.history.transact(key_of("w"), Terminate(request), Call())


async def idle(house: House) -> None:
    """`w` waits for nothing in particular."""
    await house.start("w")
    await house.complete(await house.poll())


def result_of(outcome: Outcome) -> str:
    """What an update came to, in a word."""
    return outcome.success.payloads[0].data.decode() if outcome.HasField("success") else outcome.failure.message


async def fate(call: Awaitable[T]) -> T | str:
    """A call's answer, or the text of its error."""
    try:
        return await call
    except PerdureError as error:
        return f"{type(error).__name__}: {error.message}"


def waiters(house: House) -> int:
    """How many wait for updates."""
    updates: Updates = house.roles.history._updates
    return len(updates)


async def soon(seconds: float = 0.1) -> None:
    """Virtual time goes on, far enough for what was begun to arrive."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done
