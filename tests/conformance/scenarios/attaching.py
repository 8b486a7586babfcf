"""Starts that use the run that is there, and attach themselves to it."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as policies
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, start_timer
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session


async def _attach(s: Session, name: str, options: workflow.OnConflictOptions | None = None, **fields: Any) -> None:
    plain: dict[str, Any] = {
        "request_id": s.unique(name),
        "workflow_id_conflict_policy": policies.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        "on_conflict_options": options or workflow.OnConflictOptions(attach_request_id=True),
    }
    await s.attempt(s.start_request(**{**plain, **fields}))


async def _request_ids(s: Session) -> None:
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf"))
    reply: ws.DescribeWorkflowExecutionResponse = await s.quiet(request)
    s.show("extended info", reply.workflow_extended_info)


@scenario()
async def start_attaches_itself(s: Session) -> None:
    """A start's request id is attached to the run that is there, once; also after its close it finds that run."""
    await s.start_quietly()
    await _attach(s, "second")
    await _attach(s, "second")
    await _attach(s, "third")
    await _request_ids(s)
    await s.show_history()
    await s.advance(complete_workflow())
    await _attach(s, "second")
    await _attach(s, "start-wf")


@scenario()
async def start_attaches_itself_during_a_task(s: Session) -> None:
    """While a task is at work, what attaches waits for its number."""
    await s.start_quietly()
    task = await s.take()
    await _attach(s, "second")
    await s.signal("later")
    await _request_ids(s)
    await s.complete(task, start_timer(seconds=100))
    await _request_ids(s)
    await s.show_history(first=3)


@scenario()
async def start_attaches_itself_and_nothing_else_happens(s: Session) -> None:
    """What attached during a task is no reason for another one, or is it."""
    await s.start_quietly()
    task = await s.take()
    await _attach(s, "second")
    await s.complete(task, start_timer(seconds=100))
    await s.show_history(first=4)


@scenario()
async def start_attaches_links(s: Session) -> None:
    """Links are attached where that is asked for; nothing at all leaves its event too."""
    await s.start_quietly()
    link = common.Link(batch_job=common.Link.BatchJob(job_id="job"))
    await _attach(s, "a", workflow.OnConflictOptions(attach_links=True), links=[link])
    await _attach(s, "b", workflow.OnConflictOptions(attach_request_id=True, attach_links=True), links=[link])
    await _attach(s, "c", workflow.OnConflictOptions(attach_request_id=True), links=[link])
    await _attach(s, "d", workflow.OnConflictOptions())
    await s.show_history(first=3)


@scenario()
async def attaching_refused(s: Session) -> None:
    """Callbacks need a request id; where there is nothing to attach to a run begins."""
    await _attach(s, "a", workflow.OnConflictOptions(attach_completion_callbacks=True))
    await _attach(s, "b")
    await s.show_history()
    await _attach(s, "c", workflow_id_conflict_policy=policies.WORKFLOW_ID_CONFLICT_POLICY_FAIL)
