"""Runs to which nothing happens while everything happens around them: rule 5, from outside.

Each has an activity, a timer and a child that are pending, and signals. Their shards are killed, moved, split and
merged, and their state is rebuilt again and again from snapshots and logs. Invariant: what the API shows of them stays
the same, to the byte; and in the end they can still be finished.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    RecordMarkerCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
    StartTimerCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, Memo, Payload, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, ParentClosePolicy, WorkflowExecutionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from tests.chaos.asking import persist
from tests.chaos.layout import PROBE_NAMESPACE
from tests.conformance.harness.rpc import CallFailed, Client

_QUEUE = TaskQueue(name="stills")
_DAY = Duration(seconds=86_400)
_POLL_S = 5.0
_SIGNALS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What the API shows of a run."""

    described: DescribeWorkflowExecutionResponse
    history: Message


class Stills:
    """One run for each of `names`, through the frontends in turn."""

    def __init__(self, addresses: Sequence[str], names: Sequence[str]) -> None:
        self._clients = [Client(address) for address in addresses]
        self._names = list(names)
        self._seen: dict[str, Seen] = {}

    async def begin(self) -> None:
        """Start them, bring them to where they stay, and remember what they are."""
        for name in self._names:
            start = StartWorkflowExecutionRequest(
                namespace=PROBE_NAMESPACE,
                workflow_id=name,
                workflow_type=WorkflowType(name="still"),
                task_queue=_QUEUE,
                request_id=name,
                memo=Memo(fields={"life": Payload(metadata={"encoding": b"json/plain"}, data=b'"still"')}),
                workflow_execution_timeout=_DAY,
            )
            await self._ask(start)
            for number in range(_SIGNALS):
                signal = SignalWorkflowExecutionRequest(
                    namespace=PROBE_NAMESPACE,
                    workflow_execution=WorkflowExecution(workflow_id=name),
                    signal_name="on",
                    request_id=f"{name}-{number}",
                )
                await self._ask(signal)
        while not all([self._is_still(await self._describe(name)) for name in self._names]):
            await self._work(is_last=False)
        self._seen = {name: await self._look(name) for name in self._names}

    async def changed(self) -> list[str]:
        """How any of them isn't what it was."""
        now = await asyncio.gather(*(self._look(name) for name in self._names))
        return [
            f"rule 5: {name} has changed: {what}"
            for name, seen in zip(self._names, now, strict=True)
            for what in differences(self._seen[name], seen)
        ]

    async def finish(self, seconds: float) -> list[str]:
        """Finish them; those that aren't within that time."""
        left = set(self._names)
        deadline = asyncio.get_running_loop().time() + seconds
        while left and asyncio.get_running_loop().time() < deadline:
            await self._end_activity()
            await self._work(is_last=True)
            for name in sorted(left):
                status = (await self._describe(name)).workflow_execution_info.status
                if status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED:
                    left.discard(name)
        return [f"rule 26: {name} can't be finished" for name in sorted(left)]

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()

    @staticmethod
    def _is_still(shown: DescribeWorkflowExecutionResponse) -> bool:
        has_child = bool(shown.pending_children) and bool(shown.pending_children[0].run_id)
        return has_child and not shown.HasField("pending_workflow_task")

    async def _work(self, *, is_last: bool) -> None:
        """Answer one workflow task of any, if there is one."""
        poll = PollWorkflowTaskQueueRequest(namespace=PROBE_NAMESPACE, task_queue=_QUEUE, identity="stills")
        try:
            task = await self._clients[0].call(poll, _POLL_S)
            if not task.task_token:
                return
            commands = [_complete()] if is_last else _commands(task)
            answer = RespondWorkflowTaskCompletedRequest(
                namespace=PROBE_NAMESPACE, task_token=task.task_token, commands=commands, identity="stills"
            )
            await self._clients[0].call(answer, _POLL_S)
        except CallFailed:
            return

    async def _end_activity(self) -> None:
        poll = PollActivityTaskQueueRequest(namespace=PROBE_NAMESPACE, task_queue=_QUEUE, identity="stills")
        try:
            task = await self._clients[0].call(poll, _POLL_S)
            if task.task_token:
                answer = RespondActivityTaskCompletedRequest(namespace=PROBE_NAMESPACE, task_token=task.task_token)
                await self._clients[0].call(answer, _POLL_S)
        except CallFailed:
            return

    async def _describe(self, name: str) -> DescribeWorkflowExecutionResponse:
        execution = WorkflowExecution(workflow_id=name)
        request = DescribeWorkflowExecutionRequest(namespace=PROBE_NAMESPACE, execution=execution)
        found: DescribeWorkflowExecutionResponse = await self._ask(request)
        return found

    async def _look(self, name: str) -> Seen:
        execution = WorkflowExecution(workflow_id=name)
        request = GetWorkflowExecutionHistoryRequest(namespace=PROBE_NAMESPACE, execution=execution)
        return Seen(await self._describe(name), (await self._ask(request)).history)

    async def _ask(self, request: Message) -> Any:
        return await persist(self._clients, request)


def differences(first: Seen, now: Seen) -> list[str]:
    """The parts that aren't the same, with both."""
    found = []
    if first.history != now.history:
        found.append("its history")
    for field in first.described.DESCRIPTOR.fields:
        before, after = (getattr(seen.described, field.name) for seen in (first, now))
        if before != after:
            found.append(f"{field.name}: {str(before)[:300]!r} was, {str(after)[:300]!r} is")
    return found


def _commands(task: PollWorkflowTaskQueueResponse) -> list[Command]:
    """What a run does at its first workflow task; nothing at a later one."""
    if task.previous_started_event_id:
        return []
    name = task.workflow_execution.workflow_id
    return [
        Command(
            command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
            schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
                activity_id="work",
                activity_type=ActivityType(name="work"),
                task_queue=_QUEUE,
                schedule_to_close_timeout=_DAY,
                heartbeat_timeout=_DAY,
            ),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_START_TIMER,
            start_timer_command_attributes=StartTimerCommandAttributes(timer_id="t", start_to_fire_timeout=_DAY),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_RECORD_MARKER,
            record_marker_command_attributes=RecordMarkerCommandAttributes(marker_name="m"),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
            start_child_workflow_execution_command_attributes=StartChildWorkflowExecutionCommandAttributes(
                workflow_id=f"{name}/child",
                workflow_type=WorkflowType(name="still"),
                task_queue=TaskQueue(name="nobody"),
                parent_close_policy=ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
            ),
        ),
    ]


def _complete() -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
    )
