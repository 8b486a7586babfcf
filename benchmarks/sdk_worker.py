"""The official Python SDK, end to end: one-activity workflows through its client and worker.

The worker takes most of the machine, so that what the servers reach differs less than they do.
"""

import asyncio
import time
import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.calls import Calls
from benchmarks.report import Figures, figures
from benchmarks.servers import Server

_QUEUE = "bench-sdk"


@activity.defn
async def echo(text: str) -> str:
    """Give back what came."""
    return text


@workflow.defn
class OneActivity:
    """A workflow of one activity."""

    @workflow.run
    async def run(self, text: str) -> str:
        """Have the activity run."""
        return await workflow.execute_activity(echo, text, start_to_close_timeout=timedelta(seconds=60))


async def measure(server: Server, in_flight: int, seconds: float) -> Figures:
    """Workflows of an SDK worker, `in_flight` at a time."""
    (await Calls.connect(server.address)).close()
    client = await Client.connect(server.address)
    worker = Worker(
        client,
        task_queue=_QUEUE,
        workflows=[OneActivity],
        activities=[echo],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        await _run(client, in_flight, min(2.0, seconds))
        cpu, begun = server.cpu_seconds(), time.perf_counter()
        latencies = await _run(client, in_flight, seconds)
        taken = time.perf_counter() - begun
        cpu = server.cpu_seconds() - cpu
    return figures(server, str(in_flight), latencies, taken, cpu)


async def _run(client: Client, in_flight: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def execute() -> None:
        while (begun := time.perf_counter()) < end:
            await client.execute_workflow(OneActivity.run, "x" * 200, id=uuid.uuid4().hex, task_queue=_QUEUE)
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*(execute() for _ in range(in_flight)))
    return latencies
