"""The simulator's clients, workers and onlookers on a real cluster, and the evidence that they leave to the checkers.

Invariant: every call is in the log before it is made. Errands are drawn from the seed, and go on until told to end.
"""

import asyncio
from functools import partial
from typing import Any, cast

import msgspec
from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
)

from perdure.base.clock import from_timestamp
from perdure.base.errors import NotFound
from perdure.base.tasks import Background
from perdure.testing.checkers.evidence import Evidence, Row, RunHistory
from perdure.testing.client import Client
from perdure.testing.cluster import SimCluster
from perdure.testing.onlooker import Onlooker
from perdure.testing.oplog import Kind
from perdure.testing.party import TOOL, Party
from perdure.testing.scenario import draw_errand
from perdure.testing.updater import Updater
from perdure.testing.worker import Habits, Worker
from tests.chaos.asking import insist
from tests.chaos.layout import PARTY_NAMESPACES
from tests.chaos.reached import Reached
from tests.e2e.clusters import passes

_Run = tuple[str, str, str]  # namespace, workflow id, run id
_HABITS = Habits(slow=0.01, twice=0.05, lost=0.01, forgets=0.05, fails=0.02, foreign=0.03)
# Some errands share a workflow id; so many come between two that share one with nobody before.
_SHARING = 16
_CALLED_S = 130.0


class Parties:
    """So many errands at a time (`busy`), until `finish`."""

    def __init__(self, reached: Reached, busy: int) -> None:
        self.reached = reached
        self._cluster = cast(SimCluster, reached)  # it has all of it that parties use
        self._chance = reached.entropy.fork("errands")
        self._busy = busy
        self._ending = asyncio.Event()
        self._errands: list[asyncio.Task[None]] = []
        self._background = Background(lambda error: reached.alarms.append(repr(error)))
        self._others: list[asyncio.Task[None]] = []
        one, two = PARTY_NAMESPACES
        self._workers = [
            Worker("worker-0", one, self._cluster, _HABITS, two),
            Worker("worker-1", one, self._cluster, _HABITS, two),
            Worker("worker-2", two, self._cluster, _HABITS, one),
        ]
        self.begun = 0
        self.open: set[str] = set()

    def start(self) -> None:
        """Begin."""
        for worker in self._workers:
            worker.start()
        for name in PARTY_NAMESPACES:
            onlooker = Onlooker(f"onlooker-{name}", name, self._cluster)
            self._others.append(self._background.spawn(onlooker.run(), onlooker.name))
        self._errands = [self._background.spawn(self._go_on(), f"errands {each}") for each in range(self._busy)]

    async def _go_on(self) -> None:
        """One errand after the other."""
        while not self._ending.is_set():
            number, self.begun = self.begun, self.begun + 1
            namespace, errand = draw_errand(self._chance, number)
            if errand.workflow_id == "shared":
                errand = msgspec.structs.replace(errand, workflow_id=f"shared-{number // _SHARING}")
            if self._chance.fraction() < 0.4:
                errand = msgspec.structs.replace(errand, updates=1 + self._chance.below(4))
                updater = Updater(f"updater-{number}", namespace, self._cluster, errand)
                self._others.append(self._background.spawn(updater.run(), updater.name))
            client = Client(f"client-{number}", namespace, self._cluster, errand)
            self.open.add(client.name)
            await client.run()
            if client.is_done:
                self.open.discard(client.name)

    async def finish(self, seconds: float) -> list[str]:
        """Begin no more; wait for those that go on. What isn't done in time."""
        self._ending.set()
        self.reached.outside.calm()
        for worker in self._workers:
            worker.calm()
        loop = asyncio.get_running_loop()
        await asyncio.wait(self._errands, timeout=seconds)
        unsettled = [f"{name} is not done" for name in sorted(self.open)]
        deadline = loop.time() + seconds
        while (left := await self._running()) and loop.time() < deadline:
            await passes(1.0)
        if left:
            unsettled.append(f"lists show {left} open runs")
        # A receiver that failed is given a rest of a minute, and a call of its own that it comes to after that.
        deadline = loop.time() + _CALLED_S
        while self.reached.outside.uncalled() and loop.time() < deadline:
            await passes(1.0)
        for task in (*self._others, *self._errands):
            task.cancel()
        for worker in self._workers:
            await worker.stop()
        await self._background.close()
        return unsettled

    async def _running(self) -> int:
        query = 'ExecutionStatus = "Running"'
        counted = [
            await self._ask("CountWorkflowExecutions", CountWorkflowExecutionsRequest(namespace=name, query=query))
            for name in PARTY_NAMESPACES
        ]
        return sum(int(response.count) for response in counted)

    async def evidence(self) -> Evidence:
        """What clients can see of the whole run."""
        rows = [row for name in PARTY_NAMESPACES for row in await self._rows(name)]
        told = [op for op in self.reached.log.ops if op.kind is Kind.START and op.ok]
        runs = {(op.namespace, op.workflow_id, str(op.reply["run_id"])) for op in told}
        runs |= {(row.namespace, row.workflow_id, row.run_id) for row in rows}
        pointers = {}
        for namespace, workflow_id in sorted({(namespace, workflow_id) for namespace, workflow_id, _ in runs}):
            try:
                info = await self._describe(namespace, workflow_id, "")
            except NotFound:
                continue
            pointers[namespace, workflow_id] = info[0]
            runs.add((namespace, workflow_id, info[0]))
        counts = {}
        for name in PARTY_NAMESPACES:
            request = CountWorkflowExecutionsRequest(namespace=name)
            counts[name] = int((await self._ask("CountWorkflowExecutions", request)).count)
        return Evidence(
            ops=self.reached.log.ops,
            histories=await self._histories(runs),
            pointers=pointers,
            rows=rows,
            counts=counts,
            uncalled=self.reached.outside.uncalled(),
            told=self.reached.receiver.told,
        )

    async def again(self, evidence: Evidence) -> None:
        """Add what is there after everything was restarted."""
        runs = {(history.namespace, history.workflow_id, history.run_id) for history in evidence.histories}
        evidence.rereads = await self._histories(runs)

    async def _histories(self, runs: set[_Run]) -> list[RunHistory]:
        readers = {name: Party(f"reader-{name}", name, self._cluster) for name in PARTY_NAMESPACES}
        found = []
        for namespace, workflow_id, run_id in sorted(runs):
            try:
                reader = readers[namespace]
                read = partial(reader.read_events, workflow_id, run_id, client_name=TOOL)
                events = await insist(read)
                info = await self._describe(namespace, workflow_id, run_id)
            except NotFound:
                continue
            found.append(RunHistory(namespace, workflow_id, run_id, events, info[1], info[2]))
        return found

    async def _describe(self, namespace: str, workflow_id: str, run_id: str) -> tuple[str, int, int]:
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        request = DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        info = (await self._ask("DescribeWorkflowExecution", request)).workflow_execution_info
        return info.execution.run_id, info.history_length, int(info.status)

    async def _ask(self, method: str, request: Message) -> Any:
        return await insist(lambda: self.reached.call(method, request))

    async def _rows(self, namespace: str) -> list[Row]:
        rows: list[Row] = []
        token = b""
        while True:
            request = ListWorkflowExecutionsRequest(namespace=namespace, page_size=100, next_page_token=token)
            response = await self._ask("ListWorkflowExecutions", request)
            for info in response.executions:
                at = info.execution
                times = from_timestamp(info.start_time), from_timestamp(info.close_time)
                rows.append(Row(namespace, at.workflow_id, at.run_id, int(info.status), *times))
            token = response.next_page_token
            if not token:
                return rows
