"""Calls that go on while things fail, and what they say about it: how long nothing worked, and which errors were seen.

A call that fails is repeated at once, as clients that retry do; the errors that such clients repeat are in `PASSING`.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.rpc import CallFailed, Client

# What the SDKs repeat by themselves.
PASSING = frozenset({"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"})
# Of its own, so that nobody waits for the ends of its workflows.
NAMESPACE = "probes"
_CALL_SECONDS = 10.0
_PAUSE_SECONDS = 0.1


@dataclass(slots=True)
class Probe:
    """Starts workflows on a queue of `NAMESPACE` that nobody polls, one after another, until the context ends.

    `longest_seconds`: the longest time from the first failure of a call to its success. `errors`: how often each code
    was seen. `lost`: starts that were acknowledged and aren't there.
    """

    address: str
    longest_seconds: float = 0.0
    started: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    told: dict[str, str] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        failed = self._task.done()
        self._task.cancel()
        outcome = (await asyncio.gather(self._task, return_exceptions=True))[0]
        if failed and isinstance(outcome, BaseException):
            raise outcome

    async def lost(self) -> list[str]:
        """Those that were acknowledged and aren't there."""
        client = Client(self.address)
        missing: list[str] = []
        try:
            for name in self.started:
                execution = common.WorkflowExecution(workflow_id=name)
                try:
                    await client.call(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution))
                except CallFailed as failed:
                    missing.append(f"{name}: {failed}")
        finally:
            await client.close()
        return missing

    async def _go_on(self) -> None:
        client = Client(self.address)
        try:
            while True:
                name = f"probe-{len(self.started)}"
                await self._persist(client, name)
                self.started.append(name)
                await _pause()
        finally:
            await client.close()

    async def _persist(self, client: Client, name: str) -> None:
        """Start a workflow; the same request again until it is acknowledged."""
        failing_since: float | None = None
        while True:
            try:
                await client.call(_start(name), seconds=_CALL_SECONDS)
            except CallFailed as failed:
                failing_since = failing_since or time.monotonic()
                self.errors[failed.code] += 1
                self.told.setdefault(failed.code, str(failed))
                await _pause()
            else:
                if failing_since is not None:
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - failing_since)
                return


def _start(name: str) -> ws.StartWorkflowExecutionRequest:
    return ws.StartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=name,
        workflow_type=common.WorkflowType(name="probe"),
        task_queue=taskqueue.TaskQueue(name="nobody"),
        request_id=name,
    )


async def _pause() -> None:
    """Leave the machine to others for a moment."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(_PAUSE_SECONDS, done.set)
    await done.wait()
