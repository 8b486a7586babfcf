"""The contracts between roles. In one process they are method calls, across processes gRPC; no role knows which.

Every method may raise the error tree of `perdure.base.errors`; `Unavailable` means: look the owner up again and repeat.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol

import msgspec
from temporalio.api.enums.v1 import RateLimitSource
from temporalio.api.taskqueue.v1 import PollerInfo
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

from perdure.base.slots import ChainKey
from perdure.workflow.context import Caller
from perdure.workflow.requests import CompleteWorkflowTask, StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind
from perdure.workflow.tokens import QueryToken
from perdure.workflow.update_requests import StartWithUpdate


class Call(msgspec.Struct, frozen=True):
    """What travels with every call between roles. `timeout_ns`: what is left of the caller's deadline, 0 = none.
    `namespace_version`: of the namespace as its sender knows it; who answers must not know an older one. `wait_ns`: who
    would wait for something to answer waits no longer than that, 0 = as long as it likes.
    """

    caller: Caller = Caller()
    timeout_ns: int = 0
    request_id: str = ""
    namespace_version: int = 0
    wait_ns: int = 0

    def longest_ns(self, most_ns: int) -> int:
        """How long who answers may wait, where it would wait for `most_ns`."""
        return min(most_ns, self.wait_ns) if self.wait_ns else most_ns


class HistoryRead(msgspec.Struct, frozen=True):
    """A page of a run's history. `run_id` "" = current. `token`: of the page before. `limit`: events, counted in
    whole batches.
    """

    run_id: str
    limit: int
    token: bytes = b""
    wait_new_event: bool = False
    close_event_only: bool = False
    reverse: bool = False


class HistoryPage(msgspec.Struct, frozen=True):
    """`history`: an encoded temporal.api.history.v1.History. `token` b"" = the end."""

    history: bytes
    token: bytes


class HistoryRole(Protocol):
    """The owner of a chain's shard."""

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        """Decide a request of `perdure.workflow.requests` and commit; the reply is the request's."""
        ...

    async def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> bytes:
        """Start an offered task; an encoded PollWorkflowTaskQueueResponse with token and history."""
        ...

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        """An encoded RespondWorkflowTaskCompletedResponse."""
        ...

    async def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> bytes:
        """Start an offered attempt; an encoded PollActivityTaskQueueResponse."""
        ...

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        """A page of history, or a long poll for one."""
        ...

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        """Answer a query by whatever way is open: direct, or with a workflow task."""
        ...

    async def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        """Admit an update and wait for its stage, for as long as the call and a long poll may take."""
        ...

    async def poll_update(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        """Wait for the stage of an update."""
        ...

    async def start_with_update(
        self, key: ChainKey, request: StartWithUpdate, call: Call
    ) -> ExecuteMultiOperationResponse:
        """Start a workflow, or use the one that runs, and wait for the stage of its update."""
        ...

    async def query_task(self, key: ChainKey, task: "QueryTask", sticky: bool, call: Call) -> bytes:
        """The encoded PollWorkflowTaskQueueResponse that hands a direct query to a worker."""
        ...

    async def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> "Pulled":
        """The next outstanding offers of one shard for a partition."""
        ...


class Pulled(msgspec.Struct, frozen=True):
    """Offers in order, and the shard's figures for the partition."""

    offers: list[Offer]
    backlog: Backlog


class QueryTask(msgspec.Struct, frozen=True):
    """A direct query on its way to a worker. `query` is an encoded WorkflowQuery; `token` leads the answer back.
    `sticky`: the partition is a worker's own, and nobody's polling it is answered at once with StickyUnavailable.
    """

    key: ChainKey
    run_id: str
    query: bytes
    token: QueryToken
    sticky: bool = False


class Offered(msgspec.Struct, frozen=True):
    """`accepted`: the first so many offers were taken; for the rest matching will pull. `sticky_unavailable`: none
    was, nobody polls this sticky queue; offer on the normal one.
    """

    accepted: int
    sticky_unavailable: bool = False


class Poll(msgspec.Struct, frozen=True):
    """A worker that waits. `normal_queue`: the normal queue's name if `partition` is sticky. `timeout_ns`: answer
    empty by then. `id`: no other poll's, or "", which can't be released.
    """

    partition: QueueKey
    identity: str
    timeout_ns: int
    normal_queue: str = ""
    worker_instance_key: str = ""
    max_tasks_per_second: float | None = None
    capabilities: bytes = b""  # WorkerVersionCapabilities
    deployment_options: bytes = b""
    partitions: int = 0  # that the queue has, as far as the caller knows; 0 = it knows nothing of partitions
    id: str = ""


class Outcome(IntEnum):
    """What became of a task that a branch was lent: `LATER` its chain can't be reached now, `FAILED` nobody knows
    why, `BACK` nobody has tried, or whoever did is gone.
    """

    STARTED = 1
    OBSOLETE = 2
    LATER = 3
    FAILED = 4
    BACK = 5


class Return(msgspec.Struct, frozen=True, array_like=True):
    """A loan is over. `root`, `number`: which. `request_id`: of a start whose outcome is not known."""

    root: str
    number: int
    outcome: Outcome
    request_id: str = ""
    failures: int = 0


class Demand(msgspec.Struct, frozen=True, array_like=True):
    """What a branch wants of its root. `branch`: which it is, `life`: of its loading, `number`: of this demand.

    `wants`: so many polls wait, 0 = it only returns. `lost`: the demands whose answers never came. `limit`: of the
    newest poll since the last demand, in tasks a second, infinite if that had none; None if there was no poll.
    """

    branch: int
    life: str
    number: int
    wants: int
    partitions: int
    returns: list[Return] = []
    lost: list[int] = []
    limit: float | None = None


class Loan(msgspec.Struct, frozen=True, array_like=True):
    """A task for a branch to start. `request_id`, `failures`: of attempts before."""

    number: int
    offer: Offer
    from_backlog: bool
    request_id: str = ""
    failures: int = 0


class Supply(msgspec.Struct, frozen=True, array_like=True):
    """What a root has for a branch. `root`: of its loading. `partitions`: how many the queue has; a branch that is
    none of them ends. The rest is what workers are advised by.
    """

    root: str
    partitions: int
    loans: list[Loan] = []
    backlog_count: int = 0
    backlog_age_ns: int = 0
    add_rate: float = 0.0
    dispatch_rate: float = 0.0
    is_held_back: bool = False


class PriorityView(msgspec.Struct):
    """What waits at one priority, and how many tasks a second come and go there."""

    backlog_count: int = 0
    backlog_age_ns: int = 0
    add_rate: float = 0.0
    dispatch_rate: float = 0.0


class PartitionView(msgspec.Struct, frozen=True):
    """What DescribeTaskQueue tells of one partition.

    `priorities`: those that have anything to tell; they add up to the figures of the whole. `rate`: the limit in
    force in tasks a second, None = none; `rate_source`: temporal.api.enums.v1.RateLimitSource. `is_held_back`: the
    limit made tasks wait lately. `config`: TaskQueueConfig, encoded; b"" if nobody ever set one. `partitions`: of the
    queue; all figures are the root's, but the branches know who polls there.
    """

    pollers: list[PollerInfo]
    backlog_count: int
    backlog_age_ns: int
    add_rate: float = 0.0
    dispatch_rate: float = 0.0
    priorities: dict[int, PriorityView] = {}
    rate: float | None = None
    rate_source: int = RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
    is_held_back: bool = False
    config: bytes = b""
    partitions: int = 1


class WorkerSearch(msgspec.Struct, frozen=True):
    """Which workers of a namespace. `key`: the one of this instance key; else those of `query` (a filter over the
    fields of heartbeats), up to `limit` beyond `after` by instance key. `internal`: the server's own workers too.
    """

    query: str = ""
    key: str | None = None
    internal: bool = False
    after: str = ""
    limit: int = 0


class WorkersFound(msgspec.Struct, frozen=True):
    """`heartbeats`: WorkerHeartbeat messages, encoded, by instance key. `total`: how many the query finds in all."""

    heartbeats: list[bytes]
    total: int
    more: bool = False


def registry_of(namespace_id: str) -> QueueKey:
    """The address of a namespace's workers among the partitions: whoever owns it knows them."""
    return QueueKey(namespace_id, "", QueueKind.WORKFLOW)


class MatchingRole(Protocol):
    """The owner of a task-queue partition."""

    async def offer(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Offered:
        """References to outstanding tasks of one shard, in order."""
        ...

    async def withdraw(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        """These references are void."""
        ...

    async def poll(self, poll: Poll, call: Call) -> bytes:
        """Wait for a task: the encoded poll response, b"" when time is over. Cancelling gives the place up. Raises
        QueueSpread if the queue has another number of partitions.
        """
        ...

    async def lend(self, root: QueueKey, demand: Demand, call: Call) -> Supply:
        """Take what a branch returns, and wait for tasks for its polls; none when time is over."""
        ...

    async def query(self, partition: QueueKey, task: QueryTask, call: Call) -> RespondQueryTaskCompletedRequest:
        """Hand a query to a worker and wait for its answer. Raises DeadlineExceeded; Unavailable if nobody polls a
        sticky queue.
        """
        ...

    async def answer_query(self, token: QueryToken, answer: RespondQueryTaskCompletedRequest) -> None:
        """A worker's answer. Raises NotFound if nobody waits for it."""
        ...

    async def describe(self, partition: QueueKey) -> PartitionView:
        """Who polls, and how much waits."""
        ...

    async def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        """ShutdownWorker: the instance's polls get empty answers, now and for the next 30 s; its sticky partition is
        unloaded.
        """
        ...

    async def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> None:
        """These polls are over: each is answered with the task that it got, or empty. Ids that aren't known are passed
        over.
        """
        ...

    async def configure(self, partition: QueueKey, update: UpdateTaskQueueConfigRequest) -> bytes:
        """Change what operators set for a queue; the TaskQueueConfig as it is then, encoded."""
        ...

    async def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> None:
        """Workers told of themselves; asked of the owner of `registry_of(namespace_id)`. Raises ResourceExhausted."""
        ...

    async def find_workers(self, namespace_id: str, search: WorkerSearch) -> WorkersFound:
        """What workers told last; asked of the same owner. Raises InvalidArgument for a query that can't be read."""
        ...


class Directory(Protocol):
    """Who owns what, as far as this process knows; a stale answer costs a refused call, never a wrong commit."""

    def history(self, slot: int) -> HistoryRole:
        """The role that owns the slot's shard. Raises Unavailable while nobody does."""
        ...

    def history_of_shard(self, shard: str) -> HistoryRole:
        """The role that owns a shard."""
        ...

    def matching(self, partition: QueueKey) -> MatchingRole:
        """The role that owns the partition."""
        ...
