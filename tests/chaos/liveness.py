"""Rule 26 after the last heal: no run has anything overdue. Looked at again and again while the load ends.

Invariant: of what it names, the time, the run and the thing are known, so that logs can be read beside it.
"""

import time
from collections.abc import Sequence

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)

from perdure.base.clock import SECOND_NS
from tests.chaos.asking import persist
from tests.chaos.overdue import overdue
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.clusters import passes

_PAUSE_S = 3.0


class Liveness:
    """Of the runs in `namespaces`. `late`: what was overdue, by the run; `looked`: how many runs were looked at."""

    def __init__(self, addresses: Sequence[str], namespaces: Sequence[str], patience_s: float) -> None:
        self.late: dict[str, str] = {}
        self.looked = 0
        self._clients = [Client(address) for address in addresses]
        self._namespaces = namespaces
        self._patience_ns = int(patience_s * SECOND_NS)

    @property
    def wrong(self) -> list[str]:
        """What is wrong."""
        return [f"rule 26: {run}: {what}" for run, what in self.late.items()]

    async def watch(self, healed_ns: int) -> None:
        """Look at all open runs from now on, until cancelled. `healed_ns`: when the last fault was taken back."""
        while True:
            await self.look(healed_ns)
            await passes(_PAUSE_S)

    async def look(self, healed_ns: int) -> None:
        """Look at all open runs once."""
        for namespace in self._namespaces:
            for execution in await self._open(namespace):
                await self._judge(namespace, execution, healed_ns)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()

    async def _judge(self, namespace: str, execution: WorkflowExecution, healed_ns: int) -> None:
        describe = DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        read = GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=execution)
        try:
            # The history first: what ends between both isn't shown as pending any more.
            events = (await persist(self._clients, read)).history.events
            shown = await persist(self._clients, describe)
        except CallFailed:
            return  # it is gone; whether it may be is for others to judge
        if shown.workflow_execution_info.history_length != len(events):
            return  # it goes on
        self.looked += 1
        name = f"{namespace}/{execution.workflow_id}/{execution.run_id}"
        if late := overdue(shown, events, time.time_ns(), healed_ns, self._patience_ns):
            self.late[name] = "; ".join(late)

    async def _open(self, namespace: str) -> list[WorkflowExecution]:
        found: list[WorkflowExecution] = []
        token = b""
        while True:
            request = ListWorkflowExecutionsRequest(
                namespace=namespace, query='ExecutionStatus = "Running"', page_size=100, next_page_token=token
            )
            response = await persist(self._clients, request)
            found += [info.execution for info in response.executions]
            token = response.next_page_token
            if not token:
                return found
