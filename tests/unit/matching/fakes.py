"""What matching talks to, as values in memory: shards with outstanding offers, a directory, and virtual time."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
)

from perdure.base.errors import NotFound, Unavailable
from perdure.base.limits import Limits
from perdure.base.metrics import Metrics
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, HistoryPage, HistoryRead, HistoryRole, MatchingRole, Poll, Pulled, QueryTask
from perdure.matching.bounds import Bounds, Room
from perdure.matching.measured import QueueMeters
from perdure.matching.service import MatchingService
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import CompleteWorkflowTask, StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind, lane_key, lane_of

SECOND = 1_000_000_000
WORK = QueueKey("ns", "queue", QueueKind.WORKFLOW)
ACTIVITY = QueueKey("ns", "queue", QueueKind.ACTIVITY)
STICKY = QueueKey("ns", "worker-1", QueueKind.WORKFLOW)

Start = StartWorkflowTask | StartActivityTask


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs an async test on a virtual-time loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        run_virtual(test())

    return run


async def pass_time(seconds: float) -> None:
    """Let virtual time go on; everything that is due runs."""
    loop = running_loop()
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done


def offer(
    n: int, queue: QueueKey = WORK, *, sticky: str = "", priority: int = 3, key: str = "", weight: float = 1.0
) -> Offer:
    """The `n`th task of a queue: later numbers were scheduled later. `key`: it counts for this fairness key."""
    queue = lane_key(queue, lane_of(key))
    chain = ChainKey("ns", f"wf-{n}")
    return Offer(chain, f"run-{n}", queue, 2, 1, 0, n, sticky, priority, fairness_key=key, fairness_weight=weight)


def figures(count: int = 1, shard: str = "s1", epoch: int = 1, oldest_ns: int = 0) -> Backlog:
    return Backlog(shard, epoch, count, oldest_ns)


def poll(partition: QueueKey = WORK, identity: str = "w", **options: Any) -> Poll:
    return Poll(partition, identity, options.pop("timeout_ns", 70 * SECOND), **options)


class FakeHistory:
    """Every shard's owner. `on_start` decides what a start does; by default it succeeds."""

    def __init__(self) -> None:
        self.starts: list[Start] = []
        self.outstanding: dict[str, list[Offer]] = {}
        self.pulls: list[tuple[str, Offer | None, int]] = []
        self.on_start: Callable[[Start], Awaitable[None]] | None = None
        self.on_query: Callable[[QueryTask, bool], Awaitable[None]] | None = None
        self.on_pull: Callable[[str], Awaitable[None]] | None = None

    async def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> bytes:
        await self._start(request)
        return PollWorkflowTaskQueueResponse(task_token=key.workflow_id.encode(), attempt=1).SerializeToString()

    async def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> bytes:
        await self._start(request)
        return PollActivityTaskQueueResponse(task_token=key.workflow_id.encode()).SerializeToString()

    async def _start(self, request: Start) -> None:
        self.starts.append(request)
        if self.on_start is not None:
            await self.on_start(request)
        for offers in self.outstanding.values():
            if request.offer in offers:
                offers.remove(request.offer)

    async def query_task(self, key: ChainKey, task: QueryTask, sticky: bool, call: Call) -> bytes:
        if self.on_query is not None:
            await self.on_query(task, sticky)
        return PollWorkflowTaskQueueResponse(task_token=b"query " + task.query).SerializeToString()

    async def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> Pulled:
        self.pulls.append((shard, after, limit))
        if self.on_pull is not None:
            await self.on_pull(shard)
        listed = [entry for entry in self.outstanding[shard] if entry.queue.version == partition.version]
        offers = sorted(listed, key=lambda entry: entry.order)
        page = [entry for entry in offers if after is None or entry.order > after.order][:limit]
        return Pulled(page, figures(len(offers), shard))

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        raise NotFound("not part of these tests")

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        raise NotFound("not part of these tests")

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        raise NotFound("not part of these tests")

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        raise NotFound("not part of these tests")

    async def update(self, key: ChainKey, request: Any, call: Call) -> Any:
        raise NotFound("not part of these tests")

    async def poll_update(self, key: ChainKey, request: Any, call: Call) -> Any:
        raise NotFound("not part of these tests")

    async def start_with_update(self, key: ChainKey, request: Any, call: Call) -> Any:
        raise NotFound("not part of these tests")


class FakeDirectory:
    """One history role owns everything."""

    def __init__(self, history: HistoryRole) -> None:
        self._history = history

    def history(self, slot: int) -> HistoryRole:
        return self._history

    def history_of_shard(self, shard: str) -> HistoryRole:
        return self._history

    def matching(self, partition: QueueKey) -> MatchingRole:
        raise Unavailable("matching asks nobody for matching")


class World:
    """A matching service over a fake history role, on the running virtual loop."""

    def __init__(self, limits: Limits | None = None, bounds: Bounds | None = None, room: Room | None = None) -> None:
        loop = running_loop()
        self.history = FakeHistory()
        self.errors: list[BaseException] = []
        self.metrics = Metrics()
        self.meters = QueueMeters(self.metrics, lambda _: "space")
        self.matching = MatchingService(
            FakeDirectory(self.history),
            loop.clock,
            loop.entropy,
            limits or Limits(),
            self.errors.append,
            room or Room(each=bounds or Bounds()),
            self.meters,
        )

    def poll(self, asked: Poll | None = None) -> asyncio.Task[bytes]:
        """A poll that goes on beside the test."""
        return running_loop().create_task(self.matching.poll(asked or poll(), Call()))

    async def waiting_poll(self, asked: Poll | None = None) -> asyncio.Task[bytes]:
        """A poll that waits already."""
        task = self.poll(asked)
        await pass_time(0.001)
        return task


def task_of(answer: bytes) -> str:
    """The workflow id a poll's answer is for, or the query it carries."""
    return PollWorkflowTaskQueueResponse.FromString(answer).task_token.decode()


def answer_of(answer: bytes) -> PollWorkflowTaskQueueResponse:
    return PollWorkflowTaskQueueResponse.FromString(answer)
