"""Task and page tokens that nobody was given, that are another namespace's, or whose time is over."""

from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from perdure.history.reading import PageToken, encode_page_token
from perdure.workflow.tokens import QueryToken, TaskToken, decode_token, encode_token
from tests.conformance.harness.commands import complete_workflow, start_timer
from tests.conformance.harness.payloads import failure
from tests.conformance.harness.rpc import CallFailed
from tests.e2e.siege import IDENTITY, OTHER_NAMESPACE, Siege, fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

_GARBAGE = {
    "short": b"\x01",
    "text": b"not a token",
    "zeros": bytes(64),
    "0xff": b"\xff" * 64,
    "head only": b"\x01\x01",
    "query head only": b"\x01\x71",
    "newer version": b"\x02\x01\x90",
    "giant": b"\x01\x01" + b"\x91" * (1 << 20),
    "wrong types": b"\x01\x01" + msgspec.msgpack.encode([1, 2, 3, "four"]),
    "too few fields": b"\x01\x01" + msgspec.msgpack.encode(["a"]),
    "no UTF-8": b"\x01\x01\x94\xa2\xff\xfe\xa1a\xa1b\x05",
    "nothing real": encode_token(TaskToken("no-such-namespace", "w", "r", 1)),
}


def _with(token: bytes, namespace: str = "default") -> list[Message]:
    """Every request that carries a task token."""
    given: dict[str, Any] = {"namespace": namespace, "task_token": token, "identity": IDENTITY}
    return [
        ws.RespondWorkflowTaskCompletedRequest(**given),
        ws.RespondWorkflowTaskFailedRequest(**given),
        ws.RespondQueryTaskCompletedRequest(namespace=namespace, task_token=token),
        ws.RespondActivityTaskCompletedRequest(**given),
        ws.RespondActivityTaskFailedRequest(**given, failure=failure("x")),
        ws.RespondActivityTaskCanceledRequest(**given),
        ws.RecordActivityTaskHeartbeatRequest(**given),
    ]


@pytest.mark.parametrize("kind", _GARBAGE)
async def test_garbage_is_no_token(siege: Siege, kind: str) -> None:
    for request in _with(_GARBAGE[kind]):
        error = await _refusal(siege, request)
        assert error.code in ("INVALID_ARGUMENT", "NOT_FOUND"), error
        if kind != "nothing real":
            assert error.text == "Error deserializing task token." or "TaskToken" in error.text


async def test_no_token_at_all(siege: Siege) -> None:
    for request in _with(b""):
        await siege.refused(request, "INVALID_ARGUMENT", "Task token not set on request.")


async def test_a_token_is_refused_under_another_namespace(siege: Siege) -> None:
    tokens = [(await siege.started_task()).task_token, (await siege.started_activity()).task_token]
    for token in tokens:
        for request in _with(token, OTHER_NAMESPACE):
            await siege.refused(request, "INVALID_ARGUMENT")
        for request in _with(token, "nowhere"):
            error = await _refusal(siege, request)
            assert error.code in ("INVALID_ARGUMENT", "NOT_FOUND"), error


async def test_a_token_forged_for_the_canary_finds_no_task(siege: Siege) -> None:
    """Even one with the right ids, as far as they can be guessed from the history."""
    mine = decode_token((await siege.started_task()).task_token)
    canary = siege.canary
    for scheduled in (2, 5, -1, (1 << 63) - 1):
        token = TaskToken(mine.namespace_id, canary.workflow_id, canary.run_id, scheduled, 3, 1, activity_id="perch")
        for request in _with(encode_token(token)):
            if isinstance(request, ws.RespondQueryTaskCompletedRequest):
                continue
            error = await _refusal(siege, request)
            assert error.code in ("NOT_FOUND", "INVALID_ARGUMENT"), error


@pytest.mark.parametrize(
    "fields",
    [
        {"scheduled_event_id": (1 << 64) - 1},
        {"scheduled_event_id": -(1 << 63)},
        {"run_id": "no-uuid"},
        {"run_id": "x" * 100_000},
        {"workflow_id": ""},
        {"workflow_id": "\x00"},
        {"workflow_id": "x" * 100_000},
        {"attempt": (1 << 64) - 1},
        {"attempt": -1},
        {"started_time_ns": 1},
    ],
    ids=lambda fields: " ".join(f"{key}={value!r:.20}" for key, value in fields.items()),
)
async def test_a_real_token_with_a_field_changed_finds_no_task(siege: Siege, fields: dict[str, Any]) -> None:
    token = decode_token((await siege.started_task()).task_token)
    changed = encode_token(msgspec.structs.replace(token, **fields))
    for request in _with(changed)[:2]:
        error = await _refusal(siege, request)
        assert error.code in ("NOT_FOUND", "INVALID_ARGUMENT"), error
    work = decode_token((await siege.started_activity()).task_token)
    changed = encode_token(msgspec.structs.replace(work, **fields))
    for request in _with(changed)[3:]:
        error = await _refusal(siege, request)
        assert error.code in ("NOT_FOUND", "INVALID_ARGUMENT"), error


async def test_a_workflow_task_token_with_another_started_event(siege: Siege) -> None:
    token = decode_token((await siege.started_task()).task_token)
    for started in (2, 4, 1 << 63):
        changed = encode_token(msgspec.structs.replace(token, started_event_id=started))
        for request in _with(changed)[:2]:
            await siege.refused(request, "NOT_FOUND", "Workflow task not found.")


async def test_an_outdated_workflow_task_token(siege: Siege) -> None:
    task = await siege.started_task()
    await siege.complete(task, start_timer(seconds=3600))
    for request in _with(task.task_token)[:2]:
        await siege.refused(request, "NOT_FOUND", "Workflow task not found.")


async def test_an_outdated_activity_token(siege: Siege) -> None:
    task = await siege.started_activity()
    await siege.client.call(ws.RespondActivityTaskCompletedRequest(namespace="default", task_token=task.task_token))
    for request in _with(task.task_token)[3:]:
        await siege.refused(request, "NOT_FOUND", "activity")


async def test_tokens_outlive_no_workflow(siege: Siege) -> None:
    task = await siege.started_task()
    gone = common.WorkflowExecution(workflow_id=task.workflow_execution.workflow_id)
    await siege.client.call(ws.TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=gone))
    await siege.refused(siege.completion(task, complete_workflow()), "NOT_FOUND")


async def test_an_answer_to_a_query_that_nobody_asked(siege: Siege) -> None:
    namespace_id = decode_token((await siege.started_task()).task_token).namespace_id
    for token in (
        QueryToken(namespace_id, "canary", "x"),
        QueryToken(namespace_id, "", ""),
        QueryToken(namespace_id, "x" * 100_000, "y" * 100_000),
        QueryToken(namespace_id, "canary", ""),
    ):
        error = await _refusal(siege, ws.RespondQueryTaskCompletedRequest(task_token=encode_token(token)))
        assert error.code in ("NOT_FOUND", "INVALID_ARGUMENT"), error


# ------------------------------------------------------------------------------------------------------- page tokens


_PAGES = {
    **_GARBAGE,
    "another run": encode_page_token(PageToken("00000000-0000-4000-8000-000000000000", 1, 9, True)),
    "before the beginning": encode_page_token(PageToken("", -5, 9, True)),
    "beyond the end": encode_page_token(PageToken("", 10_000, 20_000, False)),
    "beyond all numbers": encode_page_token(PageToken("", (1 << 63) - 1, (1 << 64) - 1, True)),
    "nobody's": encode_page_token(PageToken("no-uuid", 0, 0, False)),
}


@pytest.mark.parametrize("kind", _PAGES)
async def test_a_forged_page_token_is_refused_or_reads_what_it_may(siege: Siege, kind: str) -> None:
    """Whoever may read a history gets from it whatever token it sends, and from nothing else."""
    token = _PAGES[kind]
    executions = [siege.canary, common.WorkflowExecution(workflow_id="canary")]
    for execution in executions:
        for request in (
            ws.GetWorkflowExecutionHistoryRequest(namespace="default", execution=execution, next_page_token=token),
            ws.GetWorkflowExecutionHistoryReverseRequest(
                namespace="default", execution=execution, next_page_token=token
            ),
        ):
            await _refused_or_read(siege, request)
    await _refused_or_read(siege, ws.ListWorkflowExecutionsRequest(namespace="default", next_page_token=token))
    await _refused_or_read(siege, ws.ListNamespacesRequest(next_page_token=token))


@pytest.mark.parametrize("first", [-1, 0, 3, 9, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("bound", [-1, 0, 4, 1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("running", [True, False])
async def test_a_page_token_with_other_bounds(siege: Siege, first: int, bound: int, running: bool) -> None:
    token = encode_page_token(PageToken(siege.canary.run_id, first, bound, running))
    for wait in (False, True):
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace="default", execution=siege.canary, next_page_token=token, wait_new_event=wait
        )
        await _refused_or_read(siege, request)
    request_ = ws.GetWorkflowExecutionHistoryReverseRequest(
        namespace="default", execution=siege.canary, next_page_token=token
    )
    await _refused_or_read(siege, request_)


@pytest.mark.parametrize("size", [-1, -(1 << 31), 0, (1 << 31) - 1])
async def test_page_sizes_beyond_reason_mean_the_default(siege: Siege, size: int) -> None:
    for request in (
        ws.GetWorkflowExecutionHistoryRequest(namespace="default", execution=siege.canary, maximum_page_size=size),
        ws.GetWorkflowExecutionHistoryReverseRequest(
            namespace="default", execution=siege.canary, maximum_page_size=size
        ),
        ws.ListWorkflowExecutionsRequest(namespace="default", page_size=size),
        ws.ListNamespacesRequest(page_size=size),
    ):
        await siege.client.call(request)
        await siege.unharmed()


async def test_a_list_token_of_another_namespace_shows_nothing_of_it(siege: Siege) -> None:
    for _ in range(3):
        await siege.start(fresh("listed"))
    request = ws.ListWorkflowExecutionsRequest(namespace="default", page_size=1)
    page: ws.ListWorkflowExecutionsResponse = await siege.client.call(request)
    assert page.next_page_token
    other = ws.ListWorkflowExecutionsRequest(namespace=OTHER_NAMESPACE, next_page_token=page.next_page_token)
    found: ws.ListWorkflowExecutionsResponse = await siege.client.call(other)
    assert not found.executions


async def _refusal(siege: Siege, request: Message) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await siege.client.call(request)
    await siege.unharmed()
    return failed.value


async def _refused_or_read(siege: Siege, request: Message) -> None:
    try:
        await siege.client.call(request, 0.5)
    except CallFailed as failed:
        waits = isinstance(request, ws.GetWorkflowExecutionHistoryRequest) and request.wait_new_event
        allowed = {"INVALID_ARGUMENT", "NOT_FOUND", *(["DEADLINE_EXCEEDED"] if waits else [])}
        assert failed.code in allowed, failed  # noqa: PT017 - no error is fine too
    await siege.unharmed()
