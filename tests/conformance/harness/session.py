"""What a scenario works with: calls that are recorded, calls that aren't, and the verbs of a client and of a worker.

A verb sends one request with the plainest fields and records it with its reply; keyword arguments set or replace fields
of the request. Names of workflows and queues get the run's nonce, which the transcript cuts out again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.message import Message
from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import failed_cause_pb2 as failed_cause
from temporalio.api.enums.v1 import task_queue_pb2 as queue_kind
from temporalio.api.enums.v1 import workflow_pb2 as filters
from temporalio.api.failure.v1 import message_pb2 as failures
from temporalio.api.history.v1 import message_pb2 as history
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.payloads import failure, payloads
from tests.conformance.harness.rpc import CALL_SECONDS, CallFailed, Client
from tests.conformance.harness.transcript import Transcript

NAMESPACE = "default"
CLIENT = "client"
WORKER = "worker"
ROUND_TRIPS = 20

Pending = asyncio.Task[Message | CallFailed]


class Recorder:
    """Calls to one server and the transcript of them."""

    def __init__(self, client: Client, transcript: Transcript, nonce: str) -> None:
        self.client = client
        self.transcript = transcript
        self.nonce = nonce
        self._pending: list[Pending] = []

    def unique(self, name: str) -> str:
        """A name that no other run of a scenario uses; shown as `name`."""
        return f"{name}-{self.nonce}"

    def note(self, text: str) -> None:
        """Write a heading into the transcript."""
        self.transcript.note(text)

    async def quiet(self, request: Message, seconds: float = CALL_SECONDS) -> Any:
        """Send a request that the transcript does not show; CallFailed on any error."""
        return await self.client.call(request, seconds)

    async def call(
        self, request: Message, seconds: float = CALL_SECONDS, metadata: dict[str, str] | None = None
    ) -> Any:
        """Send a request, record it and its reply. An error is recorded too, and ends the scenario."""
        self.transcript.request(request)
        try:
            reply: Message = await self.client.call(request, seconds, metadata)
        except CallFailed as failed:
            self.transcript.failure(failed)
            raise
        self.transcript.message(reply)
        return reply

    async def attempt(self, request: Message, seconds: float = CALL_SECONDS) -> Any:
        """As call, for a request that may fail: the scenario goes on, with None for an error."""
        try:
            return await self.call(request, seconds)
        except CallFailed:
            return None

    async def attempt_bytes(self, path: str, body: bytes) -> None:
        """Send bytes as a request and record the error, or that there was none."""
        self.transcript.lines += ["", f"> {path} {self.transcript.names.clean(repr(body))}"]
        try:
            await self.client.call_bytes(path, body)
        except CallFailed as failed:
            self.transcript.failure(failed)
        else:
            self.transcript.lines.append("  ok")

    def begin(self, request: Message, seconds: float = CALL_SECONDS) -> Pending:
        """Send a request without waiting for its reply; `finish` records both, so the transcript keeps the order."""

        async def outcome() -> Message | CallFailed:
            try:
                reply: Message = await self.client.call(request, seconds)
            except CallFailed as failed:
                return failed
            return reply

        task = asyncio.get_running_loop().create_task(outcome())
        self._pending.append(task)
        return task

    async def finish(self, pending: Pending, what: str) -> Any:
        """Wait for a call that was begun, and record its outcome under `what`; None for an error."""
        self.transcript.lines += ["", f"< {what}"]
        outcome = await pending
        if isinstance(outcome, CallFailed):
            self.transcript.failure(outcome)
            return None
        self.transcript.message(outcome)
        return outcome

    async def settle(self) -> None:
        """A few round trips on the same connection: what was begun before has arrived at the server after them.

        For calls whose arrival nothing shows, a waiting poll or a buffered query.
        """
        for _ in range(ROUND_TRIPS):
            await self.quiet(ws.GetSystemInfoRequest())

    def show(self, what: str, message: Message) -> None:
        """Record a message, or a part of one, that came by an unrecorded call."""
        self.transcript.lines += ["", f"= {what}"]
        self.transcript.message(message)

    async def end(self) -> None:
        """Drop the calls that nobody finished."""
        for pending in self._pending:
            pending.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)


class Session(Recorder):
    """The verbs of a client and of a worker on a recorder."""

    @property
    def queue(self) -> taskqueue.TaskQueue:
        """The scenario's own task queue."""
        return taskqueue.TaskQueue(name=self.unique("queue"), kind=queue_kind.TASK_QUEUE_KIND_NORMAL)

    @property
    def children(self) -> taskqueue.TaskQueue:
        """A second task queue, for the children of the scenario's workflows and for others beside them."""
        return taskqueue.TaskQueue(name=self.unique("children"), kind=queue_kind.TASK_QUEUE_KIND_NORMAL)

    def execution(self, workflow: str, run_id: str = "") -> common.WorkflowExecution:
        """The execution of a workflow id given without nonce."""
        return common.WorkflowExecution(workflow_id=self.unique(workflow), run_id=run_id)

    def start_request(self, workflow: str = "wf", **fields: Any) -> ws.StartWorkflowExecutionRequest:
        """A start request with nothing but what must be there."""
        plain: dict[str, Any] = {
            "namespace": NAMESPACE,
            "workflow_id": self.unique(workflow),
            "workflow_type": common.WorkflowType(name="flow"),
            "task_queue": self.queue,
            "identity": CLIENT,
            "request_id": self.unique(f"start-{workflow}"),
        }
        return ws.StartWorkflowExecutionRequest(**{**plain, **fields})

    async def start(self, workflow: str = "wf", **fields: Any) -> str:
        """Start a workflow, return its run id."""
        reply: ws.StartWorkflowExecutionResponse = await self.call(self.start_request(workflow, **fields))
        return reply.run_id

    async def start_quietly(self, workflow: str = "wf", **fields: Any) -> str:
        """Start a workflow where the start is not what the scenario is about."""
        reply: ws.StartWorkflowExecutionResponse = await self.quiet(self.start_request(workflow, **fields))
        return reply.run_id

    async def signal(self, name: str, workflow: str = "wf", run_id: str = "", **fields: Any) -> None:
        """Send a signal; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {
            "namespace": NAMESPACE,
            "workflow_execution": self.execution(workflow, run_id),
            "signal_name": name,
            "identity": CLIENT,
        }
        await self.attempt(ws.SignalWorkflowExecutionRequest(**{**plain, **fields}))

    async def request_cancel(self, workflow: str = "wf", run_id: str = "", **fields: Any) -> None:
        """Request cancellation; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {
            "namespace": NAMESPACE,
            "workflow_execution": self.execution(workflow, run_id),
            "identity": CLIENT,
        }
        await self.attempt(ws.RequestCancelWorkflowExecutionRequest(**{**plain, **fields}))

    async def terminate(self, workflow: str = "wf", run_id: str = "", **fields: Any) -> None:
        """Terminate; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {
            "namespace": NAMESPACE,
            "workflow_execution": self.execution(workflow, run_id),
            "identity": CLIENT,
        }
        await self.attempt(ws.TerminateWorkflowExecutionRequest(**{**plain, **fields}))

    async def describe(self, workflow: str = "wf", run_id: str = "") -> Any:
        """Describe an execution; an error is recorded, and the scenario goes on."""
        execution = self.execution(workflow, run_id)
        return await self.attempt(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution))

    async def events(self, workflow: str = "wf", run_id: str = "") -> list[history.HistoryEvent]:
        """The whole history, unrecorded."""
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE, execution=self.execution(workflow, run_id), maximum_page_size=1000
        )
        found: list[history.HistoryEvent] = []
        while True:
            reply: ws.GetWorkflowExecutionHistoryResponse = await self.quiet(request)
            found += reply.history.events
            if not reply.next_page_token:
                return found
            request.next_page_token = reply.next_page_token

    async def show_history(self, workflow: str = "wf", run_id: str = "", first: int = 1) -> list[history.HistoryEvent]:
        """Record the events from `first` on, and return the whole history."""
        found = await self.events(workflow, run_id)
        shown = f" from event {first}" if first > 1 else ""
        self.transcript.lines += ["", f"= history of {workflow}{shown}"]
        self.transcript.events([event for event in found if event.event_id >= first])
        return found

    async def wait_for_event(self, event_type: int, workflow: str = "wf", run_id: str = "", count: int = 1) -> None:
        """Long-poll the history, unrecorded, until it holds `count` events of a type."""
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE, execution=self.execution(workflow, run_id), wait_new_event=True
        )
        seen = 0
        while True:
            reply: ws.GetWorkflowExecutionHistoryResponse = await self.quiet(request)
            seen += sum(event.event_type == event_type for event in reply.history.events)
            if seen >= count:
                return
            assert reply.next_page_token, f"{workflow} closed without the awaited event"
            request.next_page_token = reply.next_page_token

    async def closed(self, workflow: str = "wf", run_id: str = "") -> history.HistoryEvent:
        """Long-poll, unrecorded, until the run is closed; its close event is returned."""
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE,
            execution=self.execution(workflow, run_id),
            wait_new_event=True,
            history_event_filter_type=filters.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
        while True:
            reply: ws.GetWorkflowExecutionHistoryResponse = await self.quiet(request)
            if reply.history.events:
                return reply.history.events[-1]
            request.next_page_token = reply.next_page_token

    # ------------------------------------------------------------------------------------------------- workflow tasks

    def poll_request(self, **fields: Any) -> ws.PollWorkflowTaskQueueRequest:
        """A poll of the scenario's queue."""
        plain: dict[str, Any] = {"namespace": NAMESPACE, "task_queue": self.queue, "identity": WORKER}
        return ws.PollWorkflowTaskQueueRequest(**{**plain, **fields})

    async def poll(self, seconds: float = CALL_SECONDS, **fields: Any) -> ws.PollWorkflowTaskQueueResponse:
        """Poll for a workflow task and record what came."""
        reply: ws.PollWorkflowTaskQueueResponse = await self.call(self.poll_request(**fields), seconds)
        return reply

    async def take(self, **fields: Any) -> ws.PollWorkflowTaskQueueResponse:
        """Poll for a workflow task, unrecorded; one must come."""
        reply: ws.PollWorkflowTaskQueueResponse = await self.quiet(self.poll_request(**fields))
        assert reply.task_token, "no workflow task came"
        return reply

    def completion(
        self, task: ws.PollWorkflowTaskQueueResponse, *commands: command.Command, **fields: Any
    ) -> ws.RespondWorkflowTaskCompletedRequest:
        """The completion of a workflow task with these commands."""
        plain: dict[str, Any] = {
            "namespace": NAMESPACE,
            "task_token": task.task_token,
            "identity": WORKER,
            "commands": commands,
        }
        return ws.RespondWorkflowTaskCompletedRequest(**{**plain, **fields})

    async def complete(self, task: ws.PollWorkflowTaskQueueResponse, *commands: command.Command, **fields: Any) -> Any:
        """Complete a workflow task; an error is recorded, and the scenario goes on."""
        return await self.attempt(self.completion(task, *commands, **fields))

    async def advance(self, *commands: command.Command, **fields: Any) -> ws.PollWorkflowTaskQueueResponse:
        """Take the next workflow task and complete it with these commands, both unrecorded; the task is returned."""
        task = await self.take()
        await self.quiet(self.completion(task, *commands, **fields))
        return task

    async def advance_child(self, *commands: command.Command, **fields: Any) -> ws.PollWorkflowTaskQueueResponse:
        """As advance, for the queue of the children."""
        task = await self.take(task_queue=self.children)
        await self.quiet(self.completion(task, *commands, **fields))
        return task

    @property
    def sticky(self) -> taskqueue.TaskQueue:
        """The sticky queue of the scenario's worker."""
        return taskqueue.TaskQueue(
            name=self.unique("sticky"), kind=queue_kind.TASK_QUEUE_KIND_STICKY, normal_name=self.unique("queue")
        )

    async def fail_task(self, task: ws.PollWorkflowTaskQueueResponse, **fields: Any) -> Any:
        """Fail a workflow task; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {
            "namespace": NAMESPACE,
            "task_token": task.task_token,
            "identity": WORKER,
            "cause": failed_cause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
            "failure": failure("task failed"),
        }
        return await self.attempt(ws.RespondWorkflowTaskFailedRequest(**{**plain, **fields}))

    # ------------------------------------------------------------------------------------------------------ activities

    def poll_activity_request(self, **fields: Any) -> ws.PollActivityTaskQueueRequest:
        """A poll for activities of the scenario's queue."""
        plain: dict[str, Any] = {"namespace": NAMESPACE, "task_queue": self.queue, "identity": WORKER}
        return ws.PollActivityTaskQueueRequest(**{**plain, **fields})

    async def poll_activity(self, seconds: float = CALL_SECONDS, **fields: Any) -> ws.PollActivityTaskQueueResponse:
        """Poll for an activity task and record what came."""
        reply: ws.PollActivityTaskQueueResponse = await self.call(self.poll_activity_request(**fields), seconds)
        return reply

    async def take_activity(self, **fields: Any) -> ws.PollActivityTaskQueueResponse:
        """Poll for an activity task, unrecorded; one must come."""
        reply: ws.PollActivityTaskQueueResponse = await self.quiet(self.poll_activity_request(**fields))
        assert reply.task_token, "no activity task came"
        return reply

    async def complete_activity(self, token: bytes, result: str | common.Payloads = "done", **fields: Any) -> Any:
        """Complete an activity; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {"namespace": NAMESPACE, "task_token": token, "identity": WORKER}
        given = payloads(result) if isinstance(result, str) else result
        return await self.attempt(ws.RespondActivityTaskCompletedRequest(**{**plain, "result": given, **fields}))

    async def fail_activity(self, token: bytes, cause: failures.Failure | None = None, **fields: Any) -> Any:
        """Fail an activity; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {"namespace": NAMESPACE, "task_token": token, "identity": WORKER}
        request = ws.RespondActivityTaskFailedRequest(**{**plain, "failure": cause or failure("failed"), **fields})
        return await self.attempt(request)

    async def heartbeat(self, token: bytes, details: str | common.Payloads = "", **fields: Any) -> Any:
        """Heartbeat an activity; an error is recorded, and the scenario goes on."""
        plain: dict[str, Any] = {"namespace": NAMESPACE, "task_token": token, "identity": WORKER}
        if details:
            plain["details"] = payloads(details) if isinstance(details, str) else details
        return await self.attempt(ws.RecordActivityTaskHeartbeatRequest(**{**plain, **fields}))
