"""Listing and counting, which follow the histories a little later."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow
from tests.conformance.harness.payloads import memo, search_attributes
from tests.conformance.harness.render import Wording
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until


async def _listed(s: Session, query: str, count: int) -> ws.ListWorkflowExecutionsResponse:
    """List until there are so many executions; visibility has no long poll, and lists are limited by rate."""
    request = ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, query=query)

    async def enough() -> ws.ListWorkflowExecutionsResponse | None:
        try:
            reply: ws.ListWorkflowExecutionsResponse = await s.quiet(request)
        except CallFailed as failed:
            if failed.code == "RESOURCE_EXHAUSTED":
                return None
            raise
        return reply if len(reply.executions) == count else None

    found = await until(f"{count} of {query}", enough)
    assert found is not None
    return found


@scenario()
async def list_by_id_and_status(s: Session) -> None:
    """A workflow is listed as running, then as completed."""
    await s.start_quietly(memo=memo(m="x"), search_attributes=search_attributes(CustomKeywordField="k"))
    wanted = f"WorkflowId = '{s.unique('wf')}'"
    s.show("running", await _listed(s, f"{wanted} AND ExecutionStatus = 'Running'", 1))
    await s.advance(complete_workflow())
    s.show("completed", await _listed(s, f"{wanted} AND ExecutionStatus = 'Completed'", 1))
    s.show("no longer running", await _listed(s, f"{wanted} AND ExecutionStatus = 'Running'", 0))


@scenario()
async def list_by_type_and_attribute(s: Session) -> None:
    """Filters by type and by a search attribute."""
    value = s.unique("value")
    await s.start_quietly("one", search_attributes=search_attributes(CustomKeywordField=value))
    await s.start_quietly("two", search_attributes=search_attributes(CustomKeywordField=value))
    reply = await _listed(s, f"WorkflowType = 'flow' AND CustomKeywordField = '{value}'", 2)
    found = sorted(execution.execution.workflow_id.partition("-")[0] for execution in reply.executions)
    s.note(f"found {found}")


@scenario()
async def count_of_a_list(s: Session) -> None:
    """Counts agree with lists."""
    await s.start_quietly()
    wanted = f"WorkflowId = '{s.unique('wf')}'"
    await _listed(s, wanted, 1)
    await s.call(ws.CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=wanted))
    nothing = f"{wanted} AND ExecutionStatus = 'Completed'"
    await s.call(ws.CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=nothing))


@scenario()
async def count_in_groups(s: Session) -> None:
    """A count by status."""
    for workflow in ("one", "two", "three"):
        await s.start_quietly(workflow)
    await s.advance(complete_workflow())
    started_here = f"TaskQueue = '{s.queue.name}'"
    await _listed(s, f"{started_here} AND ExecutionStatus = 'Completed'", 1)
    await _listed(s, f"{started_here} AND ExecutionStatus = 'Running'", 2)
    for grouped in (
        f"{started_here} GROUP BY ExecutionStatus",
        f"{started_here} AND ExecutionStatus = 'Failed' group by `ExecutionStatus`;",
        "GROUP BY WorkflowType",
        "GROUP BY ExecutionStatus, WorkflowType",
        "GROUP BY NoSuchAttribute",
        "GROUP BY 'ExecutionStatus'",
        "GROUP BY ExecutionStatus LIMIT 3",
    ):
        await s.attempt(ws.CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=grouped))


@scenario(rules=(Wording(r"(?<=invalid query: ).*", "the parser's own words", "<reason>"),))
async def list_refused(s: Session) -> None:
    """Queries that cannot be read, and unknown attributes."""
    for query in ("WorkflowId =", "NoSuchAttribute = 'x'", "ExecutionStatus = 'Sleeping'", "StartTime > 'yesterday'"):
        await s.attempt(ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, query=query))


@scenario(differs="the reference answers UNKNOWN, `something went wrong`; a forged token is the caller's fault")
async def list_with_forged_token(s: Session) -> None:
    """A page token that no server gave."""
    await s.attempt(ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, next_page_token=b"forged"))


@scenario()
async def list_huge_page(s: Session) -> None:
    """Page sizes over the limit and below zero."""
    nothing = f"WorkflowId = '{s.unique('nobody')}'"
    for size in (1000, 1_000_000, -1):
        await s.attempt(ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, page_size=size, query=nothing))
