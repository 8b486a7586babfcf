"""A worker that runs `perdure.testing.programs`: it polls, replays, answers, and misbehaves as real ones do.

Invariant: its answers depend on the histories it was given and on its seed. It may be slow, answer twice or late,
forget its cache, and vanish with a task in hand. Knows the public API and nothing behind it.
"""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import msgspec
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import QueryResultType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
)

from perdure.base.clock import from_timestamp
from perdure.base.errors import PerdureError, Refused
from perdure.base.tasks import Background
from perdure.testing.cluster import SimCluster
from perdure.testing.oplog import Kind, Op
from perdure.testing.party import Party, events_of, parsed, reading
from perdure.testing.programs import (
    ActivityStep,
    Facts,
    Wants,
    activity_step,
    answers,
    carrying,
    next_commands,
    payloads,
)
from perdure.workflow.tokens import decode_token

QUEUE = "work"
_POLL_S = 12.0
_ANSWERED = QueryResultType.QUERY_RESULT_TYPE_ANSWERED


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is. Chances in [0, 1], of one task each.

    `thinks`: takes some time. `slow`: takes longer than the task's time. `twice`: answers again. `lost`: takes the task
    and is not heard of again. `forgets`: loses its cache. `fails`: fails the workflow task. `foreign`: tries a token
    under another namespace.
    """

    sticky: bool = True
    thinks: float = 0.5
    slow: float = 0.0
    twice: float = 0.0
    lost: float = 0.0
    forgets: float = 0.0
    fails: float = 0.0
    foreign: float = 0.0
    new_task: float = 0.2


SOUND = Habits()


class Worker:
    """Pollers for workflow tasks (normal and sticky queue) and activities of one namespace."""

    def __init__(self, name: str, namespace: str, cluster: SimCluster, habits: Habits, other: str = "") -> None:
        self.name = name
        self.namespace = namespace
        self.cluster = cluster
        self.habits = habits
        self.other_namespace = other
        self.sticky_queue = f"sticky-{name}" if habits.sticky else ""
        self.cache: dict[str, list[HistoryEvent]] = {}
        self.is_stopped = False
        self._background = Background(self._unexpected)

    def start(self, workflow_pollers: int = 2, activity_pollers: int = 3) -> None:
        """Begin to poll."""
        for index in range(workflow_pollers):
            self._run(WorkflowPoller(f"{self.name}/w{index}", self, "").run())
            if self.sticky_queue:
                self._run(WorkflowPoller(f"{self.name}/s{index}", self, self.sticky_queue).run())
        for index in range(activity_pollers):
            self._run(ActivityPoller(f"{self.name}/a{index}", self).run())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.spawn(work, self.name)

    def calm(self) -> None:
        """Behave from now on."""
        self.habits = msgspec.structs.replace(SOUND, sticky=self.habits.sticky)

    async def stop(self) -> None:
        """End all polls."""
        self.is_stopped = True
        await self._background.close()

    def _unexpected(self, error: BaseException) -> None:
        self.cluster.alarms.append(f"{self.name}: {error!r}")


class _Poller(Party):
    """Asks for a task, does it, asks again."""

    def __init__(self, name: str, worker: Worker) -> None:
        super().__init__(name, worker.namespace, worker.cluster)
        self.worker = worker

    def happens(self, chance: float) -> bool:
        return chance > 0 and self.chance.fraction() < chance

    async def run(self) -> None:
        """Poll until the worker is stopped."""
        while not self.worker.is_stopped:
            try:
                await self.once()
            except PerdureError:
                await asyncio.sleep(0.1 + self.chance.fraction() * 0.5)

    async def once(self) -> None:
        """One poll and what comes of it."""
        raise NotImplementedError


class WorkflowPoller(_Poller):
    """Runs workflow tasks of a queue."""

    def __init__(self, name: str, worker: Worker, sticky_queue: str) -> None:
        super().__init__(name, worker)
        self.queue = TaskQueue(name=QUEUE)
        if sticky_queue:
            kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
            self.queue = TaskQueue(name=sticky_queue, kind=kind, normal_name=QUEUE)

    async def once(self) -> None:
        op = self.log.invoke(Kind.POLL_WORKFLOW, self.name, namespace=self.namespace)
        request = PollWorkflowTaskQueueRequest(namespace=self.namespace, task_queue=self.queue, identity=op.identity)
        body = await self.call(op, "PollWorkflowTaskQueue", request, timeout_s=_POLL_S)
        task = parsed(PollWorkflowTaskQueueResponse, body)
        while task is not None:
            task = await self._task(op, task)

    async def _task(self, op: Op, task: PollWorkflowTaskQueueResponse) -> PollWorkflowTaskQueueResponse | None:
        """Do one task; the next one if it came with the answer. `op` is the call that brought it."""
        if not task.task_token:
            self.log.returned(op)
            return None
        if task.HasField("query"):
            self.log.returned(op, query=task.query.query_type, workflow_id=task.workflow_execution.workflow_id)
            await self._answer_query(task)
            return None
        told = _told(task.task_token)
        run_id, workflow_id = task.workflow_execution.run_id, task.workflow_execution.workflow_id
        op.workflow_id = workflow_id
        op.run_id = op.run_id or run_id
        self.log.returned(op, **told, **reading(run_id, task.history.events))
        habits = self.worker.habits
        if self.happens(habits.lost):
            self.log.note(f"{self.name} loses {op.n}")
            return None
        if self.happens(habits.forgets):
            self.worker.cache.clear()
        if self.happens(habits.slow):
            await asyncio.sleep(9 + self.chance.fraction() * 4)
        elif self.happens(habits.thinks):
            await self.pause(0.6)
        events = await self._events(task)
        facts = Facts(events)
        wants = next_commands(facts)
        for strange in wants.strange:
            self.cluster.alarms.append(f"{workflow_id}/{run_id}: {strange} is in the history, but was never wanted")
        self.worker.cache[run_id] = events
        if self.happens(habits.fails):
            await self._fail(task, told)
            return None
        return await self._complete(task, told, facts, wants)

    async def _events(self, task: PollWorkflowTaskQueueResponse) -> list[HistoryEvent]:
        """The whole history up to the task's Started event."""
        execution = task.workflow_execution
        events = events_of(task.history)
        if task.next_page_token:
            events += await self.read_events(execution.workflow_id, execution.run_id, token=task.next_page_token)
        if events and events[0].event_id > 1:
            first = events[0].event_id
            known = self.worker.cache.get(execution.run_id, ())
            if len(known) >= first - 1:
                return [*known[: first - 1], *events]
            return (await self.read_events(execution.workflow_id, execution.run_id))[: task.started_event_id]
        return events

    async def _complete(
        self, task: PollWorkflowTaskQueueResponse, told: dict[str, Any], facts: Facts, wants: Wants
    ) -> PollWorkflowTaskQueueResponse | None:
        next_task = None
        messages = answers(task.messages, facts, task.started_event_id)
        carried = carrying(messages)
        for _ in range(2 if self.happens(self.worker.habits.twice) else 1):
            about = {"commands": wants.keys, "accepts": len(carried), "rejects": len(messages) - len(carried)}
            op = self._invoke(Kind.COMPLETE_WORKFLOW, task, told | about)
            request = RespondWorkflowTaskCompletedRequest(
                namespace=self.namespace,
                task_token=task.task_token,
                identity=op.identity,
                commands=[*carried, *wants.commands],
                messages=messages,
                return_new_workflow_task=self.happens(self.worker.habits.new_task),
            )
            if self.worker.sticky_queue:
                request.sticky_attributes.CopyFrom(_sticky(self.worker.sticky_queue))
            for query_id in task.queries:
                request.query_results[query_id].CopyFrom(
                    WorkflowQueryResult(result_type=_ANSWERED, answer=facts.answer())
                )
            try:
                body = await self.call(op, "RespondWorkflowTaskCompleted", request)
            except Refused:
                continue
            response = parsed(RespondWorkflowTaskCompletedResponse, body)
            self.log.returned(op, discarded=bool(response.reset_history_event_id))
            if response.HasField("workflow_task"):
                next_task = response.workflow_task
        if next_task is None or not next_task.task_token:
            return None
        op = self.log.invoke(Kind.POLL_WORKFLOW, self.name, namespace=self.namespace)
        return await self._task(op, next_task)

    async def _fail(self, task: PollWorkflowTaskQueueResponse, told: dict[str, Any]) -> None:
        op = self._invoke(Kind.FAIL_WORKFLOW, task, told)
        request = RespondWorkflowTaskFailedRequest(
            namespace=self.namespace,
            task_token=task.task_token,
            identity=op.identity,
            cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
            failure=Failure(message="planned"),
        )
        await self.call(op, "RespondWorkflowTaskFailed", request)
        self.log.returned(op)

    def _invoke(self, kind: Kind, task: PollWorkflowTaskQueueResponse, args: dict[str, Any]) -> Op:
        execution = task.workflow_execution
        return self.log.invoke(
            kind,
            self.name,
            namespace=self.namespace,
            workflow_id=execution.workflow_id,
            run_id=execution.run_id,
            args=args,
        )

    async def _answer_query(self, task: PollWorkflowTaskQueueResponse) -> None:
        """Answer a query that came without a workflow task, from what the worker had seen by its last one."""
        execution = task.workflow_execution
        end = task.previous_started_event_id
        events = events_of(task.history)
        if not events:
            events = self.worker.cache.get(execution.run_id, [])[:end]
        if task.next_page_token or not events or events[0].event_id != 1 or events[-1].event_id < end:
            events = await self.read_events(execution.workflow_id, execution.run_id)
        request = RespondQueryTaskCompletedRequest(
            namespace=self.namespace,
            task_token=task.task_token,
            completed_type=_ANSWERED,
            query_result=Facts(events).answer(),
        )
        await self.cluster.call("RespondQueryTaskCompleted", request)


def _sticky(queue: str) -> StickyExecutionAttributes:
    kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
    return StickyExecutionAttributes(
        worker_task_queue=TaskQueue(name=queue, kind=kind, normal_name=QUEUE),
        schedule_to_start_timeout=Duration(seconds=2),
    )


def _told(token: bytes) -> dict[str, Any]:
    """What a task's token says; opaque to workers, but not to checkers."""
    task = decode_token(token)
    return {
        "scheduled": task.scheduled_event_id,
        "started": task.started_event_id,
        "started_ns": task.started_time_ns,
        "attempt": task.attempt,
        "stamp": task.stamp,
    }


class ActivityPoller(_Poller):
    """Runs attempts of activities."""

    async def once(self) -> None:
        op = self.log.invoke(Kind.POLL_ACTIVITY, self.name, namespace=self.namespace)
        request = PollActivityTaskQueueRequest(
            namespace=self.namespace, task_queue=TaskQueue(name=QUEUE), identity=op.identity
        )
        body = await self.call(op, "PollActivityTaskQueue", request, timeout_s=_POLL_S)
        task = parsed(PollActivityTaskQueueResponse, body)
        if not task.task_token:
            self.log.returned(op)
            return
        execution = task.workflow_execution
        op.workflow_id, op.run_id = execution.workflow_id, execution.run_id
        details = task.heartbeat_details.payloads
        told = _told(task.task_token) | {"started_ns": from_timestamp(task.started_time)}
        told |= {"attempt": task.attempt, "activity_id": task.activity_id, "run_id": execution.run_id}
        self.log.returned(op, **told, heartbeat=json.loads(details[0].data) if details else "")
        await self._attempt(task, told)

    async def _attempt(self, task: PollActivityTaskQueueResponse, told: dict[str, Any]) -> None:
        step = activity_step(task.input)
        fails, hangs = (step.fails, step.hangs) if isinstance(step, ActivityStep) else (0, 0)
        if task.attempt == hangs or self.happens(self.worker.habits.lost):
            self.log.note(f"{self.name} hangs")
            return
        if self.happens(self.worker.habits.foreign):
            await self._try_elsewhere(task, told)
        for beat in range(step.beats):
            await asyncio.sleep(step.work_ms / 1000 / (step.beats + 1))
            if await self._heartbeat(task, told, beat):
                await self._cancel(task, told)
                return
        await asyncio.sleep(step.work_ms / 1000 / (step.beats + 1))
        if self.happens(self.worker.habits.slow):
            await asyncio.sleep(4 + self.chance.fraction() * 3)
        if task.attempt <= fails:
            await self._fail(task, told)
        else:
            await self._complete(task, told)

    def _invoke(self, kind: Kind, task: PollActivityTaskQueueResponse, args: dict[str, Any], **more: Any) -> Op:
        execution = task.workflow_execution
        facts = {"namespace": self.namespace, "workflow_id": execution.workflow_id, "run_id": execution.run_id}
        return self.log.invoke(kind, self.name, args=args, **(facts | more))

    async def _heartbeat(self, task: PollActivityTaskQueueResponse, told: dict[str, Any], beat: int) -> bool:
        """True if the activity is to be cancelled. Raises the error tree: the attempt is given up."""
        details = f"{task.activity_id}/{task.attempt}/{beat}"
        op = self._invoke(Kind.HEARTBEAT, task, told | {"details": details})
        request = RecordActivityTaskHeartbeatRequest(
            namespace=self.namespace,
            task_token=task.task_token,
            identity=op.identity,
            details=payloads(json.dumps(details).encode()),
        )
        response = await self.call(op, "RecordActivityTaskHeartbeat", request)
        self.log.returned(op)
        return bool(response.cancel_requested)

    async def _complete(self, task: PollActivityTaskQueueResponse, told: dict[str, Any]) -> None:
        for _ in range(2 if self.happens(self.worker.habits.twice) else 1):
            op = self._invoke(Kind.COMPLETE_ACTIVITY, task, told)
            request = RespondActivityTaskCompletedRequest(
                namespace=self.namespace,
                task_token=task.task_token,
                identity=op.identity,
                result=payloads(b'"done"'),
            )
            await self.call(op, "RespondActivityTaskCompleted", request)
            self.log.returned(op)

    async def _fail(self, task: PollActivityTaskQueueResponse, told: dict[str, Any]) -> None:
        op = self._invoke(Kind.FAIL_ACTIVITY, task, told)
        request = RespondActivityTaskFailedRequest(
            namespace=self.namespace,
            task_token=task.task_token,
            identity=op.identity,
            failure=Failure(message="planned", application_failure_info=ApplicationFailureInfo(type="Planned")),
        )
        await self.call(op, "RespondActivityTaskFailed", request)
        self.log.returned(op)

    async def _cancel(self, task: PollActivityTaskQueueResponse, told: dict[str, Any]) -> None:
        op = self._invoke(Kind.CANCEL_ACTIVITY, task, told)
        request = RespondActivityTaskCanceledRequest(
            namespace=self.namespace, task_token=task.task_token, identity=op.identity
        )
        await self.call(op, "RespondActivityTaskCanceled", request)
        self.log.returned(op)

    async def _try_elsewhere(self, task: PollActivityTaskQueueResponse, told: dict[str, Any]) -> None:
        """Use the token under another namespace: that must not work."""
        namespace = self.worker.other_namespace
        op = self._invoke(Kind.COMPLETE_ACTIVITY, task, told, namespace=namespace, foreign=True)
        request = RespondActivityTaskCompletedRequest(
            namespace=namespace, task_token=task.task_token, identity=op.identity
        )
        try:
            await self.call(op, "RespondActivityTaskCompleted", request)
            self.log.returned(op)
        except PerdureError:
            return
