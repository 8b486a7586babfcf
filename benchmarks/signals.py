"""Signals to one workflow whose worker is away, so that each is an event of its history: all of them, each sender's in
the order of its sending.
"""

import asyncio
import time
import uuid

from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    SignalWorkflowExecutionRequest,
)

from benchmarks.calls import Calls
from benchmarks.one_activity import DATA, start_request
from benchmarks.report import Figures, figures
from benchmarks.servers import Server

SIGNAL = SignalWorkflowExecutionRequest(
    namespace="default", signal_name="bench", input=DATA, identity="bench"
).SerializeToString()


async def send_signal(calls: Calls, workflow_id: str, identity: str = "bench") -> None:
    """One signal."""
    request = SignalWorkflowExecutionRequest(request_id=uuid.uuid4().hex, identity=identity)
    request.workflow_execution.workflow_id = workflow_id
    await calls.call("SignalWorkflowExecution", SIGNAL + request.SerializeToString())


async def signals(calls: Calls, count: int, in_flight: int) -> tuple[list[float], float]:
    """Send `count` signals to a fresh workflow: their latencies and the time of all, in seconds. Raises RuntimeError if
    one is missing or out of order.
    """
    workflow_id = uuid.uuid4().hex
    await calls.call("StartWorkflowExecution", start_request(workflow_id))
    latencies: list[float] = []
    left = iter(range(count))

    async def send(sender: int) -> int:
        sent = 0
        for _ in left:
            begun = time.perf_counter()
            await send_signal(calls, workflow_id, f"{sender}/{sent}")
            latencies.append(time.perf_counter() - begun)
            sent += 1
        return sent

    begun = time.perf_counter()
    sent = await asyncio.gather(*map(send, range(in_flight)))
    taken = time.perf_counter() - begun
    await _check(calls, workflow_id, sent)
    return latencies, taken


async def _check(calls: Calls, workflow_id: str, sent: list[int]) -> None:
    seen = [0] * len(sent)
    request = GetWorkflowExecutionHistoryRequest(namespace="default")
    request.execution.workflow_id = workflow_id
    while True:
        body = await calls.call("GetWorkflowExecutionHistory", request.SerializeToString())
        reply = GetWorkflowExecutionHistoryResponse.FromString(body)
        for event in reply.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                sender, number = map(int, event.workflow_execution_signaled_event_attributes.identity.split("/"))
                if number != seen[sender]:
                    raise RuntimeError(f"sender {sender}'s signal {number} where {seen[sender]} is next")
                seen[sender] += 1
        request.next_page_token = reply.next_page_token
        if not request.next_page_token:
            break
    if seen != sent:
        raise RuntimeError(f"{sum(seen)} signals of {sum(sent)} are in history")


async def measure(server: Server, in_flight: int, count: int) -> Figures:
    """Signals to one workflow, `in_flight` at a time."""
    calls = await Calls.connect(server.address)
    await signals(calls, min(200, count), in_flight)
    cpu = server.cpu_seconds()
    latencies, taken = await signals(calls, count, in_flight)
    cpu = server.cpu_seconds() - cpu
    calls.close()
    return figures(server, str(in_flight), latencies, taken, cpu)
