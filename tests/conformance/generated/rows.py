"""The list's rows of a workflow id, which come a moment later than what they tell of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import PAUSE_SECONDS, Case, Flow
from tests.conformance.harness.session import NAMESPACE
from tests.conformance.harness.waiting import until

Shape = tuple[int, frozenset[str], frozenset[str]]
_ROWS_SECONDS = 6.0


def _shape(info: workflow.WorkflowExecutionInfo) -> Shape:
    """What changes in a row: the status, and which attributes and notes there are."""
    return info.status, frozenset(info.search_attributes.indexed_fields), frozenset(info.memo.fields)


async def rows_of(case: Case, flow: Flow, runs: Iterable[str]) -> list[workflow.WorkflowExecutionInfo]:
    """The rows when they look like the runs, or after a while as they are."""
    request = ws.ListWorkflowExecutionsRequest(
        namespace=NAMESPACE, query=f"WorkflowId = '{case.session.unique(flow.name)}'"
    )
    wanted: dict[str, Shape] = {}
    for run_id in runs:
        info = await case.look(flow, run_id)
        if info is not None:
            wanted[run_id] = _shape(info.workflow_execution_info)
    rows: list[workflow.WorkflowExecutionInfo] = []

    async def there() -> bool:
        rows[:] = (await case.session.quiet(request)).executions
        found = {row.execution.run_id: _shape(row) for row in rows}
        return found == wanted

    with contextlib.suppress(TimeoutError):
        await until("rows", there, seconds=_ROWS_SECONDS, pause_seconds=PAUSE_SECONDS)
    return rows
