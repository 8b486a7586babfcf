"""How long starts take while shards are split, merged and moved: on virtual time, so that only what waits counts.

There is no load here: a start that takes long has waited for something that could have come sooner.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.errors import PerdureError
from perdure.cluster.members import Role, View
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.testing.cluster import SIM_LIMITS, ClusterOptions
from perdure.testing.loop import run_virtual, running_loop
from perdure.testing.oplog import OpLog
from perdure.testing.processes import Process, SimProcesses
from tests.unit.shards.fakes import passes

_ROLES = ((Role.FRONTEND, Role.MATCHING), (Role.HISTORY,), (Role.HISTORY,), (Role.HISTORY,))
_STORE_S = 0.02
_EACH_S = 0.02
# A freeze is ten operations of the store, and who waits for its end may look again a third later.
_LONGEST_S = 0.6


class _Starts:
    """One each `_EACH_S`, by callers that repeat nothing."""

    def __init__(self, cluster: SimProcesses) -> None:
        self.took: list[float] = []
        self.failed: list[str] = []
        self._cluster = cluster
        self._going: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._beat = running_loop().create_task(self._run())

    async def end(self) -> None:
        self._is_over = True
        await self._beat
        if self._going:
            await asyncio.wait(self._going)

    async def _run(self) -> None:
        number = 0
        while not self._is_over:
            number += 1
            task = running_loop().create_task(self._start(f"pulse-{number}"))
            self._going.add(task)
            task.add_done_callback(self._going.discard)
            await passes(_EACH_S)

    async def _start(self, name: str) -> None:
        request = StartWorkflowExecutionRequest(
            namespace="one",
            workflow_id=name,
            workflow_type=WorkflowType(name="pulse"),
            task_queue=TaskQueue(name="nobody"),
            request_id=name,
        )
        begun = running_loop().time()
        try:
            await self._cluster.call("StartWorkflowExecution", request)
        except PerdureError as error:
            self.failed.append(error.message)
        else:
            self.took.append(running_loop().time() - begun)


async def _shards(cluster: SimProcesses) -> list[str]:
    return [shard for _, shard in (await cluster.read_map()).shards]


async def _split(cluster: SimProcesses, shard: str) -> None:
    holder = await _held(cluster, [shard])
    assert holder.shard_host is not None
    await _done(holder, partial(holder.shard_host.split, shard, 4))


async def _merge(cluster: SimProcesses, shards: Sequence[str]) -> None:
    home = cluster.histories()[0]

    def pinned(view: View) -> View:
        for shard in shards:
            view = view.with_pin(shard, home.host.membership.host)
        return view

    await home.spawn(home.host.membership.change(pinned), "pins")
    assert await _held(cluster, shards) is home
    assert home.shard_host is not None
    await _done(home, partial(home.shard_host.merge, shards))


async def _done(host: Process, reshape: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """What is on its way, or takes over an index still, is asked again."""
    while True:
        try:
            await host.spawn(reshape(), "reshaping")
            return
        except PerdureError:
            await passes(0.5)


async def _held(cluster: SimProcesses, shards: Sequence[str]) -> Process:
    """The one who has them all, once there is one."""
    while True:
        holders = {cluster.holder(shard) for shard in shards}
        holder = holders.pop()
        if holder is not None and not holders:
            return holder
        await passes(0.1)


def test_no_start_waits_for_more_than_a_freeze_while_shards_are_split_and_merged() -> None:
    async def work() -> None:
        loop = running_loop()
        roles = Options(limits=SIM_LIMITS, shards=ShardOptions(shards=4))
        options = ClusterOptions(places=4, processes=_ROLES, is_shared=True, namespaces=("one",), roles=roles)
        cluster = SimProcesses(loop, loop.entropy.fork("cluster"), OpLog(loop.clock), options)
        cluster.faults.latency_s = _STORE_S
        await cluster.begin()
        starts = _Starts(cluster)
        for shard in await _shards(cluster):
            await _split(cluster, shard)
        assert await cluster.ending() == []
        whole = await _shards(cluster)
        for at in range(0, len(whole), 4):
            await _merge(cluster, whole[at : at + 4])
        assert len(await _shards(cluster)) == 4
        await starts.end()
        assert starts.failed == []
        assert len(starts.took) > 100
        assert max(starts.took) < _LONGEST_S
        assert (cluster.alarms, cluster.doubled) == ([], [])

    run_virtual(work(), 1)
