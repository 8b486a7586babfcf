"""One-activity workflows over raw gRPC, `in_flight` at a time.

Each workflow is seven calls: start, workflow task, completion that schedules an activity, activity task, its
completion, workflow task, completion. The caller waits for the close with a long poll. The driver shares the machine
with the server.
"""

import asyncio
import time
import uuid

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
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from benchmarks.calls import Calls
from benchmarks.report import Figures, figures
from benchmarks.servers import Server

QUEUE = TaskQueue(name="bench")
DATA = Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"' + b"x" * 200 + b'"')])
POLL_S = 70

# What is the same in every call is encoded once: two encoded messages after one another are one message.
START = StartWorkflowExecutionRequest(
    namespace="default", workflow_type=WorkflowType(name="bench"), task_queue=QUEUE, input=DATA, identity="bench"
).SerializeToString()
CLOSE = GetWorkflowExecutionHistoryRequest(
    namespace="default",
    wait_new_event=True,
    history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
).SerializeToString()
POLL_WORKFLOW = PollWorkflowTaskQueueRequest(
    namespace="default", task_queue=QUEUE, identity="bench"
).SerializeToString()
POLL_ACTIVITY = PollActivityTaskQueueRequest(
    namespace="default", task_queue=QUEUE, identity="bench"
).SerializeToString()
ACTIVITY_DONE = RespondActivityTaskCompletedRequest(
    namespace="default", identity="bench", result=DATA
).SerializeToString()


def decided(*commands: Command) -> bytes:
    """The encoded completion of a workflow task, without its token."""
    request = RespondWorkflowTaskCompletedRequest(namespace="default", identity="bench", commands=commands)
    return request.SerializeToString()


SCHEDULE = decided(
    Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
            activity_id="1",
            activity_type=ActivityType(name="bench"),
            task_queue=QUEUE,
            input=DATA,
            start_to_close_timeout=Duration(seconds=60),
        ),
    )
)
COMPLETE = decided(
    Command(
        command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(result=DATA),
    )
)


class Load:
    """Workers that serve, and callers that execute, `in_flight` workflows at a time.

    The workers stay from the warm-up on: a server may hand a task to a poll that has just been given up.
    """

    def __init__(self, calls: Calls, in_flight: int) -> None:
        self.calls = calls
        self.in_flight = in_flight
        self.latencies: list[float] = []
        pollers = max(4, min(50, in_flight))
        self._workers = [asyncio.create_task(work()) for work in (self._decide, self._act) for _ in range(pollers)]

    async def run(self, seconds: float) -> float:
        """Execute workflows until `seconds` are over; `latencies` are theirs. Returns the seconds it took."""
        self.latencies = []
        begun = time.perf_counter()
        await asyncio.gather(*(self._execute_until(begun + seconds) for _ in range(self.in_flight)))
        return time.perf_counter() - begun

    async def stop(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _execute_until(self, end: float) -> None:
        while (begun := time.perf_counter()) < end:
            await execute(self.calls, uuid.uuid4().hex)
            self.latencies.append(time.perf_counter() - begun)

    async def _decide(self) -> None:
        while True:
            body = await self.calls.call("PollWorkflowTaskQueue", POLL_WORKFLOW, POLL_S)
            task = PollWorkflowTaskQueueResponse.FromString(body)
            if task.task_token:
                token = RespondWorkflowTaskCompletedRequest(task_token=task.task_token).SerializeToString()
                commands = COMPLETE if task.previous_started_event_id else SCHEDULE
                await self.calls.call("RespondWorkflowTaskCompleted", commands + token)

    async def _act(self) -> None:
        while True:
            body = await self.calls.call("PollActivityTaskQueue", POLL_ACTIVITY, POLL_S)
            task = PollActivityTaskQueueResponse.FromString(body)
            if task.task_token:
                token = RespondActivityTaskCompletedRequest(task_token=task.task_token).SerializeToString()
                await self.calls.call("RespondActivityTaskCompleted", ACTIVITY_DONE + token)


def start_request(workflow_id: str) -> bytes:
    """An encoded start of the benchmark's workflow."""
    own = StartWorkflowExecutionRequest(workflow_id=workflow_id, request_id=workflow_id)
    return START + own.SerializeToString()


async def execute(calls: Calls, workflow_id: str) -> None:
    """Start a workflow and wait until it is closed."""
    await calls.call("StartWorkflowExecution", start_request(workflow_id))
    request = GetWorkflowExecutionHistoryRequest()
    request.execution.workflow_id = workflow_id
    while True:
        body = await calls.call("GetWorkflowExecutionHistory", CLOSE + request.SerializeToString())
        reply = GetWorkflowExecutionHistoryResponse.FromString(body)
        if reply.history.events:
            return
        request.next_page_token = reply.next_page_token


async def measure(server: Server, in_flight: int, seconds: float) -> Figures:
    """Warm up, run, and read the kernel's figures."""
    calls = await Calls.connect(server.address)
    load = Load(calls, in_flight)
    await load.run(min(2.0, seconds))
    cpu = server.cpu_seconds()
    taken = await load.run(seconds)
    cpu = server.cpu_seconds() - cpu
    await load.stop()
    calls.close()
    return figures(server, str(in_flight), load.latencies, taken, cpu)
