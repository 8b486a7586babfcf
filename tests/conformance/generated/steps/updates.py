"""Steps about updates: asked for beside what goes on, alone or with a start, and answered at once or later."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import (
    FAILING_ATTEMPT,
    PATIENCE_SECONDS,
    PAUSE_SECONDS,
    RUNNING,
    Case,
    Fields,
    Flow,
    Update,
    action,
    still_open,
)
from tests.conformance.harness import updates as messages
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.waiting import until

_CALL_SECONDS = 100.0


async def known(case: Case, flow: Flow, asked: Update) -> bool:
    """Whether the server has the update, or has answered its call."""
    if asked.call.done():
        return True
    try:
        await case.session.quiet(messages.poll_request(case.session, asked.update_id, flow.name, stage=0))
    except CallFailed:
        return False
    return True


def replies(case: Case, flow: Flow, task: ws.PollWorkflowTaskQueueResponse) -> tuple[list[protocol.Message], Fields]:
    """Messages for the updates that a task carries, and for those accepted before, and how they are counted."""
    found: list[protocol.Message] = []
    for asked in task.messages:
        what = case.of(["complete", "reject", "accept", "fail", "complete", "ignore"])
        case.saw(f"update: {what}", f"attempt {task.attempt}")
        if what in ("complete", "accept", "fail"):
            found.append(messages.accept(asked))
        if what == "accept":
            flow.accepted.append(asked)
        elif what == "complete":
            found.append(messages.respond(asked))
        elif what == "fail":
            found.append(messages.respond_failed(asked))
        elif what == "reject":
            found.append(messages.reject(asked))
    for asked in [one for one in flow.accepted if one not in task.messages]:
        if case.of([True, False]):
            case.saw("update: complete later", f"attempt {task.attempt}")
            found.append(messages.respond(asked))
            flow.accepted.remove(asked)
    return found, {}


def carried(found: list[protocol.Message]) -> list[command.Command]:
    """The commands that say where the messages take effect."""
    return [messages.carry(message) for message in found if not message.id.endswith("/reject")]


@action(weight=6, suits=still_open)
async def update(case: Case, flow: Flow) -> None:
    """An update of a workflow; where nothing else goes on, its task is taken at once."""
    state, info = await case.state(flow)
    if state == "idle" and (info is None or info.workflow_execution_info.history_length < 4):
        return
    if state == "paused" or flow.tight:
        return
    if flow.offered_twice and state == "scheduled":
        # See AVOIDED in intended.py: the former offer is refused first.
        return
    if flow.updates and info is not None and info.pending_workflow_task.attempt >= FAILING_ATTEMPT:
        # See AVOIDED in intended.py.
        return
    case.saw("update", state)
    # See AVOIDED in intended.py about the id of an update that the close of its workflow aborted.
    if not flow.asked or not case.rarely(8) or state == "closed":
        flow.asked += 1
    asked_id = f"u{flow.asked}"
    if any(one.update_id == asked_id for one in flow.updates):
        return
    stage = case.of([messages.COMPLETED, messages.ACCEPTED])
    request = messages.update_request(case.session, asked_id, flow.name, stage)
    asked = Update(asked_id, stage, request, case.session.begin(request, seconds=_CALL_SECONDS))
    case.session.transcript.request(request)
    flow.updates.append(asked)
    await until("the update", lambda: known(case, flow, asked), seconds=PATIENCE_SECONDS, pause_seconds=PAUSE_SECONDS)
    if await _is_there(case, flow, asked):
        await asyncio.wait([asked.call], timeout=PATIENCE_SECONDS)
    if state == "idle" and flow.sticky_poll is None and not asked.call.done():
        # A task of its own, which the server makes an ordinary one when nobody takes it for five seconds.
        reply = await case.session.attempt(case.poll_request(flow))
        flow.task = reply if reply is not None and reply.task_token else None


async def ended(case: Case, flow: Flow) -> None:
    """Record the calls whose updates are where their clients want them to be, or are no more."""
    for asked in list(flow.updates):
        if await _is_there(case, flow, asked):
            ask_again(case, flow)
            (now,) = (one for one in flow.updates if one.update_id == asked.update_id)
            flow.updates.remove(now)
            await case.session.finish(now.call, f"update {asked.update_id} of {flow.name}")


def ask_again(case: Case, flow: Flow) -> None:
    """The server's patience is over, sooner or later: the client asks again, before anything happens to its update."""
    for at, asked in enumerate(flow.updates):
        if _is_told_too_little(asked):
            flow.updates[at] = replace(asked, call=case.session.begin(asked.request, seconds=_CALL_SECONDS))


def _is_told_too_little(asked: Update) -> bool:
    """Whether the call is answered though its update is not where its client wants it to be."""
    reply = asked.call.result() if asked.call.done() else None
    return isinstance(reply, ws.UpdateWorkflowExecutionResponse) and reply.stage < asked.stage


async def _is_there(case: Case, flow: Flow, asked: Update) -> bool:
    info = await case.look(flow)
    if info is None or info.workflow_execution_info.status != RUNNING:
        return True
    # The reference forgets updates when it fails a task itself, and asks for them again behind its clients' backs.
    await until("the update", lambda: known(case, flow, asked), seconds=PATIENCE_SECONDS, pause_seconds=PAUSE_SECONDS)
    try:
        reply = await case.session.quiet(messages.poll_request(case.session, asked.update_id, flow.name, stage=0))
    except CallFailed:
        return True
    return bool(reply.stage >= asked.stage)
