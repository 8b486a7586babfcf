"""The end of a case: every run's history and description, and every workflow id's rows in the list, recorded."""

from __future__ import annotations

import contextlib

from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import Case, Flow
from tests.conformance.generated.rows import rows_of
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.session import NAMESPACE


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
    rows = await rows_of(case, flow, runs)
    # Runs that began in the same moment have no order of their own.
    rows.sort(key=lambda row: runs.index(row.execution.run_id) if row.execution.run_id in runs else -1)
    for row in rows:
        case.session.show(f"row of {flow.name}", row)
