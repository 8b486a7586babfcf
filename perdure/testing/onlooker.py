"""One who reads workflows that others run, while hosts come and go: whatever answers has to know what was acknowledged.

Invariant: it changes nothing, and its connections last when a host has a successor. Knows the public API and nothing
behind it.
"""

from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)

from perdure.base.errors import PerdureError
from perdure.testing.oplog import Kind, Op
from perdure.testing.party import TOOL, Party, parsed, reading

_PATIENCE_S = 2.0
# Of so many calls the last ones may have changed what is there to read.
_NEWEST = 40
_WRITES = (Kind.START, Kind.SIGNAL, Kind.TERMINATE, Kind.COMPLETE_WORKFLOW)


class Onlooker(Party):
    """Reads the newest runs of one namespace, until it is cancelled."""

    async def run(self) -> None:
        """Read, in one way or another."""
        while True:
            await self.pause(0.4 if self.cluster.zombies else 4.0)
            written = [op for op in self.log.ops[-_NEWEST:] if op.kind in _WRITES and op.ok]
            runs = [(op.workflow_id, op.reply.get("run_id") or op.run_id) for op in written if self._is_here(op)]
            if not runs:
                continue
            look = self._read if self.chance.fraction() < 0.5 else self._describe
            try:
                await look(*runs[self.chance.below(len(runs))])
            except PerdureError:
                continue  # it is in the log

    def _is_here(self, op: Op) -> bool:
        return op.namespace == self.namespace and not op.foreign and bool(op.reply.get("run_id") or op.run_id)

    def _invoke(self, kind: Kind, workflow_id: str, run_id: str) -> Op:
        return self.log.invoke(kind, self.name, namespace=self.namespace, workflow_id=workflow_id, run_id=run_id)

    async def _ask(self, op: Op, method: str, request: Message) -> Any:
        try:
            return await self.cluster.call(method, request, timeout_s=_PATIENCE_S, client_name=TOOL, lingers=True)
        except PerdureError as error:
            self.log.failed(op, error)
            raise

    async def _read(self, workflow_id: str, run_id: str) -> None:
        op = self._invoke(Kind.HISTORY, workflow_id, run_id)
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        request = GetWorkflowExecutionHistoryRequest(namespace=self.namespace, execution=execution)
        body = await self._ask(op, "GetWorkflowExecutionHistory", request)
        response = parsed(GetWorkflowExecutionHistoryResponse, body)
        page = reading(run_id, response.history.events)
        self.log.returned(op, **(page | {"whole": not response.next_page_token}))

    async def _describe(self, workflow_id: str, run_id: str) -> None:
        op = self._invoke(Kind.DESCRIBE, workflow_id, run_id)
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        request = DescribeWorkflowExecutionRequest(namespace=self.namespace, execution=execution)
        info = (await self._ask(op, "DescribeWorkflowExecution", request)).workflow_execution_info
        self.log.returned(op, run_id=info.execution.run_id, status=int(info.status), length=info.history_length)
