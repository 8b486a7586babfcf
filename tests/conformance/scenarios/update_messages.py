"""What workers say of updates: where it takes effect, and every mistake with its failed task."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from temporalio.api.enums.v1 import event_type_pb2 as events
from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.update.v1 import message_pb2 as update
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import record_marker
from tests.conformance.harness.payloads import duration, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.updates import (
    ACCEPTED,
    accept,
    carry,
    reject,
    respond,
    take_update,
    update_request,
)
from tests.conformance.scenarios.updates import asked, idle


@scenario()
async def messages_among_commands(s: Session) -> None:
    """A message takes effect where its command is, others after all commands."""
    await idle(s)
    first = await asked(s, "a", stage=ACCEPTED)
    second = await asked(s, "b")
    task = await s.take()
    a, b = task.messages
    commands = [record_marker("before"), carry(accept(b)), record_marker("after")]
    await s.complete(task, *commands, messages=[accept(a), accept(b), respond(b)])
    await s.finish(first, "a")
    await s.finish(second, "b")
    await s.show_history(first=4)


def _packed(name: str, value: bytes = b"") -> protocol.Message:
    return protocol.Message(
        id="m", protocol_instance_id="u", body=AnyMessage(type_url=f"type.googleapis.com/{name}", value=value)
    )


def _said(message: protocol.Message, body: Any) -> protocol.Message:
    packed = AnyMessage()
    packed.Pack(body)
    return protocol.Message(id="m", protocol_instance_id=message.protocol_instance_id, body=packed)


def _mistakes(message: protocol.Message) -> dict[str, list[protocol.Message]]:
    """What a worker may say wrongly of an update that its task carries."""
    outcome = update.Outcome(success=payloads("result"))
    unknown = protocol.Message(protocol_instance_id="none")
    given = update.Acceptance(accepted_request_message_id="x", accepted_request_sequencing_event_id=1)
    return {
        "completed before it is accepted": [respond(message)],
        "accepted twice": [accept(message), accept(message)],
        "completed twice": [accept(message), respond(message), respond(message)],
        "rejected and accepted": [reject(message), accept(message)],
        "accepted and rejected": [accept(message), reject(message)],
        "no update of the workflow": [_said(unknown, given)],
        "no message id": [_said(message, update.Acceptance(accepted_request_sequencing_event_id=1))],
        "no sequencing id": [_said(message, update.Acceptance(accepted_request_message_id="x"))],
        "no meta": [accept(message), _said(message, update.Response(outcome=outcome))],
        "no update id": [accept(message), _said(message, update.Response(meta=update.Meta(), outcome=outcome))],
        "another update id": [
            accept(message),
            _said(message, update.Response(meta=update.Meta(update_id="x"), outcome=outcome)),
        ],
        "no outcome": [accept(message), _said(message, update.Response(meta=update.Meta(update_id="u")))],
        "a request": [_said(message, update.Request(meta=update.Meta(update_id="u")))],
        "another protocol": [_packed("temporal.api.query.v1.WorkflowQuery")],
    }


async def _mistaken(s: Session, first: int, last: int) -> None:
    given = protocol.Message(protocol_instance_id="u", id="u/request", event_id=5, body=AnyMessage())
    given.body.Pack(update.Request())
    for mistake in list(_mistakes(given))[first:last]:
        s.note(mistake)
        await s.start_quietly(mistake)
        await s.advance()
        pending = s.begin(update_request(s, workflow=mistake))
        task, message = await take_update(s)
        await s.complete(task, messages=_mistakes(message)[mistake])
        await s.finish(pending, "update")
        await s.show_history(mistake, first=5)
        await s.quiet(
            ws.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=s.execution(mistake))
        )


@scenario()
async def messages_in_the_wrong_state(s: Session) -> None:
    """The task fails, the worker is told, and so is who asked."""
    await _mistaken(s, 0, 6)


@scenario()
async def messages_that_lack_something(s: Session) -> None:
    """The same for what can't be taken."""
    await _mistaken(s, 6, 14)


@scenario()
async def protocol_commands_without_their_message(s: Session) -> None:
    """Each fails the task."""
    await idle(s)
    for number, message_id in enumerate(("", "none")):
        pending = await asked(s, f"u{number}")
        task = await s.take()
        named = protocol.Message(id=message_id)
        await s.complete(task, carry(named))
        await s.finish(pending, "update")
        await s.advance()
    await s.show_history(first=5)


@scenario()
async def message_over_its_limit(s: Session) -> None:
    """It ends the workflow."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    large = accept(message), respond(message, "x" * (2 << 20))
    await s.complete(task, messages=large)
    await s.finish(pending, "update")
    await s.closed()
    found = await s.events()
    s.note(", ".join(events.EventType.Name(event.event_type) for event in found))


@scenario()
async def update_that_a_repeated_attempt_gets_wrong(s: Session) -> None:
    """The attempt is dropped without a trace, and whoever asked is told."""
    await s.start_quietly(workflow_task_timeout=duration(1))
    await s.fail_task(await s.take())
    pending = await asked(s)
    task, message = await take_update(s)
    await s.complete(task, messages=[respond(message)])
    await s.finish(pending, "update")
    await s.advance()
    await s.show_history()


@scenario()
async def messages_that_can_not_be_told_apart(s: Session) -> None:
    """They are refused, and the task is not: what it carried comes again."""
    await idle(s)
    pending = await asked(s)

    async def refused(body: AnyMessage | None) -> tuple[ws.PollWorkflowTaskQueueResponse, protocol.Message]:
        task, message = await take_update(s)
        await s.complete(task, messages=[protocol.Message(id="m", protocol_instance_id="u", body=body)])
        return task, message

    await refused(None)
    await refused(AnyMessage())
    task, message = await refused(AnyMessage(type_url="x/name"))
    await s.complete(task, messages=[reject(message)])
    task = await s.poll()
    (message,) = task.messages
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)
