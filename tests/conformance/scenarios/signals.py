"""Signals: in order, once per request id, to missing and closed executions, and together with a start."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow
from tests.conformance.harness.payloads import duration, header, memo, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session


def _signal_with_start(s: Session, **fields: Any) -> ws.SignalWithStartWorkflowExecutionRequest:
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique("wf"),
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": s.queue,
        "identity": CLIENT,
        "request_id": s.unique("both"),
        "signal_name": "hello",
        "signal_input": payloads("in"),
    }
    return ws.SignalWithStartWorkflowExecutionRequest(**{**plain, **fields})


@scenario()
async def signal_before_first_task(s: Session) -> None:
    """Signals that arrive before the first task is started stand behind it, and bring no second one."""
    await s.start_quietly()
    await s.signal("one", input=payloads("1"), header=header(h="x"))
    await s.signal("two")
    await s.show_history()
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=3)


@scenario()
async def signal_wakes_idle_workflow(s: Session) -> None:
    """A signal to an idle workflow brings one task; a second signal goes along with it."""
    await s.start_quietly()
    await s.advance()
    await s.signal("one")
    await s.signal("two")
    await s.show_history(first=4)


@scenario()
async def signal_same_request_id(s: Session) -> None:
    """The same request id signals once, without one each call counts."""
    await s.start_quietly()
    await s.signal("once", request_id=s.unique("r"))
    await s.signal("once", request_id=s.unique("r"))
    await s.signal("twice")
    await s.signal("twice")
    await s.show_history(first=2)
    await s.describe()


@scenario()
async def signal_refused(s: Session) -> None:
    """Missing and closed executions, and requests that lack a name or an id."""
    await s.signal("x", "missing")
    run_id = await s.start_quietly()
    await s.signal("")
    await s.signal("n" * 1001)
    await s.signal("x", request_id="r" * 1001)
    await s.signal("x", workflow_execution=None)
    await s.signal("x", run_id="no-uuid")
    await s.signal("x", run_id="01234567-89ab-4cde-8f01-23456789abcd")
    await s.terminate()
    await s.signal("x")
    await s.signal("x", run_id=run_id)


@scenario()
async def signal_with_start_missing(s: Session) -> None:
    """It starts what is missing, and the signal stands before the first task."""
    await s.call(_signal_with_start(s, header=header(h="x"), memo=memo(m="y"), workflow_run_timeout=duration(60)))
    await s.show_history()
    s.note("again with the same request id: nothing new")
    await s.call(_signal_with_start(s))
    await s.show_history(first=2)


@scenario()
async def signal_with_start_running(s: Session) -> None:
    """It only signals what is running."""
    await s.start_quietly()
    await s.advance()
    await s.call(_signal_with_start(s))
    await s.call(_signal_with_start(s, request_id=s.unique("another")))
    await s.show_history(first=4)


@scenario()
async def signal_with_start_closed(s: Session) -> None:
    """It starts a new run of what is closed, if the reuse policy allows it."""
    await s.start_quietly()
    await s.advance(complete_workflow())
    rejected = enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    await s.attempt(_signal_with_start(s, workflow_id_reuse_policy=rejected))
    await s.attempt(_signal_with_start(s))
    await s.show_history()


@scenario()
async def signal_with_start_refused(s: Session) -> None:
    """What it is refused for."""
    await s.attempt(_signal_with_start(s, workflow_id=""))
    await s.attempt(_signal_with_start(s, signal_name=""))
    await s.attempt(_signal_with_start(s, workflow_type=None))
    await s.attempt(_signal_with_start(s, task_queue=None))
    await s.attempt(_signal_with_start(s, signal_name="n" * 1001))
    failing = enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL
    await s.attempt(_signal_with_start(s, workflow_id_conflict_policy=failing))


@scenario()
async def signal_with_start_terminates_running(s: Session) -> None:
    """With the conflict policy to terminate, the running one ends and a new one begins."""
    run_id = await s.start_quietly()
    policy = enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    await s.attempt(_signal_with_start(s, workflow_id_conflict_policy=policy))
    await s.show_history("wf", run_id)
    await s.show_history()
