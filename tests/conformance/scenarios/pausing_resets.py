"""Resets of workflows that are paused, or were."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import continue_as_new, schedule_activity, start_timer
from tests.conformance.harness.payloads import retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session


async def _pause(s: Session) -> None:
    request = ws.PauseWorkflowExecutionRequest(
        namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT, reason="look", request_id=s.unique("p")
    )
    await s.call(request)


async def _unpause(s: Session) -> None:
    await s.attempt(
        ws.UnpauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT)
    )


async def _reset(s: Session, event_id: int, run_id: str = "") -> None:
    await s.attempt(
        ws.ResetWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_execution=s.execution("wf", run_id),
            reason="again",
            workflow_task_finish_event_id=event_id,
            request_id=s.unique(f"reset-{event_id}"),
        )
    )


@scenario()
async def reset_to_before_a_pause(s: Session) -> None:
    """A reset to before the pause gives a run that is not paused."""
    run_id = await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await _pause(s)
    await _reset(s, 4)
    await s.describe()
    await s.show_history()
    await s.describe("wf", run_id)
    await s.show_history("wf", run_id)
    await s.poll()


@scenario()
async def reset_to_after_a_pause(s: Session) -> None:
    """A reset to after the pause gives a run that has it behind it: no task ends within one."""
    run_id = await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.signal("go")
    task = await s.take()
    await _pause(s)
    await s.complete(task, schedule_activity(s.queue, retry_policy=retry_policy(initial=0.1)))
    await _unpause(s)
    await s.advance(start_timer("later", seconds=100))
    await s.show_history(first=5)
    await _reset(s, 14)
    await s.describe()
    await s.show_history(first=5)
    await s.describe("wf", run_id)
    await _unpause(s)
    await s.poll()


@scenario()
async def reset_with_changed_options(s: Session) -> None:
    """A reset keeps the options that were changed before its point, and loses later ones."""
    await s.start_quietly(priority=common.Priority(priority_key=2))
    for priority in (4, 5):
        await s.quiet(
            ws.UpdateWorkflowExecutionOptionsRequest(
                namespace=NAMESPACE,
                workflow_execution=s.execution("wf"),
                workflow_execution_options=workflow.WorkflowExecutionOptions(
                    priority=common.Priority(priority_key=priority),
                    versioning_override=workflow.VersioningOverride(auto_upgrade=True),
                ),
                update_mask=FieldMask(paths=["priority", "versioning_override"]),
                identity=CLIENT,
            )
        )
        await s.signal("go")
        await s.advance(start_timer(f"t{priority}", seconds=100))
    await s.show_history()
    await _reset(s, 6)
    await s.describe()
    await s.show_history()
    await s.advance(continue_as_new())
    await s.describe()
