"""The Protocols of the roles, answered by another host. Each method sends its arguments and returns what comes back.

Invariant: a call takes no longer than its caller has time; one whose caller has no limit takes no longer than `SHORT_S`
where the answer is a matter of the store, `LONG_S` where it may wait for a worker or for news, and `RESHAPE_S` where a
shard's owner has to rewrite it. Holds nothing but an address.
"""

from collections.abc import Sequence
from typing import Any, Protocol

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

from perdure.base.clock import SECOND_NS
from perdure.base.slots import ChainKey
from perdure.cluster.roles import (
    Call,
    Demand,
    HistoryPage,
    HistoryRead,
    Offered,
    PartitionView,
    Poll,
    Pulled,
    QueryTask,
    Supply,
    WorkerSearch,
    WorkersFound,
)
from perdure.cluster.shard_host import ShardView
from perdure.rpc.role_methods import HISTORY, MATCHING, SHARD_HOST, RoleMethod
from perdure.workflow.requests import CompleteWorkflowTask, StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Backlog, Offer, QueueKey
from perdure.workflow.tokens import QueryToken
from perdure.workflow.update_requests import StartWithUpdate

SHORT_S = 30.0
LONG_S = 90.0
RESHAPE_S = 300.0
_NO_LIMIT = Call()


class Calls(Protocol):
    """What carries a call."""

    async def call(
        self, address: str, method: RoleMethod, arguments: tuple[Any, ...], limits_s: tuple[float, float]
    ) -> Any:
        """What the method answers there; `limits_s`: of the caller, 0 = none, and the most without one."""
        ...


class _Remote:
    __slots__ = ("_address", "_calls")
    methods: dict[str, RoleMethod]

    def __init__(self, calls: Calls, address: str) -> None:
        self._calls = calls
        self._address = address

    async def _ask(self, method: str, *arguments: Any, call: Call = _NO_LIMIT, most_s: float = SHORT_S) -> Any:
        limits = (call.timeout_ns / SECOND_NS, most_s)
        return await self._calls.call(self._address, self.methods[method], arguments, limits)


class RemoteHistory(_Remote):
    """`HistoryRole` at an address."""

    __slots__ = ()
    methods = HISTORY

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        # A request may wait for news, as `PollForward` does.
        return await self._ask("transact", key, request, call, call=call, most_s=LONG_S)

    async def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> bytes:
        reply: bytes = await self._ask("start_workflow_task", key, request, call, call=call)
        return reply

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        reply: bytes = await self._ask("complete_workflow_task", key, request, call, call=call)
        return reply

    async def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> bytes:
        reply: bytes = await self._ask("start_activity_task", key, request, call, call=call)
        return reply

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        reply: HistoryPage = await self._ask("read_history", key, read, call, call=call, most_s=LONG_S)
        return reply

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        reply: QueryWorkflowResponse = await self._ask("query", key, request, call, call=call, most_s=LONG_S)
        return reply

    async def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        reply: UpdateWorkflowExecutionResponse = await self._ask("update", key, request, call, call=call, most_s=LONG_S)
        return reply

    async def poll_update(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        reply: PollWorkflowExecutionUpdateResponse = await self._ask(
            "poll_update", key, request, call, call=call, most_s=LONG_S
        )
        return reply

    async def start_with_update(
        self, key: ChainKey, request: StartWithUpdate, call: Call
    ) -> ExecuteMultiOperationResponse:
        reply: ExecuteMultiOperationResponse = await self._ask(
            "start_with_update", key, request, call, call=call, most_s=LONG_S
        )
        return reply

    async def query_task(self, key: ChainKey, task: QueryTask, sticky: bool, call: Call) -> bytes:
        reply: bytes = await self._ask("query_task", key, task, sticky, call, call=call)
        return reply

    async def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> Pulled:
        reply: Pulled = await self._ask("pull", shard, partition, after, limit)
        return reply


class RemoteMatching(_Remote):
    """`MatchingRole` at an address."""

    __slots__ = ()
    methods = MATCHING

    async def offer(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Offered:
        reply: Offered = await self._ask("offer", partition, offers, backlog)
        return reply

    async def withdraw(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        await self._ask("withdraw", partition, offers, backlog)

    async def poll(self, poll: Poll, call: Call) -> bytes:
        reply: bytes = await self._ask(
            "poll", poll, call, call=call, most_s=max(0, poll.timeout_ns) / SECOND_NS + LONG_S
        )
        return reply

    async def lend(self, root: QueueKey, demand: Demand, call: Call) -> Supply:
        reply: Supply = await self._ask("lend", root, demand, call, call=call, most_s=LONG_S)
        return reply

    async def query(self, partition: QueueKey, task: QueryTask, call: Call) -> RespondQueryTaskCompletedRequest:
        reply: RespondQueryTaskCompletedRequest = await self._ask(
            "query", partition, task, call, call=call, most_s=LONG_S
        )
        return reply

    async def answer_query(self, token: QueryToken, answer: RespondQueryTaskCompletedRequest) -> None:
        await self._ask("answer_query", token, answer)

    async def describe(self, partition: QueueKey) -> PartitionView:
        reply: PartitionView = await self._ask("describe", partition)
        return reply

    async def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        await self._ask("end_polls", namespace_id, worker_instance_key, sticky_queue)

    async def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> None:
        await self._ask("release_polls", partition, ids)

    async def configure(self, partition: QueueKey, update: UpdateTaskQueueConfigRequest) -> bytes:
        reply: bytes = await self._ask("configure", partition, update)
        return reply

    async def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> None:
        await self._ask("record_workers", namespace_id, heartbeats)

    async def find_workers(self, namespace_id: str, search: WorkerSearch) -> WorkersFound:
        reply: WorkersFound = await self._ask("find_workers", namespace_id, search)
        return reply


class RemoteShardHost(_Remote):
    """`ShardHost` at an address."""

    __slots__ = ()
    methods = SHARD_HOST

    async def let_go(self, host: str, shard: str, epoch: int, view: int) -> None:
        await self._ask("let_go", host, shard, epoch, view)

    async def list_shards(self) -> list[ShardView]:
        reply: list[ShardView] = await self._ask("list_shards")
        return reply

    async def split(self, shard: str, parts: int) -> list[str]:
        reply: list[str] = await self._ask("split", shard, parts, most_s=RESHAPE_S)
        return reply

    async def merge(self, shards: Sequence[str]) -> str:
        reply: str = await self._ask("merge", shards, most_s=RESHAPE_S)
        return reply
