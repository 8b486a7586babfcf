"""The end of a case: every run's history and description, and every workflow id's rows in the list, recorded."""

from __future__ import annotations

import contextlib

from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import PAUSE_SECONDS, Case, Flow
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.session import NAMESPACE
from tests.conformance.harness.waiting import until

_ROWS_SECONDS = 6.0


async def finish(case: Case) -> None:
    """Record how all runs stand, then end those that are open."""
    for flow in list(case.flows.values()):
        await _know_runs(case, flow)
        kept = []
        for run_id in flow.runs:
            if await case.look(flow, run_id) is not None:
                kept.append(run_id)
                case.session.note(f"{flow.name}, run {run_id}")
                await case.session.show_history(flow.name, run_id)
                await case.session.describe(flow.name, run_id)
        await _rows(case, flow, kept)
    for flow in case.flows.values():
        with contextlib.suppress(CallFailed):
            await case.session.quiet(
                ws.TerminateWorkflowExecutionRequest(
                    namespace=NAMESPACE, workflow_execution=case.session.execution(flow.name)
                )
            )


Shape = tuple[int, frozenset[str], frozenset[str]]


def _shape(info: workflow.WorkflowExecutionInfo) -> Shape:
    """What changes in a row: the status, and which attributes and notes there are."""
    return info.status, frozenset(info.search_attributes.indexed_fields), frozenset(info.memo.fields)


async def _know_runs(case: Case, flow: Flow) -> None:
    """Find the runs in between that no step saw, by what follows what."""
    todo = list(flow.runs)
    while todo:
        run_id = todo.pop(0)
        for event in (await case.events(flow, run_id))[-1:]:
            for kind in ("continued_as_new", "completed", "failed", "timed_out"):
                follower = getattr(event, f"workflow_execution_{kind}_event_attributes").new_execution_run_id
                if follower and follower not in flow.runs:
                    flow.runs.insert(flow.runs.index(run_id) + 1, follower)
                    todo.append(follower)


async def _rows(case: Case, flow: Flow, runs: list[str]) -> None:
    """Rows come a moment later than what they tell of: they are awaited until they look like the runs."""
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
        return {row.execution.run_id: _shape(row) for row in rows} == wanted

    with contextlib.suppress(TimeoutError):
        await until("rows", there, seconds=_ROWS_SECONDS, pause_seconds=PAUSE_SECONDS)
    # Runs that began in the same moment have no order of their own.
    rows.sort(key=lambda row: runs.index(row.execution.run_id) if row.execution.run_id in runs else -1)
    for row in rows:
        case.session.show(f"row of {flow.name}", row)
