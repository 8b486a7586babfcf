"""Updates of one workflow, each accepted and completed by its worker; every reply is checked to be the caller's own.

A server lets a workflow have ten at a time and two thousand in all.
"""

import asyncio
import time
import uuid

from google.protobuf.any_pb2 import Any
from temporalio.api.command.v1 import Command, ProtocolMessageCommandAttributes
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import CommandType, UpdateWorkflowExecutionLifecycleStage
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Input, Meta, Outcome, Request, Response
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from benchmarks.calls import Calls
from benchmarks.one_activity import POLL_S, POLL_WORKFLOW, start_request
from benchmarks.report import Figures, figures
from benchmarks.servers import Server

_COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def _packed(body: Acceptance | Response) -> Any:
    packed = Any()
    packed.Pack(body)
    return packed


def answer(asked: Message) -> list[Message]:
    """A worker's acceptance and completion of an update; the result is what the update was given."""
    request = Request()
    asked.body.Unpack(request)
    accepted = Acceptance(
        accepted_request_message_id=asked.id,
        accepted_request_sequencing_event_id=asked.event_id,
        accepted_request=request,
    )
    completed = Response(meta=request.meta, outcome=Outcome(success=request.input.args))
    update_id = asked.protocol_instance_id
    return [
        Message(id=f"{update_id}/accept", protocol_instance_id=update_id, body=_packed(accepted)),
        Message(id=f"{update_id}/complete", protocol_instance_id=update_id, body=_packed(completed)),
    ]


async def serve(calls: Calls) -> None:
    """A worker that accepts and completes all updates that it is sent."""
    while True:
        task = PollWorkflowTaskQueueResponse.FromString(
            await calls.call("PollWorkflowTaskQueue", POLL_WORKFLOW, POLL_S)
        )
        if not task.task_token:
            continue
        messages = [message for asked in task.messages for message in answer(asked)]
        commands = [
            Command(
                command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE,
                protocol_message_command_attributes=ProtocolMessageCommandAttributes(message_id=message.id),
            )
            for message in messages
        ]
        done = RespondWorkflowTaskCompletedRequest(
            namespace="default", identity="bench", task_token=task.task_token, commands=commands, messages=messages
        )
        await calls.call("RespondWorkflowTaskCompleted", done.SerializeToString())


async def update(calls: Calls, workflow_id: str) -> None:
    """One update, until it is completed."""
    update_id = uuid.uuid4().hex
    given = Payloads(payloads=[Payload(metadata={"encoding": b"binary/plain"}, data=update_id.encode())])
    request = UpdateWorkflowExecutionRequest(
        namespace="default",
        request=Request(meta=Meta(update_id=update_id, identity="bench"), input=Input(name="bench", args=given)),
    )
    request.workflow_execution.workflow_id = workflow_id
    request.wait_policy.lifecycle_stage = _COMPLETED
    body = await calls.call("UpdateWorkflowExecution", request.SerializeToString())
    reply = UpdateWorkflowExecutionResponse.FromString(body)
    if reply.outcome.success != given:
        raise RuntimeError(f"update {update_id} was answered with {reply}")


async def updates(calls: Calls, count: int, in_flight: int) -> tuple[list[float], float]:
    """Send `count` updates to a fresh workflow: their latencies and the time of all, in seconds."""
    workflow_id = uuid.uuid4().hex
    await calls.call("StartWorkflowExecution", start_request(workflow_id))
    latencies: list[float] = []
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            begun = time.perf_counter()
            await update(calls, workflow_id)
            latencies.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(in_flight)))
    taken = time.perf_counter() - begun
    end = TerminateWorkflowExecutionRequest(namespace="default", identity="bench")
    end.workflow_execution.workflow_id = workflow_id
    await calls.call("TerminateWorkflowExecution", end.SerializeToString())
    return latencies, taken


async def measure(server: Server, in_flight: int, count: int) -> Figures:
    """Updates of one workflow, `in_flight` at a time."""
    calls = await Calls.connect(server.address)
    workers = [asyncio.create_task(serve(calls)) for _ in range(2)]
    await updates(calls, min(100, count), in_flight)
    cpu = server.cpu_seconds()
    latencies, taken = await updates(calls, count, in_flight)
    cpu = server.cpu_seconds() - cpu
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    calls.close()
    return figures(server, str(in_flight), latencies, taken, cpu)
