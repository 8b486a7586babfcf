"""The roles of whoever is the owner: each call finds it, and follows what it is asked about when that has moved.

Invariants: a call that is sent on has as much less time as it has spent. Holds nothing but the directory that knows the
owners; which calls are repeated is decided there, and by callers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
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

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.slots import ChainKey
from perdure.cluster.roles import (
    Call,
    Demand,
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
    registry_of,
)
from perdure.workflow.requests import CompleteWorkflowTask, StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind
from perdure.workflow.tokens import QueryToken
from perdure.workflow.update_requests import StartWithUpdate

T = TypeVar("T")


class Owners(Protocol):
    """What carries a call to an owner, and after it."""

    async def on_slot(self, slot: int, act: Callable[[HistoryRole], Awaitable[T]]) -> T:
        """`act` on the owner of the slot's shard."""
        ...

    async def on_shard_id(self, shard: str, act: Callable[[HistoryRole], Awaitable[T]]) -> T:
        """`act` on the owner of the shard."""
        ...

    async def on_partition(
        self, partition: QueueKey, act: Callable[[MatchingRole], Awaitable[T]], first: str = ""
    ) -> T:
        """`act` on the owner of the partition, `first` at this host."""
        ...

    def matching_at(self, host: str) -> MatchingRole:
        """The matching role of this host."""
        ...


class Timed:
    """A call's time, as it is used up."""

    __slots__ = ("_begun_s", "_call", "_loop")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._begun_s = self._loop.time()

    @property
    def spent_ns(self) -> int:
        """Since it began."""
        return int((self._loop.time() - self._begun_s) * SECOND_NS)

    def call(self) -> Call:
        """The call, with what is left of its time."""
        spent_ns = self.spent_ns
        if not self._call.timeout_ns or spent_ns < MS_NS:
            return self._call
        return msgspec.structs.replace(self._call, timeout_ns=max(1, self._call.timeout_ns - spent_ns))

    def part_s(self, most_s: float) -> float:
        """What one of those whom the call needs may take: `most_s`, or half of what is left if that is less."""
        left_ns = self.call().timeout_ns
        return min(most_s, left_ns / SECOND_NS / 2) if left_ns else most_s

    def poll(self, poll: Poll) -> Poll | None:
        """The poll, with what is left of its time; None if that is over."""
        spent_ns = self.spent_ns
        if spent_ns < MS_NS:
            return poll
        left_ns = poll.timeout_ns - spent_ns
        return msgspec.structs.replace(poll, timeout_ns=left_ns) if left_ns > 0 else None


class RoutedHistory:
    """A `HistoryRole`: that of the owner."""

    __slots__ = ("_owners",)

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.transact(key, request, timed.call()))

    async def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> bytes:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.start_workflow_task(key, request, timed.call()))

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        timed = Timed(call)
        return await self._owners.on_slot(
            key.slot, lambda role: role.complete_workflow_task(key, request, timed.call())
        )

    async def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> bytes:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.start_activity_task(key, request, timed.call()))

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.read_history(key, read, timed.call()))

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.query(key, request, timed.call()))

    async def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.update(key, request, timed.call()))

    async def poll_update(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.poll_update(key, request, timed.call()))

    async def start_with_update(
        self, key: ChainKey, request: StartWithUpdate, call: Call
    ) -> ExecuteMultiOperationResponse:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.start_with_update(key, request, timed.call()))

    async def query_task(self, key: ChainKey, task: QueryTask, sticky: bool, call: Call) -> bytes:
        timed = Timed(call)
        return await self._owners.on_slot(key.slot, lambda role: role.query_task(key, task, sticky, timed.call()))

    async def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> Pulled:
        return await self._owners.on_shard_id(shard, lambda role: role.pull(shard, partition, after, limit))


class RoutedMatching:
    """A `MatchingRole`: that of `host`, and of whoever has the partition if it hasn't."""

    __slots__ = ("_host", "_owners")

    def __init__(self, owners: Owners, host: str) -> None:
        self._owners = owners
        self._host = host

    async def offer(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Offered:
        return await self._on(partition, lambda role: role.offer(partition, offers, backlog))

    async def withdraw(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        await self._on(partition, lambda role: role.withdraw(partition, offers, backlog))

    async def poll(self, poll: Poll, call: Call) -> bytes:
        timed = Timed(call)

        async def wait(role: MatchingRole) -> bytes:
            rest = timed.poll(poll)
            return await role.poll(rest, timed.call()) if rest is not None else b""

        return await self._on(poll.partition, wait)

    async def lend(self, root: QueueKey, demand: Demand, call: Call) -> Supply:
        timed = Timed(call)
        return await self._on(root, lambda role: role.lend(root, demand, timed.call()))

    async def query(self, partition: QueueKey, task: QueryTask, call: Call) -> RespondQueryTaskCompletedRequest:
        timed = Timed(call)
        return await self._on(partition, lambda role: role.query(partition, task, timed.call()))

    async def answer_query(self, token: QueryToken, answer: RespondQueryTaskCompletedRequest) -> None:
        partition = QueueKey(token.namespace_id, token.task_queue, QueueKind.WORKFLOW)
        await self._on(partition, lambda role: role.answer_query(token, answer))

    async def describe(self, partition: QueueKey) -> PartitionView:
        return await self._on(partition, lambda role: role.describe(partition))

    async def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        """Of this host, wherever the partitions are."""
        await self._owners.matching_at(self._host).end_polls(namespace_id, worker_instance_key, sticky_queue)

    async def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> None:
        await self._on(partition, lambda role: role.release_polls(partition, ids))

    async def configure(self, partition: QueueKey, update: UpdateTaskQueueConfigRequest) -> bytes:
        return await self._on(partition, lambda role: role.configure(partition, update))

    async def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> None:
        await self._on(registry_of(namespace_id), lambda role: role.record_workers(namespace_id, heartbeats))

    async def find_workers(self, namespace_id: str, search: WorkerSearch) -> WorkersFound:
        return await self._on(registry_of(namespace_id), lambda role: role.find_workers(namespace_id, search))

    async def _on(self, partition: QueueKey, act: Callable[[MatchingRole], Awaitable[T]]) -> T:
        return await self._owners.on_partition(partition, act, self._host)
