"""Updates at their edges: stages that there are not, workers that ask for more time, a reset to within a pause."""

from __future__ import annotations

from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session
from tests.conformance.harness.updates import (
    ACCEPTED,
    accept,
    answer,
    carry,
    poll_request,
    reject,
    respond,
    take_update,
    update_request,
)
from tests.conformance.scenarios.resets import reset

_UNKNOWN = 99


async def _idle(s: Session) -> None:
    await s.start_quietly()
    await s.advance()


@scenario()
async def update_waits_for_a_stage_that_there_is_not(s: Session) -> None:
    """Nobody waits: whoever asks is told how far the update is."""
    await _idle(s)
    await s.attempt(update_request(s, stage=_UNKNOWN))
    await s.attempt(poll_request(s, stage=_UNKNOWN))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await s.attempt(poll_request(s, stage=_UNKNOWN))
    await s.signal("go")
    await answer(s, await s.take(), respond(message))
    await s.attempt(update_request(s, stage=_UNKNOWN))
    await s.attempt(poll_request(s, stage=_UNKNOWN))


async def _carried_over(s: Session) -> tuple[ws.PollWorkflowTaskQueueResponse, protocol.Message]:
    """The first task of a run that was reset to before its update, and the message that the update came with first."""
    await _idle(s)
    s.begin(update_request(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.settle()
    await reset(s, 4)
    return await s.take(), message


@scenario()
async def reset_update_is_accepted_after_more_time(s: Session) -> None:
    """A worker that asks for more time has not refused an update that a reset carried over."""
    task, message = await _carried_over(s)
    reply = await s.quiet(s.completion(task, force_create_new_workflow_task=True, return_new_workflow_task=True))
    await s.attempt(poll_request(s, stage=0))
    accepted = accept(message)
    more = s.completion(reply.workflow_task, carry(accepted), messages=[accepted], force_create_new_workflow_task=True)
    await s.quiet(more)
    await s.attempt(poll_request(s, stage=ACCEPTED))
    await answer(s, await s.take(), respond(message))
    await s.attempt(poll_request(s))
    await s.show_history(first=4)


@scenario()
async def reset_update_is_ignored_after_more_time(s: Session) -> None:
    """A worker that asked for more time, and then says nothing of the update, does not know it."""
    task, _ = await _carried_over(s)
    reply = await s.quiet(s.completion(task, force_create_new_workflow_task=True, return_new_workflow_task=True))
    polled = s.begin(poll_request(s))
    await s.settle()
    await s.quiet(s.completion(reply.workflow_task))
    await s.finish(polled, "the poll")


@scenario()
async def reset_update_is_rejected_with_more_time(s: Session) -> None:
    """Its caller hears what the worker says, though that asks for more time."""
    task, message = await _carried_over(s)
    polled = s.begin(poll_request(s))
    await s.settle()
    await s.quiet(s.completion(task, messages=[reject(message)], force_create_new_workflow_task=True))
    await s.finish(polled, "the poll")


@scenario()
async def reset_to_within_a_pause(s: Session) -> None:
    """There is no workflow task within a pause that one could go back to; there is one before it, and after it."""
    run_id = await s.start_quietly()
    await s.call(ws.PauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT))
    await s.signal("go")
    for event_id in (3, 4, 5):
        await reset(s, event_id, run_id)
    await s.describe()
    await s.show_history()


@scenario()
async def reset_after_a_pause(s: Session) -> None:
    """At the events from the pause to the task after it."""
    run_id = await s.start_quietly()
    await s.call(ws.PauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT))
    await s.signal("go")
    await s.call(ws.UnpauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT))
    for event_id in (5, 6, 7):
        await reset(s, event_id, run_id)
    await s.advance()
    for event_id in (5, 6, 7, 8, 9):
        await reset(s, event_id, run_id)
    await s.describe()
    await s.show_history()
