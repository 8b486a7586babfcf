"""A busy task queue in a cluster wired as it is: at every host, through joins, leaves and a kill."""

import asyncio
from collections import Counter

from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueResponse

from perdure.base.clock import SECOND_NS
from perdure.base.errors import QueueSpread, Unavailable
from perdure.cluster.roles import Call, MatchingRole, PartitionView, Poll
from perdure.frontend.spreads import Spreads
from perdure.matching.bounds import Bounds
from perdure.testing.loop import running_loop
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.server.test_host import NAMESPACE, Cluster, Process, cluster_of, virtual
from tests.unit.shards.fakes import passes

BUSY = QueueKey(NAMESPACE, "busy", QueueKind.WORKFLOW)
EAGER = Bounds(tasks_per_second=2.0)


class Crowd:
    """Workers that poll through living processes' frontends, and what they got."""

    def __init__(self, cluster: Cluster, workers: int) -> None:
        loop = running_loop()
        self._cluster = cluster
        self.got: Counter[str] = Counter()
        self.attempts: Counter[tuple[str, int]] = Counter()  # nobody completes a task, so each comes again in time
        self.at: Counter[int] = Counter()  # polls answered, by how many partitions their frontend knew
        self._spreads: dict[Process, Spreads] = {}
        self._tasks = [loop.create_task(self._work(number)) for number in range(workers)]

    async def _work(self, number: int) -> None:
        while True:
            living = self._cluster.living()
            process = living[number % len(living)]
            spreads = self._spreads.setdefault(process, Spreads(running_loop().entropy))
            placed = spreads.place(Poll(BUSY, f"w{number}", 3 * SECOND_NS))

            async def poll(role: MatchingRole, placed: Poll = placed) -> bytes | QueueSpread:
                try:
                    return await role.poll(placed, Call(timeout_ns=4 * SECOND_NS))
                except QueueSpread as elsewhere:
                    return elsewhere

            try:
                answer = await process.routing.on_matching(placed.partition, poll, placed.timeout_ns)
            except Unavailable:
                await passes(0.1)
                continue
            if isinstance(answer, QueueSpread):
                spreads.learn(BUSY, answer.partitions)
            elif answer:
                self.at[placed.partitions] += 1
                task = PollWorkflowTaskQueueResponse.FromString(answer)
                self.got[task.workflow_execution.workflow_id] += 1
                self.attempts[task.workflow_execution.workflow_id, task.attempt] += 1

    async def feed(self, prefix: str, count: int) -> None:
        """Start so many workflows, ten a second, and wait until a worker has each."""

        async def begin(number: int) -> None:
            await passes(number / 10)
            living = self._cluster.living()
            await living[number % len(living)].begin(f"{prefix}-{number}", BUSY)

        await asyncio.gather(*(begin(number) for number in range(count)))
        until = running_loop().time() + 60
        while missing := {f"{prefix}-{number}" for number in range(count)} - self.got.keys():
            assert running_loop().time() < until, missing
            await passes(0.5)

    async def look(self) -> PartitionView:
        """What the root tells."""
        process = self._cluster.living()[0]
        return await process.routing.on_matching(BUSY, lambda role: role.describe(BUSY), SECOND_NS)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def test_a_busy_queue_is_at_every_host_and_each_task_goes_to_one_worker() -> None:
    async def work() -> None:
        cluster = await cluster_of("a", "b", "c", partitions=EAGER)
        crowd = Crowd(cluster, 9)
        await crowd.feed("wf", 200)
        assert (await crowd.look()).partitions == 3
        assert set(crowd.attempts.values()) == {1}
        assert crowd.at[3] > 50
        await crowd.close()

    virtual(work())


def test_hosts_join_leave_and_die_under_a_busy_queue_and_no_task_is_left() -> None:
    async def work() -> None:
        cluster = await cluster_of("a", "b", partitions=EAGER)
        crowd = Crowd(cluster, 9)
        await crowd.feed("two", 100)
        assert (await crowd.look()).partitions == 2
        joining = running_loop().create_task(cluster.start("c", "d"))
        await crowd.feed("joined", 150)
        await joining
        assert (await crowd.look()).partitions == 4
        leaving = running_loop().create_task(cluster.processes["a"].stop())
        await crowd.feed("left", 100)
        await leaving
        cluster.processes["c"].kill()
        await crowd.feed("killed", 150)
        assert (await crowd.look()).partitions == 2
        assert set(crowd.attempts.values()) == {1}
        await crowd.close()

    virtual(work())
