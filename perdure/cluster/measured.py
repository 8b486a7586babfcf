"""The roles as one caller sees them, with their calls counted: what the caller sent, and what the role got.

In one process a call between roles is both at once, so it is timed once. To another process it is counted as sent here
and as got there. Invariant: a call goes through unchanged,
its errors and its cancellation too. Refuses to know what a call means: an operation is a name.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RespondQueryTaskCompletedRequest,
    UpdateTaskQueueConfigRequest,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base import series
from perdure.base.clock import Clock
from perdure.base.metrics import UNKNOWN, VALUES_MAX, Metrics
from perdure.base.slots import ChainKey
from perdure.base.traffic import Traffic, role_traffic, sent_traffic, service_traffic
from perdure.cluster.roles import (
    Call,
    Demand,
    Directory,
    HistoryPage,
    HistoryRead,
    HistoryRole,
    MatchingRole,
    Offered,
    PartitionView,
    Poll,
    Pulled,
    QueryTask,
    Supply,
    WorkerSearch,
    WorkersFound,
)
from perdure.workflow.requests import CompleteWorkflowTask, StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind
from perdure.workflow.tokens import QueryToken
from perdure.workflow.update_requests import StartWithUpdate

T = TypeVar("T")
W = TypeVar("W")
NameOf = Callable[[str], str]

# Class of a request -> the operation that dashboards know; others are called by their class.
OPERATIONS = {
    "StartWorkflow": "StartWorkflowExecution",
    "SignalWorkflow": "SignalWorkflowExecution",
    "SignalWithStart": "SignalWithStartWorkflowExecution",
    "RequestCancel": "RequestCancelWorkflowExecution",
    "Terminate": "TerminateWorkflowExecution",
    "ResetWorkflow": "ResetWorkflowExecution",
    "Describe": "DescribeWorkflowExecution",
    "DeleteRun": "DeleteWorkflowExecution",
    "FailWorkflowTask": "RespondWorkflowTaskFailed",
    "ResetSticky": "ResetStickyTaskQueue",
    "CompleteActivity": "RespondActivityTaskCompleted",
    "FailActivity": "RespondActivityTaskFailed",
    "CancelActivity": "RespondActivityTaskCanceled",
    "HeartbeatActivity": "RecordActivityTaskHeartbeat",
}


class _Link:
    """All calls of one caller to one kind of role. `caller` "": it is another process. `is_here`: the role is in this
    process; one of the two is.
    """

    __slots__ = ("_by_operation", "_caller", "_clock", "_is_here", "_metrics", "_name_of", "_role")

    def __init__(
        self, metrics: Metrics, clock: Clock, name_of: NameOf, caller: str, role: str, *, is_here: bool = True
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._name_of = name_of
        self._caller = caller
        self._role = role
        self._is_here = is_here
        # Operation (a name, or a request's class) -> namespace id -> what is counted.
        self._by_operation: dict[str | type, dict[str, Traffic]] = {}
        if caller:  # there from the beginning: an alert on a rate needs the zero
            labels = ("serviceerror_Unavailable", UNKNOWN, UNKNOWN, caller, role)
            metrics.family(series.CLIENT_ERRORS).labels(*labels)

    def follow(self, operation: str | type, namespace_id: str, call: Awaitable[T]) -> Coroutine[Any, Any, T]:
        """`call`, counted."""
        known = self._by_operation.get(operation)
        traffic = known.get(namespace_id) if known is not None else None
        followed = (traffic or self._made(operation, namespace_id)).follow(call)
        spans = self._metrics.spans
        if spans is None or not self._caller:
            return followed
        name = operation if isinstance(operation, str) else operation.__name__
        return spans.follow(f"{self._role}.{name}", self._caller, followed)

    def _made(self, operation: str | type, namespace_id: str) -> Traffic:
        name = operation if isinstance(operation, str) else OPERATIONS.get(operation.__name__, operation.__name__)
        namespace = self._name_of(namespace_id)
        traffic = self._traffic(name, namespace)
        known = self._by_operation.setdefault(operation, {})
        if namespace != UNKNOWN and len(known) < VALUES_MAX:
            known[namespace_id] = traffic
        return traffic

    def _traffic(self, operation: str, namespace: str) -> Traffic:
        if not self._caller:
            return service_traffic(self._metrics, self._clock, self._role, operation, namespace)
        kind = role_traffic if self._is_here else sent_traffic
        return kind(self._metrics, self._clock, self._caller, self._role, operation, namespace)


class MeasuredHistory:
    """A `HistoryRole`."""

    __slots__ = ("_link", "_role")

    def __init__(self, role: HistoryRole, link: _Link) -> None:
        self._role = role
        self._link = link

    def transact(self, key: ChainKey, request: Any, call: Call) -> Coroutine[Any, Any, Any]:
        return self._link.follow(type(request), key.namespace_id, self._role.transact(key, request, call))

    def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> Coroutine[Any, Any, bytes]:
        work = self._role.start_workflow_task(key, request, call)
        return self._link.follow("RecordWorkflowTaskStarted", key.namespace_id, work)

    def complete_workflow_task(
        self, key: ChainKey, request: CompleteWorkflowTask, call: Call
    ) -> Coroutine[Any, Any, bytes]:
        work = self._role.complete_workflow_task(key, request, call)
        return self._link.follow("RespondWorkflowTaskCompleted", key.namespace_id, work)

    def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> Coroutine[Any, Any, bytes]:
        work = self._role.start_activity_task(key, request, call)
        return self._link.follow("RecordActivityTaskStarted", key.namespace_id, work)

    def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> Coroutine[Any, Any, HistoryPage]:
        operation = "PollWorkflowExecutionHistory" if read.wait_new_event else "GetWorkflowExecutionHistory"
        return self._link.follow(operation, key.namespace_id, self._role.read_history(key, read, call))

    def query(
        self, key: ChainKey, request: QueryWorkflowRequest, call: Call
    ) -> Coroutine[Any, Any, QueryWorkflowResponse]:
        return self._link.follow("QueryWorkflow", key.namespace_id, self._role.query(key, request, call))

    def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> Coroutine[Any, Any, UpdateWorkflowExecutionResponse]:
        return self._link.follow("UpdateWorkflowExecution", key.namespace_id, self._role.update(key, request, call))

    def poll_update(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> Coroutine[Any, Any, PollWorkflowExecutionUpdateResponse]:
        work = self._role.poll_update(key, request, call)
        return self._link.follow("PollWorkflowExecutionUpdate", key.namespace_id, work)

    def start_with_update(
        self, key: ChainKey, request: StartWithUpdate, call: Call
    ) -> Coroutine[Any, Any, ExecuteMultiOperationResponse]:
        work = self._role.start_with_update(key, request, call)
        return self._link.follow("ExecuteMultiOperation", key.namespace_id, work)

    def query_task(self, key: ChainKey, task: QueryTask, sticky: bool, call: Call) -> Coroutine[Any, Any, bytes]:
        return self._link.follow("QueryTask", key.namespace_id, self._role.query_task(key, task, sticky, call))

    def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> Coroutine[Any, Any, Pulled]:
        return self._link.follow("PullTasks", partition.namespace_id, self._role.pull(shard, partition, after, limit))


class MeasuredMatching:
    """A `MatchingRole`."""

    __slots__ = ("_link", "_role")

    def __init__(self, role: MatchingRole, link: _Link) -> None:
        self._role = role
        self._link = link

    def offer(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Coroutine[Any, Any, Offered]:
        operation = "AddActivityTask" if partition.kind == QueueKind.ACTIVITY else "AddWorkflowTask"
        return self._link.follow(operation, partition.namespace_id, self._role.offer(partition, offers, backlog))

    def withdraw(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Coroutine[Any, Any, None]:
        work = self._role.withdraw(partition, offers, backlog)
        return self._link.follow("WithdrawTasks", partition.namespace_id, work)

    def poll(self, poll: Poll, call: Call) -> Coroutine[Any, Any, bytes]:
        activity = poll.partition.kind == QueueKind.ACTIVITY
        operation = "PollActivityTaskQueue" if activity else "PollWorkflowTaskQueue"
        return self._link.follow(operation, poll.partition.namespace_id, self._role.poll(poll, call))

    def lend(self, root: QueueKey, demand: Demand, call: Call) -> Coroutine[Any, Any, Supply]:
        return self._link.follow("LendTasks", root.namespace_id, self._role.lend(root, demand, call))

    def query(
        self, partition: QueueKey, task: QueryTask, call: Call
    ) -> Coroutine[Any, Any, RespondQueryTaskCompletedRequest]:
        return self._link.follow("QueryWorkflow", partition.namespace_id, self._role.query(partition, task, call))

    def answer_query(self, token: QueryToken, answer: RespondQueryTaskCompletedRequest) -> Coroutine[Any, Any, None]:
        work = self._role.answer_query(token, answer)
        return self._link.follow("RespondQueryTaskCompleted", token.namespace_id, work)

    def describe(self, partition: QueueKey) -> Coroutine[Any, Any, PartitionView]:
        return self._link.follow("DescribeTaskQueue", partition.namespace_id, self._role.describe(partition))

    def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> Coroutine[Any, Any, None]:
        work = self._role.end_polls(namespace_id, worker_instance_key, sticky_queue)
        return self._link.follow("CancelOutstandingWorkerPolls", namespace_id, work)

    def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> Coroutine[Any, Any, None]:
        work = self._role.release_polls(partition, ids)
        return self._link.follow("CancelOutstandingPoll", partition.namespace_id, work)

    def configure(self, partition: QueueKey, update: UpdateTaskQueueConfigRequest) -> Coroutine[Any, Any, bytes]:
        work = self._role.configure(partition, update)
        return self._link.follow("UpdateTaskQueueConfig", partition.namespace_id, work)

    def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> Coroutine[Any, Any, None]:
        work = self._role.record_workers(namespace_id, heartbeats)
        return self._link.follow("RecordWorkerHeartbeat", namespace_id, work)

    def find_workers(self, namespace_id: str, search: WorkerSearch) -> Coroutine[Any, Any, WorkersFound]:
        return self._link.follow("ListWorkers", namespace_id, self._role.find_workers(namespace_id, search))


def history_for_others(role: HistoryRole, metrics: Metrics, clock: Clock, name_of: NameOf) -> HistoryRole:
    """This process's role as it is served to other processes."""
    return MeasuredHistory(role, _Link(metrics, clock, name_of, "", "history"))


def matching_for_others(role: MatchingRole, metrics: Metrics, clock: Clock, name_of: NameOf) -> MatchingRole:
    """This process's role as it is served to other processes."""
    return MeasuredMatching(role, _Link(metrics, clock, name_of, "", "matching"))


def _all_here(role: object) -> bool:
    return True


class MeasuredDirectory:
    """The directory as `caller` (a service's name) uses it. `is_here`: whether a role is of this process; `lasts`:
    whether the directory may give it again.
    """

    def __init__(
        self,
        directory: Directory,
        metrics: Metrics,
        clock: Clock,
        name_of: NameOf,
        caller: str,
        is_here: Callable[[object], bool] = _all_here,
        lasts: Callable[[object], bool] = _all_here,
    ) -> None:
        self._directory = directory
        self._is_here = is_here
        self._lasts = lasts
        # By whether the role is here.
        self._to_history = [_Link(metrics, clock, name_of, caller, "history", is_here=here) for here in (False, True)]
        self._to_matching = [_Link(metrics, clock, name_of, caller, "matching", is_here=here) for here in (False, True)]
        # By the role itself: callers tell owners apart by identity.
        self._histories: dict[int, tuple[HistoryRole, MeasuredHistory]] = {}
        self._matchings: dict[int, tuple[MatchingRole, MeasuredMatching]] = {}

    def history(self, slot: int) -> HistoryRole:
        """The role that owns the slot's shard. Raises Unavailable while nobody does."""
        return self._history(self._directory.history(slot))

    def history_of_shard(self, shard: str) -> HistoryRole:
        """The role that owns a shard."""
        return self._history(self._directory.history_of_shard(shard))

    def matching(self, partition: QueueKey) -> MatchingRole:
        """The role that owns the partition."""
        role = self._directory.matching(partition)
        known = self._matchings.get(id(role))
        if known is None:
            self._matchings = self._lasting(self._matchings)
            known = self._matchings[id(role)] = role, MeasuredMatching(role, self._to_matching[self._is_here(role)])
        return known[1]

    def _lasting(self, known: dict[int, tuple[T, W]]) -> dict[int, tuple[T, W]]:
        """A role has come, so another one may be gone."""
        return {place: kept for place, kept in known.items() if self._lasts(kept[0])}

    def _history(self, role: HistoryRole) -> HistoryRole:
        known = self._histories.get(id(role))
        if known is None:
            self._histories = self._lasting(self._histories)
            known = self._histories[id(role)] = role, MeasuredHistory(role, self._to_history[self._is_here(role)])
        return known[1]
