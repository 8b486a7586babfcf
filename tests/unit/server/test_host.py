"""Processes of a cluster, wired as they are, over lines of the test's own: they share the work, leave, and die."""

import asyncio
from collections import Counter
from contextvars import Context, ContextVar
from typing import Any

from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueResponse,
    StartWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import HostUnreachable
from perdure.base.slots import ChainKey
from perdure.cluster.members import Member, Role
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, Poll
from perdure.frontend.routing import Routing
from perdure.matching.bounds import Bounds
from perdure.server.cluster import Options, ground
from perdure.server.host import Host
from perdure.shards.options import ShardOptions
from perdure.store.contract import OutcomeUnknown
from perdure.store.memory import MemoryStore
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import VirtualClock, run_virtual, running_loop
from perdure.testing.store_faults import Faults
from perdure.workflow.requests import StartWorkflow
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.shards.fakes import passes

SHARDS = 16
NAMESPACE = "0a0a0a0a-0000-4000-8000-000000000001"
QUEUES = [QueueKey(NAMESPACE, f"queue-{number}", QueueKind.WORKFLOW) for number in range(6)]
_CLUSTER: ContextVar["Cluster | None"] = ContextVar("cluster", default=None)
_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


def _held(context: Context) -> "list[asyncio.Handle] | None":
    process = context.get(_PROCESS)
    return process.held if process is not None else None


class Far:
    """A role of another process, for as long as that lives."""

    def __init__(self, process: "Process", role: Any) -> None:
        self._process = process
        self._role = role

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: object) -> Any:
            if self._process.held is not None:
                raise HostUnreachable("refused", self._process.name)
            broken = self._process.broken
            work = self._process.spawn(getattr(self._role, name)(*arguments))
            await asyncio.wait([work, broken], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise HostUnreachable("refused", self._process.name)
            return work.result()

        return call


class Cluster:
    """The processes by name, which is their address too."""

    def __init__(self, partitions: Bounds = Bounds()) -> None:  # noqa: B008 - it is frozen
        loop = running_loop()
        self.partitions = partitions
        loop.holds = _held
        self.store = MemoryStore(VirtualClock(loop), is_shared=True)
        self.faults = Faults(loop.entropy.fork("faults"))
        self.processes: dict[str, Process] = {}
        _CLUSTER.set(self)

    def history(self, address: str) -> Any:
        process = self.processes[address]
        return Far(process, process.host.history_for_others)

    def matching(self, address: str) -> Any:
        process = self.processes[address]
        return Far(process, process.host.matching_for_others)

    def shard_host(self, address: str) -> Any:
        process = self.processes[address]
        return Far(process, process.host.shard_host)

    async def close(self) -> None:
        """There is nothing to close."""

    async def start(self, *names: str) -> None:
        """Start these processes, and wait until all have what they should."""
        for name in names:
            self.processes[name] = Process(self, name)
        await asyncio.gather(*(self.processes[name].start() for name in names))
        await passes(3)

    def living(self) -> "list[Process]":
        """Those whose frontends take calls."""
        return [process for process in self.processes.values() if process.held is None and not process.is_over]

    def owners(self) -> Counter[str]:
        """How many shards each living process serves."""
        return Counter({process.name: len(process.shards()) for process in self.living()})


class Process:
    """One process with all roles. `held`: what would run if it weren't dead."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        loop = running_loop()
        self.name = name
        self.held: list[asyncio.Handle] | None = None
        self.is_over = False
        self.broken: asyncio.Future[None] = loop.create_future()
        store = FaultyStore(cluster.store, cluster.faults, name)
        options = Options(shards=ShardOptions(shards=SHARDS), partitions=cluster.partitions)
        self.host = Host(ground(store, VirtualClock(loop), loop.entropy.fork(name), options), list(Role), cluster)
        self.routing = Routing(self.host.directory, loop.entropy.fork(f"{name} frontend"))

    def spawn(self, work: Any) -> "asyncio.Task[Any]":
        """Run it in this process."""
        _PROCESS.set(self)
        try:
            return running_loop().create_task(work)
        finally:
            _PROCESS.set(None)

    async def start(self) -> None:
        async def begin() -> None:
            await self.host.join(Member("", dict.fromkeys(Role, self.name), name=self.name))
            await self.host.serve()

        await self.spawn(begin())

    async def stop(self) -> None:
        """Leave, as on SIGTERM; its frontend takes no calls any more."""
        self.is_over = True

        async def end() -> None:
            await self.host.leave()
            await self.host.stop()

        await self.spawn(end())

    def kill(self) -> None:
        self.held = []
        self.broken.set_result(None)

    def go_on(self) -> None:
        held, self.held = self.held, None
        running_loop().go_on(held or [])

    def shards(self) -> list[str]:
        assert self.host.history is not None
        return [shard.shard_id for shard in self.host.history.shards.owned()]

    async def begin(self, workflow: str, queue: QueueKey) -> None:
        """Start a workflow through this process's frontend, without a retry of the client's own."""
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow, request_id=workflow)
        request.workflow_type.name = "type"
        request.task_queue.name = queue.name
        call = Call(timeout_ns=20 * SECOND_NS)
        await self.routing.transact(ChainKey(NAMESPACE, workflow), StartWorkflow(request), call, repeatable=True)

    async def poll(self, queue: QueueKey) -> str:
        """The workflow whose task a worker gets, "" if there is none for a while."""
        asked = Poll(queue, "worker", 3 * SECOND_NS)
        answer = await self.routing.on_matching(
            queue, lambda role: role.poll(asked, Call(timeout_ns=4 * SECOND_NS)), asked.timeout_ns
        )
        return PollWorkflowTaskQueueResponse.FromString(answer).workflow_execution.workflow_id if answer else ""


async def cluster_of(*names: str, partitions: Bounds = Bounds()) -> Cluster:  # noqa: B008 - it is frozen
    cluster = Cluster(partitions)
    await cluster.start(*names)
    space = Namespace(id=NAMESPACE, name="default", retention_ns=3600 * SECOND_NS)
    host = cluster.processes[names[0]].host
    await host._ground.namespaces.register(space)
    return cluster


async def all_done(cluster: Cluster, count: int, prefix: str) -> None:
    """Workflows that are started everywhere, one after the other, reach workers that poll anywhere."""

    async def begin(number: int) -> None:
        await passes(number / 10)
        living = cluster.living()
        await living[number % len(living)].begin(f"{prefix}-{number}", QUEUES[number % len(QUEUES)])

    beginning = asyncio.gather(*(begin(number) for number in range(count)))
    got: set[str] = set()
    wanted = {f"{prefix}-{number}" for number in range(count)}
    until = running_loop().time() + 60
    while not wanted <= got:
        assert running_loop().time() < until, wanted - got
        living = cluster.living()
        polls = (living[number % len(living)].poll(queue) for number, queue in enumerate(QUEUES))
        got.update(await asyncio.gather(*polls))
    await beginning


def virtual(work: Any) -> None:
    async def whole() -> None:
        try:
            await work
        finally:
            cluster = _CLUSTER.get()
            for process in cluster.processes.values() if cluster is not None else ():
                process.go_on()  # to be ended

    run_virtual(whole())


def test_three_processes_share_the_shards_and_any_of_them_takes_any_call() -> None:
    async def work() -> None:
        cluster = await cluster_of("a", "b", "c")
        owners = cluster.owners()
        assert sum(owners.values()) == SHARDS
        assert len([name for name, count in owners.items() if count]) == 3
        await all_done(cluster, 24, "wf")

    virtual(work())


def test_processes_join_and_leave_under_load_and_no_call_fails() -> None:
    async def work() -> None:
        cluster = await cluster_of("a")
        assert cluster.owners() == {"a": SHARDS}
        for number, name in enumerate(("b", "c")):
            starting = running_loop().create_task(cluster.start(name))
            await all_done(cluster, 24, f"join-{number}")
            await starting
        assert sum(cluster.owners().values()) == SHARDS
        for number, name in enumerate(("a", "b")):
            stopping = running_loop().create_task(cluster.processes[name].stop())
            await passes(0.01)
            await all_done(cluster, 24, f"leave-{number}")
            await stopping
        await passes(5)
        assert cluster.owners() == {"c": SHARDS}
        await all_done(cluster, 24, "rest")

    virtual(work())


class _BlackHole(Faults):
    """Hosts of `lost` hear nothing of the store, for as long as a statement may take."""

    lost: frozenset[str] = frozenset()

    async def perform(self, operation: str, do: Any, *, host: str = "", **more: Any) -> Any:
        if host not in self.lost:
            return await super().perform(operation, do, host=host, **more)
        await passes(5)
        raise OutcomeUnknown("No node answered in time.")


def test_who_leaves_while_the_store_is_away_waits_for_it_no_longer_than_it_may() -> None:
    async def work() -> None:
        cluster = Cluster()
        store = cluster.faults = _BlackHole(running_loop().entropy.fork("faults"))
        await cluster.start("a", "b")
        store.lost = frozenset({"a"})
        begun = running_loop().time()
        await cluster.processes["a"].stop()
        # To be told and to wait for others; then twice a lease's time, for its place and for its lease.
        assert running_loop().time() - begun < ShardOptions().leave_s + 11
        store.lost = frozenset()
        await passes(10)
        assert cluster.owners() == {"b": SHARDS}

    virtual(work())


def test_what_a_killed_process_had_serves_again_within_ten_seconds() -> None:
    async def work() -> None:
        cluster = await cluster_of("a", "b", "c")
        await all_done(cluster, 24, "before")
        cluster.processes["b"].kill()
        begun = running_loop().time()
        calling = running_loop().create_task(all_done(cluster, 24, "meanwhile"))
        while sum(cluster.owners().values()) < SHARDS:
            await passes(0.1)
        assert running_loop().time() - begun < 10
        await calling
        await all_done(cluster, 24, "after")

    virtual(work())
