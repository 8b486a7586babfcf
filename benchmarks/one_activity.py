"""One-activity workflows over raw gRPC: `python -m benchmarks.one_activity [--in-flight 1 10 50] [--seconds 10]`.

Each workflow is seven calls: start, workflow task, completion that schedules an activity, activity task, its
completion, workflow task, completion. The driver shares the machine with the server.
"""

import argparse
import asyncio
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.enums.v1 import CommandType, HistoryEventFilterType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetSystemInfoRequest,
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.api.workflowservice.v1.service_pb2_grpc import WorkflowServiceStub

from benchmarks.servers import Server, running

QUEUE = TaskQueue(name="bench")
DATA = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"x" * 200 + b'"')])


@dataclass(frozen=True)
class Figures:
    """One row of the table. Times in ms; CPU is the server's, per workflow."""

    server: str
    in_flight: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float


class Load:
    """`in_flight` workflows at a time until `seconds` are over, with workers that serve them."""

    def __init__(self, stub: Any, in_flight: int, seconds: float) -> None:
        self.stub = stub
        self.in_flight = in_flight
        self.seconds = seconds
        self.latencies: list[float] = []

    async def run(self) -> float:
        """Run; returns the seconds it took."""
        pollers = max(4, min(50, self.in_flight))
        workers = [asyncio.create_task(self._decide()) for _ in range(pollers)]
        workers += [asyncio.create_task(self._act()) for _ in range(pollers)]
        begun = time.perf_counter()
        await asyncio.gather(*(self._start_until(begun + self.seconds) for _ in range(self.in_flight)))
        taken = time.perf_counter() - begun
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return taken

    async def _start_until(self, end: float) -> None:
        while time.perf_counter() < end:
            begun = time.perf_counter()
            workflow_id = uuid.uuid4().hex
            await self.stub.StartWorkflowExecution(
                StartWorkflowExecutionRequest(
                    namespace="default",
                    workflow_id=workflow_id,
                    workflow_type=WorkflowType(name="bench"),
                    task_queue=QUEUE,
                    input=DATA,
                    request_id=workflow_id,
                    identity="bench",
                )
            )
            request = GetWorkflowExecutionHistoryRequest(
                namespace="default",
                wait_new_event=True,
                history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
            )
            request.execution.workflow_id = workflow_id
            while not (reply := await self.stub.GetWorkflowExecutionHistory(request)).history.events:
                request.next_page_token = reply.next_page_token
            self.latencies.append(time.perf_counter() - begun)

    async def _decide(self) -> None:
        poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE, identity="bench")
        while True:
            task = await self.stub.PollWorkflowTaskQueue(poll, timeout=70)
            if task.task_token:
                await self.stub.RespondWorkflowTaskCompleted(
                    RespondWorkflowTaskCompletedRequest(
                        namespace="default", task_token=task.task_token, identity="bench", commands=[_command(task)]
                    )
                )

    async def _act(self) -> None:
        poll = PollActivityTaskQueueRequest(namespace="default", task_queue=QUEUE, identity="bench")
        while True:
            task = await self.stub.PollActivityTaskQueue(poll, timeout=70)
            if task.task_token:
                await self.stub.RespondActivityTaskCompleted(
                    RespondActivityTaskCompletedRequest(
                        namespace="default", task_token=task.task_token, identity="bench", result=DATA
                    )
                )


def _command(task: PollWorkflowTaskQueueResponse) -> Command:
    if task.previous_started_event_id:
        return Command(
            command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
            complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(result=DATA),
        )
    return Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
            activity_id="1",
            activity_type=ActivityType(name="bench"),
            task_queue=QUEUE,
            input=DATA,
            start_to_close_timeout=Duration(seconds=60),
        ),
    )


async def measure(server: Server, in_flight: int, seconds: float) -> Figures:
    """Warm up, run, and read the kernel's figures."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = WorkflowServiceStub(channel)  # type: ignore[arg-type]  # the stub is typed for blocking channels
        await stub.GetSystemInfo(GetSystemInfoRequest(), wait_for_ready=True, timeout=60)
        await Load(stub, in_flight, 1.0).run()
        load = Load(stub, in_flight, seconds)
        cpu = server.cpu_seconds()
        taken = await load.run()
        cpu = server.cpu_seconds() - cpu
    done = sorted(load.latencies)
    return Figures(
        server.name,
        in_flight,
        len(done) / taken,
        done[len(done) // 2] * 1e3,
        done[len(done) * 99 // 100] * 1e3,
        cpu / len(done) * 1e3,
        server.rss_mb(),
    )


def table(rows: list[Figures]) -> str:
    """The rows as a table for people."""
    lines = [
        "| server | in flight | workflows/s | p50 ms | p99 ms | server CPU ms each | RSS MB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.server} | {r.in_flight} | {r.per_second:.0f} | {r.p50_ms:.1f} | {r.p99_ms:.1f} "
        f"| {r.cpu_ms:.2f} | {r.rss_mb:.0f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--servers",
        nargs="+",
        default=["reference, in memory", "perdure, in memory", "perdure, file with fsync"],
    )
    arguments = parser.parse_args()
    rows = []
    for in_flight in arguments.in_flight:
        for name in arguments.servers:
            with running(name) as server:
                rows.append(asyncio.run(measure(server, in_flight, arguments.seconds)))
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
