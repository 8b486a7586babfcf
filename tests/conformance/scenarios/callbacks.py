"""Completion callbacks: who is told how a chain of runs ended, in which words, and what answers are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import command_type_pb2 as kinds
from temporalio.api.enums.v1 import common_pb2 as callback_enums
from temporalio.api.enums.v1 import nexus_pb2 as nexus
from temporalio.api.enums.v1 import workflow_pb2 as policies
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    start_timer,
)
from tests.conformance.harness.payloads import duration, failure, payloads, retry_policy
from tests.conformance.harness.receiver import Call, Receiver, receiving, show_call
from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

PORT = (Rule("Nexus.url", "the port of the receiver", "<url>"),)
BACKING_OFF = callback_enums.CALLBACK_STATE_BACKING_OFF
SUCCEEDED = callback_enums.CALLBACK_STATE_SUCCEEDED
FAILED = callback_enums.CALLBACK_STATE_FAILED
_COMPLETE = kinds.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION


def _callback(url: str, **header: str) -> common.Callback:
    return common.Callback(nexus=common.Callback.Nexus(url=url, header=header))


async def _callbacks(s: Session, name: str = "wf", run_id: str = "") -> Sequence[workflow.CallbackInfo]:
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution(name, run_id))
    reply: ws.DescribeWorkflowExecutionResponse = await s.quiet(request)
    return sorted(reply.callbacks, key=lambda info: sorted(info.callback.nexus.header.items()))


async def _show(s: Session, name: str = "wf", run_id: str = "") -> None:
    infos = await _callbacks(s, name, run_id)
    for number, info in enumerate(infos, 1):
        s.show(f"callback {number} of {len(infos)}", info)


async def _settled(s: Session, name: str = "wf", run_id: str = "") -> None:
    """Show the callbacks once each has been called."""

    async def are_settled() -> bool:
        settled = (SUCCEEDED, FAILED, BACKING_OFF)
        return all(info.state in settled for info in await _callbacks(s, name, run_id))

    await until("calls to be recorded", are_settled)
    await _show(s, name, run_id)


async def _told(s: Session, receiver: Receiver, count: int = 1) -> None:
    calls: list[Call] = await receiver.wait(count)
    for call in sorted(calls, key=lambda each: each.headers.get("number", "")):
        show_call(s, call)


async def _attach(s: Session, name: str, *callbacks: common.Callback, **fields: Any) -> None:
    options = workflow.OnConflictOptions(attach_request_id=True, attach_completion_callbacks=True)
    plain: dict[str, Any] = {
        "request_id": s.unique(name),
        "workflow_id_conflict_policy": policies.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        "on_conflict_options": options,
        "completion_callbacks": callbacks,
    }
    await s.attempt(s.start_request(**{**plain, **fields}))


def _complete(*results: common.Payload) -> command.Command:
    attributes = command.CompleteWorkflowExecutionCommandAttributes(result=common.Payloads(payloads=results))
    return command.Command(command_type=_COMPLETE, complete_workflow_execution_command_attributes=attributes)


@scenario(rules=PORT)
async def callback_of_a_completed_run(s: Session) -> None:
    """The callback stands by, and is called with the result when the run completes."""
    async with receiving() as receiver:
        await s.start(completion_callbacks=[_callback(receiver.url + "/done?a=b", **{"X-Custom": "One", "token": "t"})])
        await _show(s)
        await s.advance(complete_workflow())
        await _told(s, receiver)
        await _settled(s)
        await s.show_history()


@scenario(rules=PORT)
async def callbacks_of_results(s: Session) -> None:
    """How results of every encoding are written; only the first of several is told."""
    results = {
        "none": [],
        "two": [*payloads("a", "b").payloads],
        "null": [common.Payload(metadata={"encoding": b"binary/null"})],
        "plain": [common.Payload(metadata={"encoding": b"binary/plain"}, data=b"\x00\x01")],
        "protobuf": [common.Payload(metadata={"encoding": b"binary/protobuf", "messageType": b'a."B"'}, data=b"x")],
        "json": [common.Payload(metadata={"encoding": b"json/protobuf", "messageType": b"a.B"}, data=b"{}")],
        "typeless": [common.Payload(metadata={"encoding": b"json/protobuf"}, data=b"{}")],
        "more": [common.Payload(metadata={"encoding": b"json/plain", "more": b"x"}, data=b"{}")],
        "unknown": [common.Payload(metadata={"encoding": b"own"}, data=b"{}")],
        "nexus": [common.Payload(metadata={"encoding": b"unknown/nexus-content", "type": b"x/y"}, data=b"{}")],
        "bare": [common.Payload(data=b"x")],
    }
    async with receiving() as receiver:
        for count, (name, result) in enumerate(results.items(), 1):
            url = f"{receiver.url}/{name}"
            await s.start_quietly(name, completion_callbacks=[_callback(url, number=f"{count:02}")])
            await s.advance(_complete(*result))
        await _told(s, receiver, len(results))


@scenario(rules=PORT)
async def callbacks_of_failures(s: Session) -> None:
    """A failed, cancelled, terminated and timed-out run: the failure is told, and no reason of a termination."""
    broken = failure("broken", kind="Broken")
    broken.stack_trace = "at home"
    broken.cause.message = "inner"
    broken.cause.nexus_handler_failure_info.type = "BAD_REQUEST"
    broken.cause.nexus_handler_failure_info.retry_behavior = nexus.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE
    async with receiving() as receiver:
        for count, name in enumerate(("failed", "cancelled", "terminated", "late"), 1):
            timeout = duration(1) if name == "late" else None
            callback = _callback(f"{receiver.url}/{name}", number=str(count))
            await s.start_quietly(name, completion_callbacks=[callback], workflow_run_timeout=timeout)
            if name == "failed":
                await s.advance(fail_workflow(failure=broken))
            elif name == "cancelled":
                await s.advance(cancel_workflow("why"))
            elif name == "terminated":
                await s.terminate(name, reason="a secret", details=payloads("another"))
        await _told(s, receiver, 4)
        await _settled(s, "late")


@scenario(rules=PORT)
async def callback_headers(s: Session) -> None:
    """Headers of the callback come before the server's own; those of the framing are nobody's."""
    given = {
        "Host": "evil",
        "Content-Length": "3",
        "User-Agent": "me",
        "nexus-link": "mine",
        "Nexus-Operation-State": "odd",
        "content-type": "x/y",
        "nexus-operation-token": "token",
    }
    async with receiving() as receiver:
        await s.start(completion_callbacks=[_callback(f"{receiver.url}/a b?x=%41#fragment", **given)])
        await s.terminate()
        await _told(s, receiver)


@scenario(rules=PORT)
async def callback_answers(s: Session) -> None:
    """Which answers end it and which don't."""
    because = '{"message":"because"}'
    refused = '{"message":"no","metadata":{"type":"nexus.HandlerError"},"details":{"type":"NOT_FOUND"}}'
    later = refused.replace('"NOT_FOUND"', '"NOT_FOUND","retryableOverride":true')
    own = '{"message":"no","metadata":{"type":"nexus.HandlerError"},"details":{"type":"OWN"}}'
    operation = '{"message":"no","metadata":{"type":"nexus.OperationError"},"details":{"state":"failed"}}'
    json = {"Content-Type": "application/json"}
    answers = [
        *(
            (f"{code} Some Reason", {}, "")
            for code in (204, 400, 401, 403, 404, 408, 409, 418, 429, 500, 501, 503, 520)
        ),
        ("400 Bad", json, because),
        ("418 Teapot", json, because),
        ("418 Teapot", {"Content-Type": "text/plain"}, "text"),
        ("400 Bad", json, "{"),
        ("400 Bad", {"Nexus-Request-Retryable": "true"}, ""),
        ("500 Bad", {"Nexus-Request-Retryable": "false"}, ""),
        ("500 Bad", json, refused),
        ("400 Bad", json | {"Nexus-Request-Retryable": "false"}, later),
        ("418 Teapot", json, own),
        ("424 Failed", json, operation),
    ]
    for number, answer in enumerate(answers):
        name = f"wf{number}"
        async with receiving(answer) as receiver:
            await s.start_quietly(name, completion_callbacks=[_callback(receiver.url)])
            await s.quiet(
                ws.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=s.execution(name))
            )
            await receiver.wait(1)
            s.note(f"{answer[0]} {answer[1]} {answer[2]}")
            await _settled(s, name)


@scenario(rules=PORT)
async def callback_is_called_again(s: Session) -> None:
    """After an answer that asks for it: the same call, about a second later and then after two, and it counts."""
    async with receiving(("503 Unavailable", {}, ""), ("500 Internal", {}, "")) as receiver:
        await s.start_quietly(completion_callbacks=[_callback(receiver.url)])
        await s.advance(complete_workflow())
        await _told(s, receiver, 3)

        async def succeeded() -> bool:
            return all(info.state == SUCCEEDED for info in await _callbacks(s))

        await until("success", succeeded)
        await _show(s)


@scenario(rules=PORT)
async def callback_to_nobody(s: Session) -> None:
    """Nobody listens; an address that means the cluster itself; headers that can't be sent."""
    given = {
        "a": _callback("http://127.0.0.1:1/x"),
        "b": _callback("temporal://system"),
        "c": _callback("http://127.0.0.1:2/x", a="b\r\nc: d"),
        "d": _callback("http://127.0.0.1:3/x", **{"bad name": "d"}),
        "e": _callback("http://me:secret@127.0.0.1:4/x"),
    }
    for name, callback in given.items():
        await s.start_quietly(name, completion_callbacks=[callback])
        await s.terminate(name)
        await _settled(s, name)
        # Else it is called for ever, and nobody else is where it goes.
        await s.quiet(ws.DeleteWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=s.execution(name)))


@scenario()
async def callbacks_refused(s: Session) -> None:
    """Addresses, headers, kinds and numbers that a start can't have."""
    link = common.Link(batch_job=common.Link.BatchJob(job_id="job"))
    url = "http://127.0.0.1:1/x"
    refused = [
        [_callback("")],
        [_callback("x")],
        [_callback("ftp://127.0.0.1/x")],
        [_callback("http:///x")],
        [_callback("http://h\x7f/")],
        [_callback("http://127.0.0.1:1/%zz")],
        [_callback("http://127.0.0.1:1/%")],
        [_callback("http://127.0.0.1:1/" + "x" * 981)],
        [_callback("http://127.0.0.1:1/" + "x" * 982)],
        [_callback("http://other/x")],
        [_callback("http://127.0.0.1/x")],
        [_callback("https://127.0.0.1:1/x")],
        [_callback("http://a.secure.test/x")],
        [_callback("https://a.secure.test/x")],
        [_callback("http://user:pass@127.0.0.1:1/x")],
        [_callback("http://127.0.0.1:1@other/x")],
        [_callback("temporal://system/x")],
        [_callback(url, k="v" * 8191)],
        [_callback(url, k="v" * 8192)],
        [common.Callback(internal=common.Callback.Internal(data=b"x"))],
        [common.Callback()],
        [_callback(url)] * 2001,
        [common.Callback(nexus=common.Callback.Nexus(url=url), links=[common.Link()])],
        [common.Callback(nexus=common.Callback.Nexus(url=url), links=[link] * 11)],
    ]
    for number, callbacks in enumerate(refused):
        request = s.start_request(f"wf{number}", completion_callbacks=callbacks)
        s.note(f"{len(callbacks)} callbacks, the first to {callbacks[0].nexus.url[:60]!r}")
        try:
            await s.quiet(request)
        except Exception as failed:  # noqa: BLE001 - it is shown
            s.note(s.transcript.names.error(str(failed)))


@scenario(rules=PORT)
async def callbacks_attached(s: Session) -> None:
    """Callbacks of later starts are attached to the run that is there, once for a request id; then its links."""
    link = common.Link(batch_job=common.Link.BatchJob(job_id="job"))
    async with receiving() as receiver:
        await s.start_quietly(completion_callbacks=[_callback(receiver.url, number="1")])
        second = _callback(receiver.url, number="2")
        second.links.append(link)
        await _attach(s, "second", second, links=[link])
        await _attach(s, "second", second, links=[link])
        await _attach(s, "third", _callback(receiver.url, number="3"), on_conflict_options=None)
        options = workflow.OnConflictOptions(attach_request_id=True)
        await _attach(s, "fourth", _callback(receiver.url, number="4"), on_conflict_options=options)
        await _show(s)
        await s.show_history()
        await s.advance(complete_workflow())
        await _attach(s, "second", second, links=[link])
        await _told(s, receiver, 2)
        await _settled(s)


@scenario(rules=PORT)
async def callbacks_attached_during_a_task(s: Session) -> None:
    """What is attached while a task is at work waits for its number; the run can't complete over it, but be ended."""
    async with receiving() as receiver:
        await s.start_quietly()
        task = await s.take()
        await _attach(s, "second", _callback(receiver.url, number="2"))
        await _show(s)
        await s.complete(task, complete_workflow())
        await s.take()
        await _attach(s, "third", _callback(receiver.url, number="3"))
        await s.terminate()
        await _told(s, receiver, 2)
        await s.show_history()
        await _settled(s)


@scenario()
async def callbacks_attached_up_to_the_limit(s: Session) -> None:
    """So many and no more."""
    one = _callback("http://127.0.0.1:1/x")
    await s.start_quietly(completion_callbacks=[one] * 1500)
    options = workflow.OnConflictOptions(attach_request_id=True, attach_completion_callbacks=True)
    for count in (501, 500, 1):
        request = s.start_request(
            request_id=s.unique(f"more-{count}"),
            workflow_id_conflict_policy=policies.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=options,
            completion_callbacks=[one] * count,
        )
        s.note(f"{count} more")
        try:
            await s.quiet(request)
        except Exception as failed:  # noqa: BLE001 - it is shown
            s.note(s.transcript.names.error(str(failed)))


@scenario(rules=PORT)
async def callbacks_go_on_with_the_chain(s: Session) -> None:
    """A run that is continued calls nobody: the next one has its callbacks, attached ones too, and calls at the end."""
    async with receiving() as receiver:
        await s.start_quietly(completion_callbacks=[_callback(receiver.url, number="1")])
        await _attach(s, "second", _callback(receiver.url, number="2"))
        first = (await s.advance(continue_as_new())).workflow_execution.run_id
        await _show(s, run_id=first)
        await s.advance(complete_workflow())
        await _told(s, receiver, 2)
        await _settled(s)
        await _show(s, run_id=first)


@scenario(rules=(*PORT, Rule("first_workflow_task_backoff", "the rest of a second", "<backoff>")))
async def callbacks_go_on_with_retries(s: Session) -> None:
    """A failed attempt calls nobody; the last one calls."""
    async with receiving() as receiver:
        callback = _callback(receiver.url)
        await s.start_quietly(completion_callbacks=[callback], retry_policy=retry_policy(attempts=2))
        first = (await s.advance(fail_workflow("first"))).workflow_execution.run_id
        task = await s.take()
        s.show("started", (await s.events())[0])
        await s.complete(task, fail_workflow("second"))
        await _told(s, receiver)
        await _settled(s)
        await _show(s, run_id=first)


@scenario(rules=PORT)
async def callbacks_do_not_go_on_with_a_schedule(s: Session) -> None:
    """The first run of a schedule calls when it ends, and the next one has no callbacks; a continued one has."""
    async with receiving() as receiver:
        callback = _callback(receiver.url)
        await s.start_quietly(completion_callbacks=[callback], cron_schedule="@every 1s")
        first = (await s.advance(complete_workflow())).workflow_execution.run_id
        await _told(s, receiver)
        await _settled(s, run_id=first)
        await _show(s)
        await s.start_quietly("b", completion_callbacks=[callback], cron_schedule="@every 1s")
        task = await s.take()
        while task.workflow_execution.workflow_id != s.unique("b"):
            task = await s.take()
        await s.complete(task, continue_as_new(cron_schedule="@every 1s"))
        await _show(s, "b")


@scenario(rules=PORT)
async def callbacks_of_a_run_that_makes_room(s: Session) -> None:
    """A start that terminates the run that is there: each calls its own."""
    async with receiving() as receiver:
        await s.start_quietly(completion_callbacks=[_callback(receiver.url, number="1")])
        await s.start_quietly(
            request_id=s.unique("second"),
            completion_callbacks=[_callback(receiver.url, number="2")],
            workflow_id_conflict_policy=policies.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
        )
        await _told(s, receiver)
        await _show(s)


@scenario(
    rules=PORT, differs="the reference follows redirects, as a GET without the outcome, also to where nobody allowed"
)
async def callback_sent_elsewhere(s: Session) -> None:
    """A receiver that answers with another address."""
    async with receiving() as other, receiving(("302 Found", {"Location": other.url + "/elsewhere"}, "")) as receiver:
        await s.start_quietly(completion_callbacks=[_callback(receiver.url)])
        await s.terminate()
        await receiver.wait(1)
        await _settled(s)
        s.note(f"{len(other.calls)} calls elsewhere")


@scenario(rules=PORT)
async def callbacks_of_a_reset_run(s: Session) -> None:
    """A run that is reset while it is open calls nobody: the new one has its callbacks. One that called calls again."""
    async with receiving() as receiver:
        first = await s.start_quietly(completion_callbacks=[_callback(receiver.url, number="1")])
        await s.advance(start_timer(seconds=100))
        await _reset(s, "first")
        await _show(s, run_id=first)
        await _show(s)
        await s.advance(complete_workflow())
        await receiver.wait(1)
        await _settled(s)
        await _reset(s, "second")
        await _show(s)
        await s.advance(fail_workflow())
        await _told(s, receiver, 2)
        await _show(s, run_id=first)


async def _reset(s: Session, request_id: str) -> None:
    await s.quiet(
        ws.ResetWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_execution=s.execution("wf"),
            workflow_task_finish_event_id=4,
            request_id=s.unique(request_id),
            reason="again",
        )
    )


@scenario(rules=PORT)
async def callbacks_attached_are_kept_over_a_reset(s: Session) -> None:
    """What was attached after the point of the reset is attached to the new run again."""
    async with receiving() as receiver:
        await s.start_quietly(completion_callbacks=[_callback(receiver.url, number="1")])
        await s.advance(start_timer(seconds=100))
        await _attach(s, "second", _callback(receiver.url, number="2"))
        await _reset(s, "reset")
        await _show(s)
        await s.show_history(first=5)
        await s.advance(complete_workflow())
        await _told(s, receiver, 2)
