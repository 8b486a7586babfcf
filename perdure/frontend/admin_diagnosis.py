"""Gathering what `perdure.frontend.diagnosis` needs, side by side and each within `ASK_S`.

The request is the one that describes the workflow, so that it is judged as that one is. Invariant: what can't be had is
a fact, too, and fails nothing.
"""

import asyncio

import msgspec
from google.protobuf.struct_pb2 import Struct
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse

from perdure.base.clock import SECOND_NS, from_duration, from_timestamp
from perdure.base.errors import DeadlineExceeded, NotFound, PerdureError, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.operations import Operations
from perdure.cluster.roles import Call, HistoryRead, PartitionView
from perdure.frontend.admin_fields import reply_of
from perdure.frontend.admin_queues import ask_queue
from perdure.frontend.admin_shards import ASK_S, ask_host, named
from perdure.frontend.checks import check_execution
from perdure.frontend.diagnosis import ACTIVITIES_MAX, Facts, QueueFacts, Sent, ShardFacts, Tail, diagnose
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.workflow.requests import Describe
from perdure.workflow.tasks import QueueKey, QueueKind

TAIL_EVENTS = 200
_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY


class DiagnosisCalls:
    """The RPC that says why a workflow doesn't move."""

    def __init__(self, services: Services, operations: Operations) -> None:
        self._services = services
        self._operations = operations

    @rpc(DescribeWorkflowExecutionRequest)
    async def Diagnose(self, request: DescribeWorkflowExecutionRequest, namespace: Namespace, call: Call) -> Struct:
        check_execution(request, "execution")
        key = ChainKey(namespace.id, request.execution.workflow_id)
        call = msgspec.structs.replace(call, timeout_ns=int(ASK_S * SECOND_NS))
        (described, error), shard = await asyncio.gather(self._describe(key, request, call), self._shard(key))
        facts = Facts(self._services.clock.now_ns(), shard)
        run_id = request.execution.run_id
        if described is not None:
            run_id = described.workflow_execution_info.execution.run_id
            tail = await self._tail(key, run_id, call)
            queues = await self._queues(namespace, described, tail.sticky)
            facts = Facts(self._services.clock.now_ns(), shard, described, queues=queues, tail=tail)
        elif error is not None:
            missing = isinstance(error, NotFound)
            facts = msgspec.structs.replace(facts, error=error.message, is_missing=missing)
        reasons = [msgspec.to_builtins(reason) for reason in diagnose(facts)]
        found = {"namespace": namespace.name, "workflow_id": key.workflow_id, "run_id": run_id}
        found |= {"shard": shard.shard, "host": shard.host}
        if described is not None:
            info = described.workflow_execution_info
            found |= {"type": info.type.name, "task_queue": info.task_queue}
        return reply_of({**found, "reasons": reasons})

    async def _describe(
        self, key: ChainKey, request: DescribeWorkflowExecutionRequest, call: Call
    ) -> tuple[DescribeWorkflowExecutionResponse | None, PerdureError | None]:
        try:
            async with asyncio.timeout(ASK_S):
                return await self._services.routing.transact(key, Describe(request), call, repeatable=True), None
        except TimeoutError:
            return None, DeadlineExceeded(f"no answer within {ASK_S:g} s")
        except (NotFound, Unavailable, DeadlineExceeded) as error:
            return None, error

    async def _shard(self, key: ChainKey) -> ShardFacts:
        operations = self._operations
        await operations.refresh()
        standing = operations.shard_map
        if standing is None:
            return ShardFacts("")
        shard = next((shard for first, shard in reversed(standing.shards) if first <= key.slot), "")
        host = operations.owner_of_shard(shard)
        if not host:
            return ShardFacts(shard)
        told = await ask_host(operations, host)
        name = named(operations.view, host)
        if told.error:
            return ShardFacts(shard, name, error=told.error)
        view = told.views.get(shard)
        return ShardFacts(shard, name) if view is None else ShardFacts(shard, name, str(view.state), view.reason)

    async def _queues(
        self, namespace: Namespace, described: DescribeWorkflowExecutionResponse, sticky: str
    ) -> dict[tuple[str, QueueKind], QueueFacts]:
        """Of all queues that its tasks may wait in."""
        wanted = {(described.workflow_execution_info.task_queue, QueueKind.WORKFLOW): None}
        if sticky:
            wanted[sticky, QueueKind.WORKFLOW] = None
        for activity in described.pending_activities[:ACTIVITIES_MAX]:
            wanted[activity.activity_options.task_queue.name, QueueKind.ACTIVITY] = None
        partitions = [QueueKey(namespace.id, name, kind) for name, kind in wanted]
        views = await asyncio.gather(*(ask_queue(self._services, partition) for partition in partitions))
        return {at: _queue(view) for at, view in zip(wanted, views, strict=True)}

    async def _tail(self, key: ChainKey, run_id: str, call: Call) -> Tail:
        read = HistoryRead(run_id, TAIL_EVENTS, reverse=True)
        try:
            async with asyncio.timeout(ASK_S):
                page = await self._services.routing.on_history(
                    key, lambda role, rest: role.read_history(key, read, rest), call, repeatable=True
                )
        except (TimeoutError, PerdureError):
            return Tail(is_whole=False)
        events = History.FromString(page.history).events
        return tail_of(list(events), is_whole=not page.token)


def _queue(view: PartitionView | str) -> QueueFacts:
    if isinstance(view, str):
        return QueueFacts(error=view)
    pollers = {poller.identity: from_timestamp(poller.last_access_time) for poller in view.pollers}
    return QueueFacts(pollers, view.backlog_count, view.rate, view.is_held_back)


def tail_of(events: list[HistoryEvent], *, is_whole: bool) -> Tail:
    """What the last events of a run say; the newest first."""
    kind = EventType
    sticky, cause, failure, decided = "", 0, "", False
    scheduled = False
    timers: dict[str, int] = {}
    updates: dict[str, None] = {}
    ended: set[tuple[str, str]] = set()
    for event in events:
        match event.event_type:
            case kind.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED if not scheduled:
                queue = event.workflow_task_scheduled_event_attributes.task_queue
                scheduled, sticky = True, queue.name if queue.kind == _STICKY else ""
            case kind.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                decided = True
            case kind.EVENT_TYPE_WORKFLOW_TASK_FAILED if not decided:
                failed = event.workflow_task_failed_event_attributes
                cause, failure, decided = int(failed.cause), failed.failure.message, True
            case kind.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT if not decided:
                failure, decided = "it timed out: the worker did not answer in time", True
            case kind.EVENT_TYPE_TIMER_FIRED:
                ended.add(("timer", event.timer_fired_event_attributes.timer_id))
            case kind.EVENT_TYPE_TIMER_CANCELED:
                ended.add(("timer", event.timer_canceled_event_attributes.timer_id))
            case kind.EVENT_TYPE_TIMER_STARTED:
                started = event.timer_started_event_attributes
                if ("timer", started.timer_id) not in ended:
                    due_ns = from_timestamp(event.event_time) + from_duration(started.start_to_fire_timeout)
                    timers[started.timer_id] = due_ns
            case kind.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED:
                completed = event.workflow_execution_update_completed_event_attributes
                ended.add(("update", completed.meta.update_id))
            case kind.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
                accepted = event.workflow_execution_update_accepted_event_attributes
                update = accepted.protocol_instance_id
                if ("update", update) not in ended:
                    updates[update] = None
            case _:
                pass
    has_begun = scheduled or decided or not is_whole
    return Tail(sticky, cause, failure, timers, tuple(reversed(updates)), _sent(events), is_whole, has_begun)


def _sent(events: list[HistoryEvent]) -> tuple[Sent, ...]:
    """What went to other workflows and has no outcome, the oldest first."""
    kind = EventType
    ended: set[int] = set()
    sent: list[Sent] = []
    for event in events:
        match event.event_type:
            case (
                kind.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED
                | kind.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED
                | kind.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED
                | kind.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED
            ):
                ended.add(getattr(event, str(event.WhichOneof("attributes"))).initiated_event_id)
            case kind.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED if event.event_id not in ended:
                signal = event.signal_external_workflow_execution_initiated_event_attributes
                sent.append(Sent(signal.workflow_execution.workflow_id, signal.signal_name))
            case kind.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED if event.event_id not in ended:
                cancel = event.request_cancel_external_workflow_execution_initiated_event_attributes
                sent.append(Sent(cancel.workflow_execution.workflow_id))
            case _:
                pass
    return tuple(reversed(sent))
