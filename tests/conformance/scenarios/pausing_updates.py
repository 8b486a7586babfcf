"""Updates of workflows that are paused: before, during and after a pause."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import start_timer
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session
from tests.conformance.harness.updates import (
    ACCEPTED,
    COMPLETED,
    accept,
    answer,
    poll_request,
    reject,
    respond,
    take_update,
    update_request,
)


async def _pause(s: Session) -> None:
    await s.call(ws.PauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT))


async def _unpause(s: Session) -> None:
    await s.call(ws.UnpauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique("wf"), identity=CLIENT))


async def _idle(s: Session) -> None:
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))


@scenario()
async def update_of_a_paused_workflow(s: Session) -> None:
    """It is refused, and one that was accepted before can be asked for."""
    await _idle(s)
    asked = s.begin(update_request(s, "before", stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await s.finish(asked, "accepted")
    await _pause(s)
    await s.attempt(update_request(s, "after"))
    await s.attempt(poll_request(s, "before", stage=ACCEPTED))
    await s.attempt(update_request(s, "before", stage=ACCEPTED))
    await s.show_history(first=5)


@scenario(differs="the reference writes a start that never was, and forgets the update: its client waits in vain")
async def pause_before_an_update_is_taken(s: Session) -> None:
    """An update waits for a worker when the workflow is paused; it reaches one when the workflow goes on."""
    await _idle(s)
    asked = s.begin(update_request(s, "u"))
    await s.settle()
    await _pause(s)
    await s.describe()
    await s.show_history(first=5)
    await _unpause(s)
    task = await s.poll()
    if task.messages:
        await answer(s, task, accept(task.messages[0]), respond(task.messages[0]))
    await s.finish(asked, "outcome")
    await s.show_history(first=5)


@scenario()
async def pause_while_an_update_is_with_a_worker(s: Session) -> None:
    """The worker that has the update may accept it."""
    await _idle(s)
    asked = s.begin(update_request(s, "u", stage=COMPLETED))
    task, message = await take_update(s)
    await _pause(s)
    await s.show_history(first=5)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "outcome")
    await s.describe()
    await s.show_history(first=5)
    await _unpause(s)
    await s.show_history(first=9)


@scenario()
async def pause_while_an_update_is_rejected(s: Session) -> None:
    """The worker that has the update may reject it."""
    await _idle(s)
    asked = s.begin(update_request(s, "u"))
    task, message = await take_update(s)
    await _pause(s)
    await answer(s, task, reject(message))
    await s.finish(asked, "outcome")
    await s.show_history(first=5)
