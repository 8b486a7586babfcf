"""Bytes that are no request, requests that are too large, texts that go too deep, methods that nobody has."""

import asyncio
import zlib
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import query_pb2 as query_enums
from temporalio.api.failure.v1 import message_pb2 as failures
from temporalio.api.query.v1 import message_pb2 as query
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from perdure.frontend.methods import OPERATOR_SERVICE, WORKFLOW_SERVICE, api_methods
from perdure.rpc.server import ServerOptions
from tests.conformance.harness.commands import complete_workflow, fail_workflow, record_marker, schedule_activity
from tests.conformance.harness.payloads import failure, payload
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.waiting import until
from tests.e2e.good_requests import GOOD
from tests.e2e.siege import BLOB_LIMIT, IDENTITY, MESSAGE_LIMIT, MIB, SERVICE, Siege, blob, fresh, in_turns

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PATHS = [path for path in api_methods() if path.rpartition("/")[2] in GOOD]
_GIANT = blob(BLOB_LIMIT)
_NO_MESSAGES = {
    "no tag": b"\xff\xff\xff\xff",
    "cut short": b"\x0a\x05ab",
    "length beyond the end": b"\x0a\xff\xff\xff\xff\x0f",
    "group without an end": b"\x0b",
    "endless number": b"\x08" + b"\xff" * 11,
    "no UTF-8": b"\x0a\x02\xff\xfe",
    "surrogate": b"\x0a\x03\xed\xa0\x80",
}


@pytest.mark.parametrize("kind", _NO_MESSAGES)
async def test_bytes_that_are_no_message(siege: Siege, kind: str) -> None:
    """INTERNAL is what the reference's transport answers, too."""
    for path in _PATHS:
        if kind in ("no UTF-8", "surrogate") and not _begins_with_text(path):
            continue
        await siege.refused_bytes(path, _NO_MESSAGES[kind], "INTERNAL", "unmarshalling")


async def test_messages_within_messages_within_messages(siege: Siege) -> None:
    """A failure with 10,000 causes, which no library parses, and one of 90, which each does."""
    task = await siege.started_activity()
    request = ws.RespondActivityTaskFailedRequest(namespace="default", task_token=task.task_token, identity=IDENTITY)
    for field in (b"\x1a", b"\x12"):
        nested = b""
        for _ in range(10_000):
            nested = b"\x22" + _varint(len(nested)) + nested
        body = request.SerializeToString() + field + _varint(len(nested)) + nested
        await siege.refused_bytes("RespondActivityTaskFailed", body, "INTERNAL", "unmarshalling")
    deep = failure("0")
    for depth in range(1, 90):
        outer = failure(str(depth))
        outer.cause.CopyFrom(deep)
        deep = outer
    request.failure.CopyFrom(deep)
    await siege.client.call(request)
    await siege.unharmed()


async def test_a_deep_failure_ends_a_workflow(siege: Siege) -> None:
    deep = failures.Failure(message="0")
    for depth in range(1, 90):
        deep = failures.Failure(message="x" * 1000, stack_trace=str(depth), cause=deep)
    task = await siege.started_task()
    await siege.complete(task, fail_workflow(failure=deep))
    await siege.event_types(task.workflow_execution.workflow_id)
    await siege.unharmed()


async def test_methods_that_nobody_has(siege: Siege) -> None:
    await siege.refused_bytes("NoSuchMethod", b"", "UNIMPLEMENTED", "NoSuchMethod")
    await siege.refused_bytes("/no.such.Service/Method", b"", "UNIMPLEMENTED", "no.such.Service")
    await siege.refused_bytes("/" + "x" * 5000 + "/Method", b"", "UNIMPLEMENTED")
    for path in ("//", "/x", "/a/b/c/d"):
        await siege.refused_bytes(path, b"", "UNIMPLEMENTED")


async def test_methods_of_the_api_that_are_not_there_yet(siege: Siege) -> None:
    for path in api_methods():
        if path.rpartition("/")[2] not in GOOD:
            await siege.refused_bytes(path, b"", "UNIMPLEMENTED", path.rpartition("/")[2])


# -------------------------------------------------------------------------------------------------------------- sizes


async def test_a_giant_payload_is_refused(siege: Siege) -> None:
    await siege.target()
    target = common.WorkflowExecution(workflow_id="target")
    memo = common.Memo(fields={"m": payload("x" * BLOB_LIMIT)})
    large: list[tuple[Message, str]] = [
        (siege.start_request(input=_GIANT), "Blob data size exceeds limit."),
        (siege.start_request(memo=memo), "Memo size exceeds limit."),
        (
            ws.SignalWorkflowExecutionRequest(
                namespace="default", workflow_execution=target, signal_name="s", input=_GIANT
            ),
            "Blob data size exceeds limit.",
        ),
        (
            ws.SignalWithStartWorkflowExecutionRequest(
                namespace="default",
                workflow_id=fresh("wf"),
                workflow_type=common.WorkflowType(name="flow"),
                task_queue=taskqueue.TaskQueue(name="q"),
                signal_name="s",
                signal_input=_GIANT,
            ),
            "Blob data size exceeds limit.",
        ),
        (
            ws.QueryWorkflowRequest(
                namespace="default",
                execution=target,
                query=query.WorkflowQuery(query_type="q", query_args=_GIANT),
            ),
            "Blob data size exceeds limit.",
        ),
    ]
    for request, text in large:
        await siege.refused(request, "INVALID_ARGUMENT", text)


async def test_a_giant_command_ends_its_workflow(siege: Siege) -> None:
    result = complete_workflow()
    result.complete_workflow_execution_command_attributes.result.CopyFrom(_GIANT)
    for giant in (
        result,
        record_marker(details={"d": _GIANT}),
        schedule_activity(taskqueue.TaskQueue(name="q"), input=_GIANT),
    ):
        request = siege.completion(await siege.started_task(), giant)
        await siege.refused(request, "INVALID_ARGUMENT", "exceeds size limit")


async def test_a_giant_report_ends_the_activity(siege: Siege) -> None:
    broken = failure("broken", non_retryable=True)
    broken.application_failure_info.details.CopyFrom(_GIANT)
    for kind, fields in (
        (ws.RespondActivityTaskCompletedRequest, {"result": _GIANT}),
        (ws.RespondActivityTaskCanceledRequest, {"details": _GIANT}),
        (ws.RecordActivityTaskHeartbeatRequest, {"details": _GIANT}),
        (ws.RespondActivityTaskFailedRequest, {"failure": broken}),
    ):
        task = await siege.started_activity()
        request: Any = kind(namespace="default", task_token=task.task_token, **fields)
        await siege.client.call(request)
        again = ws.RecordActivityTaskHeartbeatRequest(namespace="default", task_token=task.task_token)
        await siege.refused(again, "NOT_FOUND")


async def test_a_giant_answer_to_a_query_is_the_askers_error(siege: Siege) -> None:
    await siege.target()
    answers = (
        {"query_result": _GIANT, "completed_type": query_enums.QUERY_RESULT_TYPE_ANSWERED},
        {"error_message": "x" * MIB, "completed_type": query_enums.QUERY_RESULT_TYPE_FAILED},
        {
            "error_message": "ü" * 3000,
            "failure": failures.Failure(message="y" * MIB, stack_trace="z" * MIB),
            "completed_type": query_enums.QUERY_RESULT_TYPE_FAILED,
        },
    )
    request = ws.QueryWorkflowRequest(
        namespace="default",
        execution=common.WorkflowExecution(workflow_id="target"),
        query=query.WorkflowQuery(query_type="q"),
    )
    for answer in answers:
        asked = asyncio.ensure_future(siege.client.call(request))
        poll = ws.PollWorkflowTaskQueueRequest(namespace="default", task_queue=taskqueue.TaskQueue(name="target"))
        task: ws.PollWorkflowTaskQueueResponse = await siege.client.call(poll)
        assert task.HasField("query")
        fields: Any = {"namespace": "default", "task_token": task.task_token, **answer}
        await siege.client.call(ws.RespondQueryTaskCompletedRequest(**fields))
        with pytest.raises(CallFailed) as failed:
            await asked
        assert failed.value.code == "INVALID_ARGUMENT"
        assert failed.value.details, "the failure is told, as far as there is room"
        await siege.unharmed()


async def test_a_message_over_the_limit(siege: Siege) -> None:
    for size in (MESSAGE_LIMIT, 8 * MIB):
        error = await siege.refused(siege.start_request(input=blob(size)), "RESOURCE_EXHAUSTED", "larger than max")
        assert str(MESSAGE_LIMIT) in error.text
    await siege.refused(siege.start_request(input=blob(40 * MIB)), "RESOURCE_EXHAUSTED", "larger than max")


async def test_a_small_message_that_swells(siege: Siege) -> None:
    """64 MiB of zeros are 64 KiB in gzip; they are refused by what they would be."""
    body = siege.start_request(input=common.Payloads(payloads=[common.Payload(data=bytes(64 * MIB))]))
    assert len(zlib.compress(body.SerializeToString())) < MIB
    invoke = _unary(siege, "StartWorkflowExecution")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await invoke(body.SerializeToString(), timeout=20, compression=grpc.Compression.Gzip)
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await siege.unharmed()


async def test_giant_metadata(siege: Siege) -> None:
    invoke = _unary(siege, "GetSystemInfo")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await invoke(b"", timeout=10, metadata=(("authorization", "x" * 2 * ServerOptions().metadata_bytes_max),))
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await siege.unharmed()
    long = "x" * (ServerOptions().metadata_bytes_max // 2)
    for name in ("authorization", "client-name", "client-version", "x-anything"):
        await invoke(b"", timeout=10, metadata=((name, long),))
    await invoke(b"", timeout=10, metadata=tuple((f"x-{n}", "y") for n in range(500)))
    await invoke(b"", timeout=10, metadata=(("client-name", "temporal~"), ("x-bin", b"\xff\x00")))
    await siege.unharmed()


async def test_a_list_of_giant_memos_comes_in_pages_that_clients_take(siege: Siege) -> None:
    name = fresh("queue")
    memo = common.Memo(fields={"m": payload("x" * (MIB + MIB // 2))})
    started = [await siege.start(fresh("wf"), memo=memo, task_queue=taskqueue.TaskQueue(name=name)) for _ in range(4)]
    query_ = f"TaskQueue = '{name}'"

    async def listed() -> bool:
        count: ws.CountWorkflowExecutionsResponse = await siege.client.call(
            ws.CountWorkflowExecutionsRequest(namespace="default", query=query_)
        )
        return count.count == len(started)

    await until("the list to have them", listed)
    for kind in (ws.ListWorkflowExecutionsRequest, ws.ScanWorkflowExecutionsRequest):
        request: Any = kind(namespace="default", query=query_)
        found: list[str] = []
        while not found or request.next_page_token:
            page: Any = await siege.client.call(request)
            assert page.ByteSize() < MESSAGE_LIMIT
            found += [info.execution.run_id for info in page.executions]
            request.next_page_token = page.next_page_token
        assert sorted(found) == sorted(started)
    await siege.unharmed()


async def test_many_small_things_in_one_request(siege: Siege) -> None:
    many = common.Payloads(payloads=[common.Payload() for _ in range(200_000)])
    request = siege.start_request(
        input=many, header=common.Header(fields={str(n): payload("x") for n in range(20_000)})
    )
    await siege.client.call(request, 30)
    await siege.event_types(request.workflow_id)
    await siege.unharmed()


# ------------------------------------------------------------------------------------------------------------ filters


_FILTERS = {
    "deep parentheses": "(" * 50_000 + "WorkflowId = 'x'" + ")" * 50_000,
    "parentheses without an end": "(" * 100_000,
    "a chain of NOT": "NOT " * 50_000 + "WorkflowId = 'x'",
    "a chain of AND": " AND ".join(["WorkflowId = 'x'"] * 5_000),
    "a chain of OR": " OR ".join(["WorkflowId = 'x'"] * 20_000),
    "a list of many": "WorkflowId IN (" + ", ".join(["'x'"] * 50_000) + ")",
    "a list of as many as may be": "WorkflowId IN (" + ", ".join(["1"] * 10_900) + ")",
    "parentheses as deep as may be": "(" * 16_000 + "WorkflowId = 'x'" + ")" * 16_000,
    "as many conditions as may be": " AND ".join(["RunId = 'x'"] * 500),
    "a long duration": "ExecutionDuration = '" + "9" * 400 + "s'",
    "a long clock": "ExecutionDuration = '" + "9" * 5000 + ":00:00'",
    "a duration beyond all": "ExecutionDuration = '999999999999999999999d'",
    "the year 9999": "StartTime = '9999-12-31T23:59:59Z'",
    "a text without an end": "WorkflowId = '" + "x" * 100_000,
    "escapes": "WorkflowId = '" + "\\" * 100_001 + "'",
    "quotes": "WorkflowId = " + "'" * 100_001,
    "a long number": "HistoryLength = " + "9" * 100_000,
    "a large number": "HistoryLength = 99999999999999999999",
    "a long fraction": "HistoryLength = 0." + "9" * 100_000,
    "a large exponent": "HistoryLength = 1e999999999",
    "a time that is none": "StartTime = '9999-99-99T99:99:99Z'",
    "a time beyond the last": "StartTime = '292277026596-12-04T15:30:07Z'",
    "another statement": "WorkflowId = 'x'; DROP TABLE executions",
    "a comment": "WorkflowId = 'x' -- '",
    "a sub-query": "WorkflowId = (SELECT 1)",
    "a name of another table": "executions.workflow_id = 'x'",
    "NUL": "WorkflowId = '\x00'",
    "no letters": "\U0001f4a5 = '\U0001f4a5'",
    "spaces": " " * 1_000_000,
    "nested calls": "f(" * 20_000 + ")" * 20_000,
    "an unknown name": "x" * 100_000 + " = 'x'",
}


@pytest.mark.parametrize("kind", _FILTERS)
async def test_a_filter_is_understood_or_refused(siege: Siege, kind: str) -> None:
    for request in (
        ws.ListWorkflowExecutionsRequest(namespace="default", query=_FILTERS[kind]),
        ws.CountWorkflowExecutionsRequest(namespace="default", query=_FILTERS[kind]),
    ):
        try:
            await siege.client.call(request, 15)
        except CallFailed as failed:
            assert failed.code in ("INVALID_ARGUMENT", "UNIMPLEMENTED"), failed  # noqa: PT017 - no error is fine too
        await siege.unharmed()


async def test_values_in_a_filter_are_no_code(siege: Siege) -> None:
    """Everything is there still, and nothing more is found."""
    for text in ("x' OR '1' = '1", "x'' OR ''1''=''1", "%", "_", "*", "x\\"):
        quoted = text.replace("\\", "\\\\").replace("'", "\\'")
        request = ws.ListWorkflowExecutionsRequest(namespace="default", query=f"WorkflowId = '{quoted}'")
        found: ws.ListWorkflowExecutionsResponse = await siege.client.call(request)
        assert not found.executions


# ---------------------------------------------------------------------------------------------------------- namespaces


async def test_a_namespace_that_is_not_there(siege: Siege) -> None:
    for method, build in GOOD.items():
        request: Any = await build(siege)
        if "namespace" not in request.DESCRIPTOR.fields_by_name or method == "RegisterNamespace":
            continue
        for name in ("nowhere", "x" * 1001, "\x00", "x" * MIB):
            spoiled = type(request)()
            spoiled.CopyFrom(request)
            spoiled.namespace = name
            with pytest.raises(CallFailed) as failed:
                await siege.client.call(spoiled)
            expected = {"NOT_FOUND"} if len(name) < 1000 else {"NOT_FOUND", "INVALID_ARGUMENT"}
            if method == "RespondQueryTaskCompleted":
                expected = {"INVALID_ARGUMENT"}  # its token is none
            assert failed.value.code in expected, f"{method}: {failed.value}"
            await siege.unharmed()


async def test_many_at_once(siege: Siege) -> None:
    """A thousand bad calls in flight, and good ones among them."""

    async def bad(n: int) -> None:
        with pytest.raises(CallFailed):
            await siege.client.call_bytes(f"{SERVICE}/StartWorkflowExecution", b"\xff" * n)

    async def good() -> None:
        await siege.start(fresh("wf"))

    await in_turns([call for n in range(1, 500) for call in (bad(n), good())], at_once=1000)
    await siege.unharmed()


def _begins_with_text(path: str) -> bool:
    request = next(
        method.input_type
        for service in (WORKFLOW_SERVICE, OPERATOR_SERVICE)
        for method in service.methods
        if f"/{service.full_name}/{method.name}" == path
    )
    field = request.fields_by_number.get(1)
    return field is not None and field.type == FieldDescriptor.TYPE_STRING


def _unary(siege: Siege, method: str) -> Any:
    return siege.client.channel.unary_unary(f"{SERVICE}/{method}")


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
