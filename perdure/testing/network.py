"""The network between the roles of a host, and between callers and it: calls that are delayed, lost or made twice.

Invariant: the same seed and the same calls give the same faults. A caller whose call was lost gets `Unavailable`,
whether the request or the reply was; the reply of a duplicate is thrown away. Knows nothing of what a call means.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
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

from perdure.base.clock import Clock
from perdure.base.errors import (
    HostUnreachable,
    PartitionElsewhere,
    PerdureError,
    QueueSpread,
    ShardElsewhere,
    Unavailable,
)
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
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
from perdure.testing.entropy import SeededEntropy
from perdure.workflow.requests import CompleteWorkflowTask, StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Backlog, Offer, QueueKey
from perdure.workflow.tokens import QueryToken
from perdure.workflow.update_requests import StartWithUpdate

T = TypeVar("T")
# Nothing was done.
_CERTAIN = (ShardElsewhere, PartitionElsewhere, HostUnreachable, QueueSpread)


class Trouble(StrEnum):
    """What may happen to a call."""

    DELAYED = "delayed"
    """The request comes later."""
    LATE_REPLY = "late_reply"
    """The reply comes later."""
    LOST_REQUEST = "lost_request"
    """Nothing is done."""
    LOST_REPLY = "lost_reply"
    """It is done, the caller does not hear of it."""
    TWICE = "twice"
    """It is done, and later it is asked for again."""


class NetworkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The chance of each trouble for one call, in [0, 1]; their sum is at most 1. `delay_s_max` in virtual seconds."""

    delayed: float = 0.0
    late_reply: float = 0.0
    lost_request: float = 0.0
    lost_reply: float = 0.0
    twice: float = 0.0
    delay_s_max: float = 3.0


CALM = NetworkPlan()
_DRAWN = tuple(Trouble)


class Network:
    """One network. `at_mark` is told before and after each call of what is being done; it may end the host.

    `replies_lost`: (workflow id, when), of the calls whose caller may be wrong about what they did. `repeated`: the
    workflow ids about which a call was made twice, the second time out of order.
    """

    def __init__(self, entropy: SeededEntropy, clock: Clock, plan: NetworkPlan = CALM) -> None:
        self.plan = plan
        self.fired: Counter[Trouble] = Counter()
        self.replies_lost: list[tuple[str, int]] = []
        self.repeated: set[str] = set()
        self.at_mark: Callable[[str], None] = lambda mark: None
        self._entropy = entropy
        self._clock = clock
        self._background = Background(lambda error: None)

    def heal(self) -> None:
        """No further trouble. What is on its way still arrives."""
        self.plan = CALM

    async def call(self, name: str, do: Callable[[], Awaitable[T]], workflow_id: str = "") -> T:
        """One call, with whatever befalls it."""
        self.at_mark(f"before {name}")
        trouble = self._draw()
        done = partial(self._noted, do, workflow_id)
        if trouble is None:
            reply = await done()
        else:
            self.fired[trouble] += 1
            reply = await self._troubled(trouble, name, done, workflow_id)
        self.at_mark(f"after {name}")
        return reply

    async def _noted(self, do: Callable[[], Awaitable[T]], workflow_id: str) -> T:
        """Do it. Who is told that it may have been done may ask again, and hear what is right after it was."""
        try:
            return await do()
        except _CERTAIN:
            raise
        except Unavailable:
            if workflow_id:
                self.replies_lost.append((workflow_id, self._clock.now_ns()))
            raise

    async def _troubled(self, trouble: Trouble, name: str, do: Callable[[], Awaitable[T]], workflow_id: str) -> T:
        delay_s = self._entropy.fraction() * self.plan.delay_s_max
        if trouble is Trouble.DELAYED:
            await asyncio.sleep(delay_s)
            return await do()
        if trouble is Trouble.LOST_REQUEST:
            await asyncio.sleep(delay_s)
            raise Unavailable(f"Injected: the request {name} was lost.")
        reply = await do()
        if trouble is Trouble.TWICE:
            self.repeated.add(workflow_id)
            self._background.spawn(self._again(do, delay_s), f"{name} again")
            return reply
        if trouble is Trouble.LOST_REPLY:
            self.replies_lost.append((workflow_id, self._clock.now_ns()))
            raise Unavailable(f"Injected: the reply of {name} was lost.")
        await asyncio.sleep(delay_s)
        return reply

    async def _again(self, do: Callable[[], Awaitable[Any]], delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        with suppress(PerdureError):
            await do()

    def _draw(self) -> Trouble | None:
        if self.plan is CALM:
            return None
        left = self._entropy.fraction()
        for trouble in _DRAWN:
            left -= getattr(self.plan, trouble.value)
            if left < 0:
                return trouble
        return None


class NetworkDirectory:
    """A directory whose roles are reached over a network."""

    def __init__(self, inner: Directory, network: Network) -> None:
        self._inner = inner
        self._network = network

    def history(self, slot: int) -> HistoryRole:
        """`perdure.cluster.roles.Directory`."""
        return RemoteHistory(self._inner.history(slot), self._network.call)

    def history_of_shard(self, shard: str) -> HistoryRole:
        """`perdure.cluster.roles.Directory`."""
        return RemoteHistory(self._inner.history_of_shard(shard), self._network.call)

    def matching(self, partition: QueueKey) -> MatchingRole:
        """`perdure.cluster.roles.Directory`."""
        return RemoteMatching(self._inner.matching(partition), self._network.call)


class Calling(Protocol):
    """How a call reaches its role: by its name for the marks, and the workflow id it is about."""

    def __call__(self, name: str, do: Callable[[], Awaitable[T]], workflow_id: str = "") -> Awaitable[T]:
        """Make the call."""
        ...


class RemoteHistory:
    """`HistoryRole` over a network."""

    def __init__(self, role: HistoryRole, call: Calling) -> None:
        self._role = role
        self._call = call

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        return await self._call("transact", lambda: self._role.transact(key, request, call), key.workflow_id)

    async def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> bytes:
        return await self._call("start", lambda: self._role.start_workflow_task(key, request, call), key.workflow_id)

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        return await self._call(
            "complete", lambda: self._role.complete_workflow_task(key, request, call), key.workflow_id
        )

    async def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> bytes:
        return await self._call("start", lambda: self._role.start_activity_task(key, request, call), key.workflow_id)

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        return await self._call("read", lambda: self._role.read_history(key, read, call), key.workflow_id)

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        return await self._call("query", lambda: self._role.query(key, request, call), key.workflow_id)

    async def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        return await self._call("update", lambda: self._role.update(key, request, call), key.workflow_id)

    async def poll_update(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        return await self._call("update", lambda: self._role.poll_update(key, request, call), key.workflow_id)

    async def start_with_update(
        self, key: ChainKey, request: StartWithUpdate, call: Call
    ) -> ExecuteMultiOperationResponse:
        return await self._call("update", lambda: self._role.start_with_update(key, request, call), key.workflow_id)

    async def query_task(self, key: ChainKey, task: QueryTask, sticky: bool, call: Call) -> bytes:
        return await self._call("query", lambda: self._role.query_task(key, task, sticky, call), key.workflow_id)

    async def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> Pulled:
        return await self._call("pull", lambda: self._role.pull(shard, partition, after, limit))


class RemoteMatching:
    """`MatchingRole` over a network."""

    def __init__(self, role: MatchingRole, call: Calling) -> None:
        self._role = role
        self._call = call

    async def offer(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Offered:
        return await self._call("offer", lambda: self._role.offer(partition, offers, backlog))

    async def withdraw(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        await self._call("withdraw", lambda: self._role.withdraw(partition, offers, backlog))

    async def poll(self, poll: Poll, call: Call) -> bytes:
        return await self._call("poll", lambda: self._role.poll(poll, call))

    async def lend(self, root: QueueKey, demand: Demand, call: Call) -> Supply:
        return await self._call("lend", lambda: self._role.lend(root, demand, call))

    async def query(self, partition: QueueKey, task: QueryTask, call: Call) -> RespondQueryTaskCompletedRequest:
        return await self._call("query", lambda: self._role.query(partition, task, call))

    async def answer_query(self, token: QueryToken, answer: RespondQueryTaskCompletedRequest) -> None:
        await self._call("answer", lambda: self._role.answer_query(token, answer))

    async def describe(self, partition: QueueKey) -> PartitionView:
        return await self._call("describe", lambda: self._role.describe(partition))

    async def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        await self._call("end", lambda: self._role.end_polls(namespace_id, worker_instance_key, sticky_queue))

    async def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> None:
        await self._call("end", lambda: self._role.release_polls(partition, ids))

    async def configure(self, partition: QueueKey, update: UpdateTaskQueueConfigRequest) -> bytes:
        return await self._call("configure", lambda: self._role.configure(partition, update))

    async def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> None:
        await self._call("workers", lambda: self._role.record_workers(namespace_id, heartbeats))

    async def find_workers(self, namespace_id: str, search: WorkerSearch) -> WorkersFound:
        return await self._call("workers", lambda: self._role.find_workers(namespace_id, search))
