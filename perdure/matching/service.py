"""The matching role in one process: it owns whatever partitions it is asked for, unless it follows a membership.

Invariant: a partition exists while something is held, awaited or lately seen there, and its memory and that of all
together is bounded. One that is another host's is forgotten: its polls and queries go there, and shards offer there.
Which process owns which partition, and what a task means, is decided elsewhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import msgspec
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest, UpdateTaskQueueConfigRequest

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import NotFound, QueueSpread, ResourceExhausted, StickyUnavailable, Unavailable
from perdure.base.limits import LimitsSource
from perdure.base.tasks import Background
from perdure.cluster.branches import branch_of, root_of
from perdure.cluster.members import View
from perdure.cluster.membership import Watched
from perdure.cluster.queue_configs import QueueConfigs
from perdure.cluster.roles import (
    Call,
    Demand,
    Directory,
    MatchingRole,
    Offered,
    PartitionView,
    Poll,
    QueryTask,
    Supply,
    WorkerSearch,
    WorkersFound,
    registry_of,
)
from perdure.matching.allowance import Allowance
from perdure.matching.bounds import Room
from perdure.matching.measured import QueueMeters
from perdure.matching.owning import GUEST_NS, Ownership
from perdure.matching.partition import Partition
from perdure.matching.surroundings import Surroundings
from perdure.matching.waiting import Question, Waiter
from perdure.matching.workers import Workers
from perdure.workflow.tasks import Backlog, Offer, QueueKey, QueueKind, unlaned
from perdure.workflow.tokens import QueryToken

# After ShutdownWorker: `service/matching/matching_engine.go`, shutdownWorkers.
SHUTDOWN_NS = 30 * SECOND_NS
INSTANCES_MAX = 10_000
_SWEEP_NS = 60 * SECOND_NS
# Whoever waits for that has not much more patience.
_BRANCHES_S = 2.0

_Instance = tuple[str, str]  # namespace id, worker instance key


class MatchingService:
    """Implements `MatchingRole`. Construct it anywhere; use it on one loop; `close` it there. `configs`: to be opened
    if operators may set anything.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        entropy: Entropy,
        limits: LimitsSource,
        on_error: Callable[[BaseException], None],
        room: Room | None = None,
        meters: QueueMeters | None = None,
    ) -> None:
        self._clock = clock
        self._meters = meters = meters or QueueMeters()
        self._background = Background(on_error)
        room = room or Room()
        self.configs = QueueConfigs()
        self._around = Surroundings(
            directory,
            clock,
            entropy,
            limits,
            room.each,
            room,
            self._background,
            on_error,
            meters,
            self.configs,
            lambda: self._ownership.hosts if self._ownership is not None else 1,
            self._end_branch,
        )
        meters.on_read(lambda: [partition.look() for partition in self._partitions.values()])
        self._workers = Workers()
        self._partitions: dict[QueueKey, Partition] = {}
        self._allowance = Allowance(limits, meters.name_of)
        self._instances: dict[_Instance, set[Waiter]] = {}
        self._by_id: dict[str, Waiter] = {}
        self._shut_down: dict[_Instance, int] = {}  # until when, in order
        self._questions: dict[QueryToken, Question] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._ownership: Ownership | None = None
        self._unfollow: Callable[[], None] | None = None
        self._guests: dict[QueueKey, asyncio.TimerHandle] = {}

    def follow(self, membership: Watched) -> None:
        """From now on have only the partitions that the members' view gives this host; on its loop."""
        self._ownership = Ownership(membership, self._clock)
        self._allowance.see(membership.view)
        self._unfollow = membership.subscribe(self._disown)

    @property
    def partitions(self) -> int:
        """How many partitions are loaded."""
        return len(self._partitions)

    @property
    def instances_shut_down(self) -> int:
        """How many worker instances are remembered as shut down."""
        return len(self._shut_down)

    async def offer(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> Offered:
        lane, partition = partition.version, unlaned(partition)
        await self._admit(partition)
        found = self._partitions.get(partition)
        if offers and offers[0].sticky == partition.name and not self._is_polled(found):
            return Offered(0, sticky_unavailable=True)
        if found is None and (self._is_full or not (offers or backlog.count)):
            return Offered(0)
        return (found or self._load(partition)).offer(offers, backlog, lane)

    async def withdraw(self, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        found = self._partitions.get(unlaned(partition))
        if found is not None:
            found.withdraw(offers, backlog, partition.version)

    async def poll(self, poll: Poll, call: Call) -> bytes:
        await self._admit(poll.partition)
        instance = (poll.partition.namespace_id, poll.worker_instance_key)
        if poll.worker_instance_key and self._is_shut_down(instance):
            return b""
        self._allowance.enter(poll.partition)
        try:
            return await self._wait(poll, call, instance)
        finally:
            self._allowance.leave(poll.partition)

    async def _wait(self, poll: Poll, call: Call, instance: _Instance) -> bytes:
        partition = self._partitions.get(poll.partition) or self._load(poll.partition)
        partition.admit(poll.partitions)
        root, branch = root_of(poll.partition)
        # What a worker gets is of the queue, wherever it waits.
        known = msgspec.structs.replace(poll, partition=root) if branch else poll
        waiter = Waiter(known, call, self._clock.monotonic_ns())
        if poll.worker_instance_key:
            self._instances.setdefault(instance, set()).add(waiter)
        if poll.id:
            self._by_id[poll.id] = waiter
        try:
            return await partition.serve(waiter)
        finally:
            self._leave(instance, waiter)

    async def lend(self, root: QueueKey, demand: Demand, call: Call) -> Supply:
        await self._admit(root)
        return await (self._partitions.get(root) or self._load(root)).lend(demand)

    async def query(self, partition: QueueKey, task: QueryTask, call: Call) -> RespondQueryTaskCompletedRequest:
        await self._admit(partition)
        found = self._partitions.get(partition)
        if (task.sticky or (found is not None and found.is_sticky)) and not self._is_polled(found):
            raise StickyUnavailable("Nobody polls this sticky queue.")
        _, branch = root_of(partition)
        if branch and not (found and found.waiting):
            raise Unavailable("No poll waits at this partition.")
        answer: asyncio.Future[RespondQueryTaskCompletedRequest] = asyncio.get_running_loop().create_future()
        question = Question(task, call, answer)
        if not branch:  # by its token the answer comes to the root
            self._questions[task.token] = question
        try:
            await (found or self._load(partition)).ask(question)
        finally:
            if self._questions.get(task.token) is question:  # a call that was delivered twice has two of a token
                del self._questions[task.token]
        return answer.result()

    async def answer_query(self, token: QueryToken, answer: RespondQueryTaskCompletedRequest) -> None:
        question = self._questions.get(token)
        if question is None or question.answer.done():
            await self._admit(_queue_of(token))
            raise NotFound("query task not found, or already expired")
        question.answer.set_result(answer)

    async def describe(self, partition: QueueKey) -> PartitionView:
        await self._admit(partition)
        # One that isn't loaded is not loaded for this: a look takes no room.
        return await (self._partitions.get(partition) or Partition(partition, self._around)).describe()

    async def configure(self, partition: QueueKey, update: UpdateTaskQueueConfigRequest) -> bytes:
        await self._admit(partition)
        if self._ownership is not None and not self._ownership.is_own(partition):
            # The owner, whom others may reach, reads what is set only once: a change has to come to it.
            raise self._ownership.elsewhere(partition)
        config, version = await self.configs.change(partition, update, self._clock)
        found = self._partitions.get(partition)
        if found is not None:
            found.learn(config, version)
        return config.SerializeToString()

    async def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> None:
        await self._admit(registry_of(namespace_id))
        self._workers.record(namespace_id, heartbeats, self._clock.monotonic_ns())

    async def find_workers(self, namespace_id: str, search: WorkerSearch) -> WorkersFound:
        await self._admit(registry_of(namespace_id))
        return self._workers.find(namespace_id, search, self._clock.monotonic_ns())

    async def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        instance = (namespace_id, worker_instance_key)
        sticky = {QueueKey(namespace_id, sticky_queue, QueueKind.WORKFLOW)} if sticky_queue else set()
        is_news = bool(worker_instance_key) and not self._is_shut_down(instance)  # it forgets those whose time is over
        if worker_instance_key:
            self._shut_down.pop(instance, None)
            self._shut_down[instance] = self._clock.monotonic_ns() + SHUTDOWN_NS
            if len(self._shut_down) > INSTANCES_MAX:
                del self._shut_down[next(iter(self._shut_down))]
            for waiter in list(self._instances.get(instance, ())):
                waiter.shut_down()
                if waiter.poll.partition.name == sticky_queue:
                    sticky.add(waiter.poll.partition)
        for key in sticky:
            partition = self._partitions.get(key)
            if partition is not None and partition.is_sticky:  # callers may give any name
                del self._partitions[key]
                partition.unload()
        if is_news:
            await self._end_polls_of_branches(namespace_id, worker_instance_key)

    async def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> None:
        for waiter in filter(None, map(self._by_id.get, ids)):
            waiter.end()

    async def _end_polls_of_branches(self, namespace_id: str, worker_instance_key: str) -> None:
        """Whoever asks may not know of branches: their hosts hear of it from here, each once."""
        roles: dict[int, MatchingRole] = {}
        for key, partition in self._partitions.items():
            if key.namespace_id == namespace_id:
                for index in range(1, partition.count):
                    with suppress(Unavailable):
                        role = self._around.directory.matching(branch_of(key, index))
                        roles[id(role)] = role

        async def end(role: MatchingRole) -> None:
            with suppress(Unavailable, TimeoutError):  # polls of a host that isn't there are over
                async with asyncio.timeout(_BRANCHES_S):
                    await role.end_polls(namespace_id, worker_instance_key, "")

        await asyncio.gather(*map(end, roles.values()))

    def _end_branch(self, branch: QueueKey, partitions: int) -> None:
        """It is none of its queue's partitions any more: its polls go to those."""
        found = self._partitions.pop(branch, None)
        if found is not None:
            found.unload(lambda: QueueSpread("The task queue has fewer partitions.", partitions))

    async def close(self) -> None:
        """End all polls and forget everything."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._unfollow is not None:
            self._unfollow()
        for timer in self._guests.values():
            timer.cancel()
        self._guests.clear()
        for partition in self._partitions.values():
            partition.unload()
        self._partitions.clear()
        await self._background.close()

    async def _admit(self, partition: QueueKey) -> None:
        """Let a call in, or raise PartitionElsewhere."""
        ownership = self._ownership
        if ownership is None or ownership.is_own(partition):
            return
        await ownership.admit(partition)
        if partition not in self._guests and not ownership.is_own(partition):
            loop = asyncio.get_running_loop()
            self._guests[partition] = loop.call_later(GUEST_NS / SECOND_NS, self._see_off, partition)

    def _see_off(self, partition: QueueKey) -> None:
        """Another host's partition was here for as long as it may be."""
        timer = self._guests.pop(partition, None)
        if timer is not None:
            timer.cancel()
        ownership, found = self._ownership, self._partitions.get(partition)
        if ownership is not None and found is not None and not ownership.is_own(partition):
            del self._partitions[partition]
            elsewhere = partial(ownership.elsewhere, partition)
            found.unload(elsewhere)
            # Those that a worker has: its answer would go to the new owner, which knows nothing of them.
            for token, question in self._questions.items():
                if _queue_of(token) == partition:
                    question.fail(elsewhere())

    def _disown(self, view: View) -> None:
        """There is a new view: what it gives to others goes there."""
        self._allowance.see(view)
        if self._ownership is not None and self._ownership.renew(view):
            for partition in [*self._guests, *self._partitions]:
                self._see_off(partition)

    @property
    def _is_full(self) -> bool:
        return len(self._partitions) >= self._around.room.partitions_max

    def _load(self, key: QueueKey) -> Partition:
        if self._is_full:
            raise ResourceExhausted(
                "too many task queues are in use at once",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
                ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
            )
        partition = self._partitions[key] = Partition(key, self._around)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_NS / SECOND_NS, self._tidy)
        return partition

    def _tidy(self) -> None:
        """Unload what nobody needs; one timer for all partitions, and none while there are none."""
        self._sweep = None
        now = self._clock.monotonic_ns()
        for key, partition in list(self._partitions.items()):
            if partition.is_forgettable(now):
                del self._partitions[key]
                partition.unload()
            else:
                partition.tidy()
        if self._partitions:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_NS / SECOND_NS, self._tidy)

    def _is_polled(self, partition: Partition | None) -> bool:
        return partition is not None and partition.was_polled_lately(self._clock.monotonic_ns())

    def _is_shut_down(self, instance: _Instance) -> bool:
        now = self._clock.monotonic_ns()
        while self._shut_down:
            oldest, until = next(iter(self._shut_down.items()))
            if until > now:
                break
            del self._shut_down[oldest]
        return instance in self._shut_down

    def _leave(self, instance: _Instance, waiter: Waiter) -> None:
        if self._by_id.get(waiter.poll.id) is waiter:  # a call that was delivered twice has two of an id
            del self._by_id[waiter.poll.id]
        same = self._instances.get(instance)
        if same is not None:
            same.discard(waiter)
            if not same:
                del self._instances[instance]


def _queue_of(token: QueryToken) -> QueueKey:
    """Where a query waits."""
    return QueueKey(token.namespace_id, token.task_queue, QueueKind.WORKFLOW)
