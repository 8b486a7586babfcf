"""Signals to one workflow whose worker is away, so that each is an event of its history."""

import asyncio
import time
import uuid

from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

from benchmarks.calls import Calls
from benchmarks.one_activity import DATA, start_request
from benchmarks.report import Figures, figures
from benchmarks.servers import Server

SIGNAL = SignalWorkflowExecutionRequest(
    namespace="default", signal_name="bench", input=DATA, identity="bench"
).SerializeToString()


async def send_signal(calls: Calls, workflow_id: str) -> None:
    """One signal."""
    request = SignalWorkflowExecutionRequest(request_id=uuid.uuid4().hex)
    request.workflow_execution.workflow_id = workflow_id
    await calls.call("SignalWorkflowExecution", SIGNAL + request.SerializeToString())


async def signals(calls: Calls, count: int, in_flight: int) -> tuple[list[float], float]:
    """Send `count` signals to a fresh workflow: their latencies and the time of all, in seconds."""
    workflow_id = uuid.uuid4().hex
    await calls.call("StartWorkflowExecution", start_request(workflow_id))
    latencies: list[float] = []
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            begun = time.perf_counter()
            await send_signal(calls, workflow_id)
            latencies.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(in_flight)))
    return latencies, time.perf_counter() - begun


async def measure(server: Server, in_flight: int, count: int) -> Figures:
    """Signals to one workflow, `in_flight` at a time."""
    calls = await Calls.connect(server.address)
    await signals(calls, min(200, count), in_flight)
    cpu = server.cpu_seconds()
    latencies, taken = await signals(calls, count, in_flight)
    cpu = server.cpu_seconds() - cpu
    calls.close()
    return figures(server, str(in_flight), latencies, taken, cpu)
