"""What generated cases found: each was a difference once, here in as few steps as show it."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.query.v1 import message_pb2 as queries
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session


def both(s: Session, **fields: Any) -> ws.SignalWithStartWorkflowExecutionRequest:
    """A signal with start of `wf`."""
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique("wf"),
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": s.queue,
        "request_id": "both",
        "signal_name": "hello",
    }
    return ws.SignalWithStartWorkflowExecutionRequest(**{**plain, **fields})


def query(s: Session) -> ws.QueryWorkflowRequest:
    """A query of `wf`."""
    asked = queries.WorkflowQuery(query_type="q")
    return ws.QueryWorkflowRequest(namespace=NAMESPACE, execution=s.execution("wf"), query=asked)


@scenario()
async def request_id_of_a_signal_with_start_names_its_signal(s: Session) -> None:
    await s.call(both(s))
    await s.describe()
    await s.call(both(s, workflow_id=s.unique("other"), request_id="other"))
    await s.take()
    await s.call(both(s, request_id="late", workflow_id_conflict_policy=2))
    await s.describe()


@scenario()
async def query_answered_without_a_result(s: Session) -> None:
    await s.start_quietly()
    await s.advance()
    asked = s.begin(query(s))
    task = await s.take()
    answer = ws.RespondQueryTaskCompletedRequest(namespace=NAMESPACE, task_token=task.task_token, completed_type=1)  # type: ignore[arg-type]  # a plain int
    await s.call(answer)
    await s.finish(asked, "query by itself")
