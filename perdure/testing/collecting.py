"""The evidence of a simulated run, gathered when it is over: histories, lists, pointers, and what the log holds.

Invariant: it reads through the public API wherever that shows the thing, as a tool and not as an SDK, so that no
provisional event is in it.
"""

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
)

from perdure.base.clock import from_timestamp
from perdure.base.errors import NotFound
from perdure.store.contract import Home
from perdure.testing.checkers.evidence import Evidence, Row, RunHistory
from perdure.testing.cluster import SimCluster
from perdure.testing.oplog import Kind
from perdure.testing.party import TOOL, Party
from perdure.testing.replaying import Replayed

_Run = tuple[str, str, str]  # namespace, workflow id, run id


class Collector:
    """Reads a cluster that is at rest."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._readers = {name: Party(f"reader-{name}", name, cluster) for name in cluster.options.namespaces}

    async def collect(self) -> Evidence:
        """All but what a restart would show."""
        rows = [row for name in self._readers for row in await self._rows(name)]
        runs = self._known() | {(row.namespace, row.workflow_id, row.run_id) for row in rows}
        pointers = {}
        for namespace, workflow_id in sorted({(namespace, workflow_id) for namespace, workflow_id, _ in runs}):
            pointers[namespace, workflow_id] = await self._current(namespace, workflow_id)
            if pointers[namespace, workflow_id]:
                runs.add((namespace, workflow_id, pointers[namespace, workflow_id]))
        replayed = Replayed(self._cluster.store.witness)
        return Evidence(
            ops=self._cluster.log.ops,
            histories=await self.histories(runs),
            pointers=pointers,
            rows=rows,
            counts={name: await self._count(name) for name in self._readers},
            commits=replayed.commits,
            attempts=replayed.attempts,
            replies_lost=self._cluster.network.replies_lost,
            repeated=self._cluster.network.repeated,
            replays=await replayed.differences(self._cluster.owner),
            leftovers=replayed.leftovers(),
            uncalled=self._cluster.outside.uncalled(),
            told=[(url, call.headers) for url, calls in self._cluster.outside.calls.items() for call in calls],
            faults=self._faults(),
            skew_ns=2 * self._cluster.options.skew_ns,
        )

    async def again(self, evidence: Evidence) -> None:
        """Add what is there after a restart."""
        replayed = Replayed(self._cluster.store.witness)
        evidence.replays += [f"after the restart: {d}" for d in await replayed.differences(self._cluster.owner)]
        runs = {(history.namespace, history.workflow_id, history.run_id) for history in evidence.histories}
        evidence.rereads = await self.histories(runs)

    async def after_retention(self, evidence: Evidence) -> None:
        """Add what is still there although it should have been deleted."""
        runs = {(history.namespace, history.workflow_id, history.run_id) for history in evidence.histories}
        evidence.orphans += [f"{history.name} outlives its retention" for history in await self.histories(runs)]
        for namespace in self._readers:
            evidence.orphans += [f"{row.run_id} is still listed" for row in await self._rows(namespace)]
        store = self._cluster.store.checkpoints
        for row in await self._cluster.store.shards.list_shards():
            home = Home(row.shard, row.slots)
            evidence.orphans += [f"a row of {timer}" for timer in await store.read_timers(home, None, 10)]
            evidence.orphans += [f"{queue.count} rows in {queue.queue}" for queue in await store.count_offers(home)]
        for key in Replayed(self._cluster.store.witness).pointers:
            pointer = await store.read_pointer(key)
            if pointer is not None and pointer.body is not None:
                evidence.orphans.append(f"the pointer of {key.workflow_id}")

    def _known(self) -> set[_Run]:
        """The runs that somebody was told of."""
        return {
            (op.namespace, op.workflow_id, op.reply["run_id"])
            for op in self._cluster.log.ops
            if op.kind is Kind.START and op.ok
        }

    async def histories(self, runs: set[_Run]) -> list[RunHistory]:
        """The histories of these runs, as far as they are there."""
        found = []
        for namespace, workflow_id, run_id in sorted(runs):
            try:
                events = await self._readers[namespace].read_events(workflow_id, run_id, client_name=TOOL)
                info = await self._describe(namespace, workflow_id, run_id)
            except NotFound:
                continue
            found.append(RunHistory(namespace, workflow_id, run_id, events, info[1], info[2]))
        return found

    async def _describe(self, namespace: str, workflow_id: str, run_id: str) -> tuple[str, int, int]:
        request = DescribeWorkflowExecutionRequest(
            namespace=namespace, execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        )
        response = await self._cluster.call("DescribeWorkflowExecution", request)
        info = response.workflow_execution_info
        return info.execution.run_id, info.history_length, int(info.status)

    async def _current(self, namespace: str, workflow_id: str) -> str:
        try:
            return (await self._describe(namespace, workflow_id, ""))[0]
        except NotFound:
            return ""

    async def _rows(self, namespace: str) -> list[Row]:
        rows: list[Row] = []
        token = b""
        while True:
            request = ListWorkflowExecutionsRequest(namespace=namespace, page_size=7, next_page_token=token)
            response = await self._cluster.call("ListWorkflowExecutions", request)
            rows += (
                Row(
                    namespace,
                    info.execution.workflow_id,
                    info.execution.run_id,
                    int(info.status),
                    from_timestamp(info.start_time),
                    from_timestamp(info.close_time),
                )
                for info in response.executions
            )
            token = response.next_page_token
            if not token:
                return rows

    async def _count(self, namespace: str) -> int:
        response = await self._cluster.call(
            "CountWorkflowExecutions", CountWorkflowExecutionsRequest(namespace=namespace)
        )
        return int(response.count)

    def _faults(self) -> dict[str, int]:
        cluster = self._cluster
        return {
            str(name): n
            for fired in (cluster.fired, cluster.faults.fired, cluster.network.fired)
            for name, n in fired.items()
        }
