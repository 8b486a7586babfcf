"""What no client of good will sends: forged and outdated tokens, giant payloads, bytes that are no message."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, record_marker, schedule_activity, start_timer
from tests.conformance.harness.payloads import failure, payload, payloads
from tests.conformance.harness.render import Wording
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, WORKER, Session

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService"
BLOB_LIMIT = 2 * 1024 * 1024
MESSAGE_LIMIT = 4 * 1024 * 1024


def _blob(size: int) -> common.Payloads:
    return common.Payloads(payloads=[common.Payload(metadata={"encoding": b"binary/plain"}, data=b"x" * size)])


def _with_token(token: bytes) -> list[Message]:
    given: dict[str, Any] = {"namespace": NAMESPACE, "task_token": token, "identity": WORKER}
    return [
        ws.RespondWorkflowTaskCompletedRequest(**given),
        ws.RespondWorkflowTaskFailedRequest(**given),
        ws.RespondActivityTaskCompletedRequest(**given),
        ws.RespondActivityTaskFailedRequest(**given, failure=failure("x")),
        ws.RespondActivityTaskCanceledRequest(**given),
        ws.RecordActivityTaskHeartbeatRequest(**given),
    ]


@scenario()
async def token_empty(s: Session) -> None:
    """Answers without a token."""
    for request in _with_token(b""):
        await s.attempt(request)


@scenario()
async def token_forged(s: Session) -> None:
    """Answers with bytes that are no token."""
    for request in _with_token(b"\xff\xfeforged"):
        await s.attempt(request)


@scenario()
async def token_outdated(s: Session) -> None:
    """A workflow task is answered twice, in every order of completion and failure."""
    await s.start_quietly()
    task = await s.take()
    await s.complete(task, start_timer(seconds=100))
    await s.complete(task, complete_workflow())
    await s.fail_task(task)
    await s.signal("go")
    task = await s.take()
    await s.fail_task(task)
    await s.complete(task, complete_workflow())
    await s.fail_task(task)
    await s.show_history(first=5)


@scenario()
async def token_of_other_kind(s: Session) -> None:
    """An activity's token completes no workflow task, and the other way round."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    work = await s.take_activity()
    await s.signal("go")
    task = await s.take()
    await s.attempt(s.completion(ws.PollWorkflowTaskQueueResponse(task_token=work.task_token)))
    await s.complete_activity(task.task_token)
    await s.show_history(first=6)


@scenario()
async def blob_in_requests(s: Session) -> None:
    """Payloads over the limit are refused before anything happens."""
    await s.attempt(s.start_request(input=_blob(BLOB_LIMIT)))
    await s.attempt(s.start_request("header", header=common.Header(fields={"h": payload("x" * BLOB_LIMIT)})))
    await s.attempt(s.start_request("memo", memo=common.Memo(fields={"m": payload("x" * BLOB_LIMIT)})))
    await s.start_quietly()
    await s.signal("big", input=_blob(BLOB_LIMIT))
    await s.terminate(details=_blob(BLOB_LIMIT))
    await s.show_history()
    await s.show_history("header")


@scenario()
async def blob_of_activity(s: Session) -> None:
    """Payloads over the limit in an activity's answers."""
    await s.start_quietly()
    await s.advance(*(schedule_activity(s.queue, name) for name in "abc"))
    works = {work.activity_id: work for work in [await s.take_activity() for _ in range(3)]}
    await s.complete_activity(works["a"].task_token, result=_blob(BLOB_LIMIT))
    await s.heartbeat(works["b"].task_token, details=_blob(BLOB_LIMIT))
    broken = failure("broken", non_retryable=True)
    broken.application_failure_info.details.CopyFrom(_blob(BLOB_LIMIT))
    await s.fail_activity(works["c"].task_token, broken)
    await s.show_history(first=8)


@scenario()
async def blob_in_command(s: Session) -> None:
    """A payload over the limit in a command ends the workflow."""
    await s.start_quietly()
    await s.complete(await s.take(), record_marker("m", details={"d": _blob(BLOB_LIMIT)}))
    await s.show_history(first=3)


@scenario()
async def blob_in_result(s: Session) -> None:
    """A result over the limit ends the workflow too."""
    await s.start_quietly()
    command = complete_workflow()
    command.complete_workflow_execution_command_attributes.result.CopyFrom(_blob(BLOB_LIMIT))
    await s.complete(await s.take(), command)
    await s.show_history(first=3)


@scenario(rules=(Wording(r"^.*(larger than max|message length too large).*$", "grpc's own words", "<too large>"),))
async def message_over_the_limit(s: Session) -> None:
    """A message over the transport's limit."""
    await s.attempt(s.start_request(input=_blob(MESSAGE_LIMIT)))
    await s.describe()


@scenario(
    rules=(
        Wording(
            r"^.*(unmarshal|[Dd]eserializ|[Pp]arsing|invalid UTF-8|wire.format).*$",
            "the words of the protobuf library",
            "<no message>",
        ),
    )
)
async def bytes_that_are_no_message(s: Session) -> None:
    """Requests that are no protobuf, or whose strings are no UTF-8."""
    for body in (b"\xff\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"):
        await s.attempt_bytes(f"{SERVICE}/StartWorkflowExecution", body)
        await s.attempt_bytes(f"{SERVICE}/GetWorkflowExecutionHistory", body)


@scenario(rules=(Wording("^.+$", "grpc's own words", "<unknown>"),))
async def unknown_method(s: Session) -> None:
    """Methods and services that nobody has."""
    await s.attempt_bytes(f"{SERVICE}/NoSuchMethod", b"")
    await s.attempt_bytes("/no.such.Service/Method", b"")


@scenario()
async def ids_of_a_thousand(s: Session) -> None:
    """Ids of just the limit are fine."""
    name = s.unique("w").ljust(1000, "w")
    await s.attempt(s.start_request(workflow_id=name, request_id=s.unique("r").ljust(1000, "r")))
    await s.attempt(s.start_request(workflow_id="ü" * 501))
    await s.attempt(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE))
    empty = common.WorkflowExecution()
    await s.attempt(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=empty))
    long = common.WorkflowExecution(workflow_id="w" * 1001)
    await s.attempt(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=long))


@scenario()
async def empty_completion(s: Session) -> None:
    """A completion without commands leaves an idle workflow, which a signal wakes."""
    await s.start_quietly()
    await s.complete(await s.take())
    await s.signal("go", input=payloads("on"))
    await s.advance(complete_workflow())
    await s.show_history(first=4)


@scenario()
async def reserved_queue_names(s: Session) -> None:
    """Names of queues that the server keeps for itself."""
    for name in ("/_sys/x", "", " "):
        await s.attempt(s.start_request(f"wf{name.strip()[:1]}", task_queue=taskqueue.TaskQueue(name=name)))
