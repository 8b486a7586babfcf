"""What else happens to a workflow while a speculative task of it is scheduled, or started."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as policies
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import record_marker, schedule_activity
from tests.conformance.harness.payloads import duration, failure, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session
from tests.conformance.harness.updates import accept, answer, reject, respond, take_update
from tests.conformance.scenarios.resets import reset
from tests.conformance.scenarios.updates import asked, idle, stickiness


def _prioritized(s: Session, key: int = 2) -> ws.UpdateWorkflowExecutionOptionsRequest:
    return ws.UpdateWorkflowExecutionOptionsRequest(
        namespace=NAMESPACE,
        workflow_execution=s.execution("wf"),
        workflow_execution_options=workflow.WorkflowExecutionOptions(priority=common.Priority(priority_key=key)),
        update_mask=FieldMask(paths=["priority"]),
        identity=CLIENT,
    )


def _attached(s: Session) -> ws.StartWorkflowExecutionRequest:
    return s.start_request(
        request_id=s.unique("attached"),
        workflow_id_conflict_policy=policies.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        on_conflict_options=workflow.OnConflictOptions(attach_request_id=True),
    )


@scenario()
async def options_change_while_scheduled(s: Session) -> None:
    """An operator's change makes the task ordinary."""
    await idle(s)
    pending = await asked(s)
    await s.attempt(_prioritized(s))
    await s.show_history(first=5)
    task, message = await take_update(s)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=5)


@scenario()
async def options_change_while_started(s: Session) -> None:
    """The change waits for the task's end."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.attempt(_prioritized(s))
    await s.attempt(_prioritized(s))
    await s.show_history(first=5)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=5)
    await s.describe()


@scenario()
async def start_attaches_itself_while_scheduled(s: Session) -> None:
    """A start that finds the workflow leaves an event."""
    await idle(s)
    pending = await asked(s)
    await s.attempt(_attached(s))
    await s.show_history(first=5)
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=5)


@scenario()
async def start_attaches_itself_while_started(s: Session) -> None:
    """The same behind a task that a worker has, which refuses the update."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.attempt(_attached(s))
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=5)
    await s.describe()


@scenario()
async def activity_heartbeat_while_started(s: Session) -> None:
    """What is no event is written too."""
    await idle(s, schedule_activity(s.queue, heartbeat_timeout=duration(20), retry_policy=retry_policy()))
    activity = await s.take_activity()
    pending = await asked(s)
    task, message = await take_update(s)
    await s.heartbeat(activity.task_token, "here")
    await s.show_history(first=4)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def activity_fails_while_started(s: Session) -> None:
    """Its next attempt begins beside the task."""
    await idle(s, schedule_activity(s.queue, retry_policy=retry_policy(attempts=2)))
    activity = await s.take_activity()
    pending = await asked(s)
    task, message = await take_update(s)
    await s.fail_activity(activity.task_token)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def reset_while_scheduled(s: Session) -> None:
    """The run that is reset keeps no trace of a task that nobody got."""
    await idle(s, record_marker())
    shown = await s.quiet(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf")))
    first = shown.workflow_execution_info.execution.run_id
    await asked(s)
    await reset(s, 4)
    await s.show_history(run_id=first, first=4)


@scenario()
async def reset_while_started(s: Session) -> None:
    """A task that a worker has fails with the run that is reset; the worker's answer comes too late."""
    await idle(s, record_marker())
    shown = await s.quiet(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf")))
    first = shown.workflow_execution_info.execution.run_id
    await asked(s)
    task, message = await take_update(s)
    await reset(s, 4)
    await s.show_history(run_id=first, first=4)
    await s.attempt(s.completion(task, messages=[reject(message)]))


@scenario()
async def run_times_out_while_started(s: Session) -> None:
    """The task fails, and the update with its workflow."""
    await idle(s, workflow_run_timeout=duration(2))
    pending = await asked(s)
    task, message = await take_update(s)
    await s.finish(pending, "update")
    await s.attempt(s.completion(task, messages=[reject(message)]))
    await s.show_history(first=4)


@scenario()
async def run_times_out_while_scheduled(s: Session) -> None:
    """Of a task that nobody got nothing is written."""
    await idle(s, workflow_run_timeout=duration(2))
    pending = await asked(s)
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def cancellation_while_started(s: Session) -> None:
    """A worker that cancels the workflow with the update's rejection has not seen the request to."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.request_cancel()
    await s.complete(task, messages=[reject(message)], **stickiness(s))
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def task_fails_while_a_signal_waits(s: Session) -> None:
    """The next attempt is none: the worker has something new to see."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.signal("go")
    await s.fail_task(task, failure=failure("no"))
    await s.show_history(first=4)
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def update_arrives_while_an_attempt_is_repeated(s: Session) -> None:
    """It goes with the next attempt, of which history knows nothing until it is answered."""
    await idle(s)
    await s.signal("go")
    await s.fail_task(await s.take(), failure=failure("no"))
    pending: list[Any] = [await asked(s)]
    task, message = await take_update(s)
    pending.append(await asked(s, "later"))
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending[0], "update")
    await s.show_history(first=4)
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending[1], "later update")
    await s.show_history(first=4)
