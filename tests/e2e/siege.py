"""A server under bad input, and what must stay true of it after every bad call.

Invariant: `unharmed` passes after each call of a test: the server answers, its canary workflow's history is byte for
byte what it was, and it has logged no error.
"""

import asyncio
import contextlib
import os
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import schedule_activity, start_timer
from tests.conformance.harness.payloads import payloads
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.processes import ServerProcess

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService"
OTHER_NAMESPACE = "another"
IDENTITY = "hostile"
MIB = 1 << 20
BLOB_LIMIT = 2 * MIB
MESSAGE_LIMIT = 4 * MIB


def blob(size: int) -> common.Payloads:
    """One payload with `size` bytes of data."""
    return common.Payloads(payloads=[common.Payload(metadata={"encoding": b"binary/plain"}, data=b"x" * size)])


class Siege:
    """One server, a client of it, and its canary: a workflow with an activity and a timer pending."""

    def __init__(self, server: ServerProcess, client: Client) -> None:
        self.server = server
        self.client = client
        self.canary = common.WorkflowExecution(workflow_id="canary")
        self._history = b""
        self._logged = 0

    async def begin(self) -> None:
        """Bring the canary to its place."""
        self.canary.run_id = await self.start("canary", input=payloads("sing"))
        task = await self.take("canary")
        queue = taskqueue.TaskQueue(name="canary")
        await self.complete(task, schedule_activity(queue, "perch"), start_timer("dawn", seconds=3600))
        self._history = await self._read_canary()

    async def target(self) -> None:
        """An idle open workflow called `target`, for calls that need one; it may be spoiled at will."""
        target = common.WorkflowExecution(workflow_id="target")
        request = ws.DescribeWorkflowExecutionRequest(namespace="default", execution=target)
        with contextlib.suppress(CallFailed):
            await self.client.call(request)
            return
        await self.start("target")
        await self.complete(await self.take("target"), start_timer("far", seconds=3600))

    async def unharmed(self) -> None:
        """Raises AssertionError if the server has suffered."""
        assert await self._read_canary() == self._history, "the canary's history changed"
        assert not (errors := self.errors()), f"the server logged: {errors}"

    def errors(self) -> list[str]:
        """What the server has written to its standard error since the last call, but for warnings."""
        output = self.server.output
        lines, self._logged = output[self._logged :].splitlines(), len(output)
        return [line for line in lines if not _is_mild(line)]

    async def refused(self, request: Message, code: str, text: str = "", seconds: float = 10.0) -> CallFailed:
        """The error of a call that must fail with this code, and whose message must contain `text`."""
        with pytest.raises(CallFailed) as failed:
            await self.client.call(request, seconds)
        return await self._judged(failed.value, code, text)

    async def refused_bytes(self, method: str, body: bytes, code: str, text: str = "") -> None:
        """As `refused`, for the bytes of a request."""
        path = method if method.startswith("/") else f"{SERVICE}/{method}"
        with pytest.raises(CallFailed) as failed:
            await self.client.call_bytes(path, body, 10.0)
        await self._judged(failed.value, code, text)

    async def _judged(self, failed: CallFailed, code: str, text: str) -> CallFailed:
        assert failed.code == code, f"{failed} instead of {code}"
        assert failed.text, "an error without a message"
        assert text in failed.text, f"{failed.text!r} does not say {text!r}"
        await self.unharmed()
        return failed

    async def _read_canary(self) -> bytes:
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace="default", execution=self.canary, maximum_page_size=256
        )
        return await self.client.call_bytes(f"{SERVICE}/GetWorkflowExecutionHistory", request.SerializeToString())

    # ------------------------------------------------------------------------------------------- a well-behaved client

    def start_request(self, workflow_id: str = "", **fields: Any) -> ws.StartWorkflowExecutionRequest:
        """A start whose task queue is named as the workflow."""
        name = workflow_id or fresh("wf")
        plain: dict[str, Any] = {
            "namespace": "default",
            "workflow_id": name,
            "workflow_type": common.WorkflowType(name="flow"),
            "task_queue": taskqueue.TaskQueue(name=name),
            "identity": IDENTITY,
            "request_id": fresh("request"),
        }
        return ws.StartWorkflowExecutionRequest(**{**plain, **fields})

    async def start(self, workflow_id: str, **fields: Any) -> str:
        """Start a workflow, return its run id."""
        reply: ws.StartWorkflowExecutionResponse = await self.client.call(self.start_request(workflow_id, **fields))
        return reply.run_id

    async def take(self, queue: str, namespace: str = "default") -> ws.PollWorkflowTaskQueueResponse:
        """Poll a queue; a workflow task must come."""
        request = ws.PollWorkflowTaskQueueRequest(
            namespace=namespace, task_queue=taskqueue.TaskQueue(name=queue), identity=IDENTITY
        )
        task: ws.PollWorkflowTaskQueueResponse = await self.client.call(request)
        assert task.task_token, "no workflow task came"
        return task

    async def take_activity(self, queue: str) -> ws.PollActivityTaskQueueResponse:
        """Poll a queue; an activity task must come."""
        request = ws.PollActivityTaskQueueRequest(
            namespace="default", task_queue=taskqueue.TaskQueue(name=queue), identity=IDENTITY
        )
        task: ws.PollActivityTaskQueueResponse = await self.client.call(request)
        assert task.task_token, "no activity task came"
        return task

    def completion(
        self, task: ws.PollWorkflowTaskQueueResponse, *commands: command.Command, **fields: Any
    ) -> ws.RespondWorkflowTaskCompletedRequest:
        """The completion of a workflow task."""
        plain: dict[str, Any] = {
            "namespace": "default",
            "task_token": task.task_token,
            "identity": IDENTITY,
            "commands": commands,
        }
        return ws.RespondWorkflowTaskCompletedRequest(**{**plain, **fields})

    async def complete(self, task: ws.PollWorkflowTaskQueueResponse, *commands: command.Command) -> None:
        """Complete a workflow task."""
        await self.client.call(self.completion(task, *commands))

    async def started_task(self, **fields: Any) -> ws.PollWorkflowTaskQueueResponse:
        """The first workflow task of a new workflow, started."""
        name = fresh("wf")
        await self.start(name, **fields)
        return await self.take(name)

    async def started_activity(self, **fields: Any) -> ws.PollActivityTaskQueueResponse:
        """An activity of a new workflow, started."""
        task = await self.started_task()
        name = task.workflow_execution.workflow_id
        await self.complete(task, schedule_activity(taskqueue.TaskQueue(name=name), **fields))
        return await self.take_activity(name)

    async def event_types(self, workflow_id: str) -> list[int]:
        """The types of a workflow's events."""
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace="default", execution=common.WorkflowExecution(workflow_id=workflow_id)
        )
        found: list[int] = []
        while True:
            reply: ws.GetWorkflowExecutionHistoryResponse = await self.client.call(request)
            found += [event.event_type for event in reply.history.events]
            if not reply.next_page_token:
                return found
            request.next_page_token = reply.next_page_token


def fresh(prefix: str) -> str:
    """A name nobody has used."""
    return f"{prefix}-{os.urandom(6).hex()}"


async def in_turns(calls: list[Any], at_once: int = 16) -> list[Any]:
    """The results of all coroutines, `at_once` of them running at any time; the first error ends it."""
    gate = asyncio.Semaphore(at_once)

    async def one(call: Any) -> Any:
        async with gate:
            return await call

    return await asyncio.gather(*map(one, calls))


def _is_mild(line: str) -> bool:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and record.get("level") in ("debug", "info", "warning")
