"""Several matching hosts with a ring over them, frontends that poll at them, and shards whose tasks start once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from perdure.base.errors import HostUnreachable, NotFound, PartitionElsewhere, QueueSpread, Unavailable
from perdure.base.limits import Limits
from perdure.base.metrics import Metrics
from perdure.cluster.members import Role
from perdure.cluster.ring import Rings, partition_key
from perdure.cluster.roles import Call, Directory, HistoryRole, MatchingRole, Poll
from perdure.frontend.spreads import Spreads
from perdure.matching.bounds import Bounds, Room
from perdure.matching.measured import QueueMeters
from perdure.matching.service import MatchingService
from perdure.testing.loop import running_loop
from perdure.testing.network import Network, NetworkDirectory
from perdure.workflow.tasks import Backlog, Offer, QueueKey
from tests.unit.cluster.views import FakeMembership, view
from tests.unit.matching.fakes import ACTIVITY, FakeHistory, Start, figures, pass_time, poll, task_of

# So few tasks a second make another partition.
EAGER = Bounds(tasks_per_second=2.0)


class OnceHistory(FakeHistory):
    """Every shard's owner: a task starts for one request id, which gets the same answer again."""

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[Any, str] = {}
        self.on_start = self._once
        self.order: list[Offer] = []  # of starts

    async def _once(self, start: Start) -> None:
        if self.started.setdefault(start.offer.order, start.request_id) != start.request_id:
            raise NotFound("the task was started already")
        if start.offer not in self.order:
            self.order.append(start.offer)


class RingDirectory:
    """Calls go to whom the newest view gives a partition; who is down can't be reached."""

    def __init__(self, hosts: "Hosts") -> None:
        self._hosts = hosts

    def history(self, slot: int) -> HistoryRole:
        return self._hosts.history

    def history_of_shard(self, shard: str) -> HistoryRole:
        return self._hosts.history

    def matching(self, partition: QueueKey) -> MatchingRole:
        host = self._hosts.owner(partition)
        if host in self._hosts.down:
            raise HostUnreachable("It is down.", host)
        return self._hosts.services[host]


class Hosts:
    """`names`: the hosts. All calls between them, and to history, go over `network`, if there is one."""

    def __init__(
        self,
        *names: str,
        bounds: Bounds = EAGER,
        network: Network | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
    ) -> None:
        loop = running_loop()
        self.history = OnceHistory()
        self.errors: list[BaseException] = []
        self.down: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.version = 1
        self.serving = view(1, *names)
        self.memberships = {name: FakeMembership(name, self.serving) for name in names}
        plain: Directory = RingDirectory(self)
        self.directory = plain if network is None else NetworkDirectory(plain, network)
        self.metrics = Metrics()
        self.services = {name: self._service(name, bounds, limits) for name in names}
        self.spreads = Spreads(loop.entropy)
        self.tasks: list[asyncio.Task[Any]] = []

    def _service(self, name: str, bounds: Bounds, limits: Limits) -> MatchingService:
        loop = running_loop()
        service = MatchingService(
            self.directory,
            loop.clock,
            loop.entropy,
            limits,
            self.errors.append,
            Room(each=bounds),
            QueueMeters(self.metrics, lambda _: "space"),
        )
        service.follow(self.memberships[name])
        return service

    def owner(self, partition: QueueKey) -> str:
        return Rings(self.serving).owner(Role.MATCHING, partition_key(partition))

    def set(self, *names: str) -> None:
        """These serve from now on."""
        self.version += 1
        self.serving = view(self.version, *names)
        for membership in self.memberships.values():
            membership.set(self.serving)

    async def offer(self, offers: Sequence[Offer], shard: str = "s1") -> None:
        """A shard has these tasks of a queue, and offers them until somebody has taken them."""
        queue = offers[0].queue
        listed = self.history.outstanding.setdefault(shard, [])
        listed.extend(each for each in offers if each not in listed)
        while True:
            try:
                await self.directory.matching(queue).offer(queue, offers, self.backlog(shard, queue))
            except Unavailable:
                await pass_time(0.1)
            else:
                return

    def backlog(self, shard: str, lane: QueueKey) -> Backlog:
        return figures(sum(each.queue == lane for each in self.history.outstanding[shard]), shard)

    async def poll(self, asked: Poll) -> bytes:
        """A poll, as frontends make it: it follows the queue."""
        while True:
            placed = self.spreads.place(asked)
            try:
                return await self.directory.matching(placed.partition).poll(placed, Call())
            except QueueSpread as spread:
                self.spreads.learn(asked.partition, spread.partitions)
            except PartitionElsewhere:
                await pass_time(0.01)

    async def work(self, identity: str, queue: QueueKey = ACTIVITY, seconds: float = 0.0) -> None:
        """A worker that polls again and again, and needs so long for a task."""
        while True:
            try:
                answer = await self.poll(poll(queue, identity, partitions=1))
            except Unavailable:
                await pass_time(0.1)
                continue
            if answer:
                self.answers[task_of(answer)] += 1
                await pass_time(seconds)

    def workers(self, count: int, seconds: float = 0.05, queue: QueueKey = ACTIVITY) -> None:
        for number in range(count):
            self.spawn(self.work(f"w{number}", queue, seconds))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = running_loop().create_task(work)
        self.tasks.append(task)
        return task

    async def feed(self, make: Callable[[int], Offer], count: int, each_s: float, first: int = 1) -> None:
        """So many tasks, one each so many seconds."""
        for number in range(first, first + count):
            await self.offer([make(number)])
            await pass_time(each_s)

    def counted(self, name: str) -> dict[str, float]:
        """A counter of all hosts, by partition."""
        page = b"".join(self.metrics.page()).decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name.removesuffix("_total") == name:
                    found[sample.labels["partition"]] = sample.value
        return found

    async def partitions(self, queue: QueueKey = ACTIVITY) -> int:
        return (await self.services[self.owner(queue)].describe(queue)).partitions

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for service in self.services.values():
            await service.close()
        assert self.errors == []
