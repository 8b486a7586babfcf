"""Deleting executions: closed and open ones, by the current run and by name."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as policies
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"


def _delete(execution: common.WorkflowExecution | None) -> ws.DeleteWorkflowExecutionRequest:
    return ws.DeleteWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=execution)


async def _gone(s: Session, run_id: str) -> None:
    execution = s.execution("wf", run_id)

    async def missing() -> bool:
        try:
            await s.quiet(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution))
        except CallFailed as failed:
            return failed.code == "NOT_FOUND"
        return False

    await until("the run to be gone", missing)


async def _listed(s: Session, count: int) -> None:
    query = f'WorkflowId = "{s.unique("wf")}"'
    request = ws.CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=query)

    async def so_many() -> bool:
        reply: ws.CountWorkflowExecutionsResponse = await s.quiet(request)
        return reply.count == count

    await until(f"{count} in the list", so_many)


async def _look(s: Session, run_id: str = "") -> None:
    execution = s.execution("wf", run_id)
    await s.attempt(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution))
    await s.attempt(ws.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=execution))


@scenario()
async def delete_open(s: Session) -> None:
    """An open run is terminated, and then goes; its worker is told as after any other end."""
    run_id = await s.start_quietly()
    task = await s.take()
    await _listed(s, 1)
    await s.attempt(_delete(s.execution("wf", run_id)))
    await _gone(s, run_id)
    await _look(s)
    await _look(s, run_id)
    await _listed(s, 0)
    await s.complete(task, complete_workflow())
    await s.signal("late")
    await s.terminate()
    await s.attempt(_delete(s.execution("wf")))
    await s.start(
        "wf", request_id=s.unique("again"), workflow_id_reuse_policy=policies.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    )


@scenario()
async def delete_closed(s: Session) -> None:
    """A closed run may be deleted; when it is gone the reference leaves open (its queues have to come round to it)."""
    await s.start_quietly()
    await s.advance(complete_workflow())
    await s.attempt(_delete(s.execution("wf")))


@scenario()
async def delete_former_run(s: Session) -> None:
    """A former run is deleted by its name; the current one stays what it is."""
    former = await s.start_quietly()
    await s.advance(complete_workflow())
    current = await s.start_quietly("wf", request_id=s.unique("second"))
    await s.attempt(_delete(s.execution("wf", former)))
    described: Any = await s.quiet(
        ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf"))
    )
    assert described.workflow_execution_info.execution.run_id == current
    await s.signal("still there")


@scenario()
async def delete_current_run(s: Session) -> None:
    """Without the current run there is no current one: the former can be had by its name only."""
    former = await s.start_quietly()
    await s.advance(complete_workflow())
    current = await s.start_quietly("wf", request_id=s.unique("second"))
    await s.attempt(_delete(s.execution("wf")))
    await _gone(s, current)
    await s.describe()
    await s.describe(run_id=former)
    await s.signal("late")
    await s.start(
        "wf", request_id=s.unique("third"), workflow_id_reuse_policy=policies.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    )


@scenario()
async def delete_refused(s: Session) -> None:
    """What isn't there can't be deleted."""
    await s.attempt(_delete(None))
    await s.attempt(_delete(common.WorkflowExecution()))
    await s.attempt(_delete(s.execution("missing")))
    await s.attempt(_delete(s.execution("missing", NO_RUN)))
    await s.attempt(_delete(s.execution("missing", "no-uuid")))
    await s.start_quietly()
    await s.attempt(_delete(s.execution("wf", NO_RUN)))
    await s.attempt(ws.DeleteWorkflowExecutionRequest(workflow_execution=s.execution("wf")))
