"""Calls on workflows that are there, and on their histories and tasks."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Link, Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, QueryRejectCondition, QueryResultType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetStickyTaskQueueRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.base.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ShardLost, Unimplemented
from perdure.cluster.roles import HistoryPage, HistoryRead
from perdure.workflow.requests import ResetSticky
from perdure.workflow.tokens import QueryToken, TaskToken, encode_token
from tests.unit.frontend.fakes import HOME, asked, open_desk, with_limits

LONG = "x" * 1001
RUN = "0a0a0a0a-0000-4000-8000-00000000000f"
TOKEN = encode_token(TaskToken(HOME.id, "wf", RUN, 2, 3))
QUERY_TOKEN = encode_token(QueryToken(HOME.id, "queue", "query"))


def sticky(name: str) -> StickyExecutionAttributes:
    return StickyExecutionAttributes(worker_task_queue=TaskQueue(name=name))


def execution(workflow_id: str = "wf", run_id: str = "") -> WorkflowExecution:
    return WorkflowExecution(workflow_id=workflow_id, run_id=run_id)


def signal(**fields: Any) -> SignalWorkflowExecutionRequest:
    plain: dict[str, Any] = {"namespace": "default", "workflow_execution": execution(), "signal_name": "s"}
    return SignalWorkflowExecutionRequest(**(plain | fields))


@pytest.mark.parametrize(
    ("request_class", "field"),
    [
        (SignalWorkflowExecutionRequest, "workflow_execution"),
        (TerminateWorkflowExecutionRequest, "workflow_execution"),
        (RequestCancelWorkflowExecutionRequest, "workflow_execution"),
        (DescribeWorkflowExecutionRequest, "execution"),
        (QueryWorkflowRequest, "execution"),
        (GetWorkflowExecutionHistoryRequest, "execution"),
        (GetWorkflowExecutionHistoryReverseRequest, "execution"),
        (ResetStickyTaskQueueRequest, "execution"),
    ],
)
@pytest.mark.parametrize(
    ("named", "message"),
    [
        (None, "Execution is not set on request."),
        (execution(""), "WorkflowId is not set on request."),
        (execution("a", "b"), "Invalid RunId."),
    ],
)
async def test_an_execution_has_to_be_named_properly(
    request_class: type[Any], field: str, named: WorkflowExecution | None, message: str
) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(request_class(namespace="default", **{field: named}))
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"signal_name": ""}, "SignalName is not set on request."),
        ({"signal_name": LONG}, "SignalName length exceeds limit."),
        ({"request_id": LONG}, "RequestId length exceeds limit."),
        ({"links": [Link()]}, "unsupported link variant"),
        ({"input": Payloads(payloads=[Payload(data=b"x" * 2**21)])}, "Blob data size exceeds limit."),
    ],
)
async def test_a_bad_signal_is_refused(fields: dict[str, Any], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(signal(**fields))
    assert refused.value.message == message


async def test_a_signal_without_a_request_id_is_sent_once() -> None:
    desk = await open_desk()
    desk.history.reply = ShardLost("lost")
    with pytest.raises(ShardLost):
        await desk.call(signal())
    assert asked(desk).request.signal_name == "s"


async def test_a_termination_says_who_wanted_it() -> None:
    desk = await open_desk()
    await desk.call(TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=execution()))
    request = asked(desk).request
    assert (request.reason, request.identity) == ("terminated by user via frontend", "frontend-service")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (None, "WorkflowQuery is not set on request."),
        (WorkflowQuery(), "QueryType is not set on request."),
        (
            WorkflowQuery(query_type="q", query_args=Payloads(payloads=[Payload(data=b"x" * 2**21)])),
            "Blob data size exceeds limit.",
        ),
    ],
)
async def test_a_bad_query_is_refused(query: WorkflowQuery | None, message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(QueryWorkflowRequest(namespace="default", execution=execution(), query=query))
    assert refused.value.message == message


async def test_a_query_that_nobody_answers_says_so() -> None:
    desk = await open_desk()
    desk.history.reply = DeadlineExceeded("context deadline exceeded")
    query = WorkflowQuery(query_type="q")
    with pytest.raises(DeadlineExceeded, match="query timed out before a worker could process it"):
        await desk.call(QueryWorkflowRequest(namespace="default", execution=execution(), query=query))
    assert asked(desk).query_reject_condition == QueryRejectCondition.QUERY_REJECT_CONDITION_NONE


@pytest.mark.parametrize(("wanted", "given"), [(0, 256), (-1, 256), (7, 7), (1000, 256)])
async def test_a_history_page_is_asked_for_and_passed_on_encoded(wanted: int, given: int) -> None:
    desk = await open_desk()
    history = History(events=[HistoryEvent(event_id=number) for number in range(1, 60)])
    desk.history.reply = HistoryPage(history.SerializeToString(), b"t" * 200)
    reply = await desk.call(
        GetWorkflowExecutionHistoryRequest(
            namespace="default",
            execution=execution(run_id=RUN),
            maximum_page_size=wanted,
            next_page_token=b"before",
            wait_new_event=True,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
    )
    parsed = GetWorkflowExecutionHistoryResponse.FromString(reply)
    assert (parsed.history, parsed.next_page_token) == (history, b"t" * 200)
    assert asked(desk) == HistoryRead(RUN, given, b"before", wait_new_event=True, close_event_only=True)


async def test_an_empty_page_still_has_a_history() -> None:
    desk = await open_desk()
    desk.history.reply = HistoryPage(b"", b"")
    reply = await desk.call(GetWorkflowExecutionHistoryReverseRequest(namespace="default", execution=execution()))
    parsed = GetWorkflowExecutionHistoryReverseResponse.FromString(reply)
    assert parsed.HasField("history")
    assert parsed.next_page_token == b""
    assert asked(desk).reverse


async def test_a_sticky_queue_is_reset_on_its_run() -> None:
    desk = await open_desk()
    await desk.call(ResetStickyTaskQueueRequest(namespace="default", execution=execution(run_id=RUN)))
    assert asked(desk) == ResetSticky(RUN)


@pytest.mark.parametrize(
    ("request_message", "error"),
    [
        (RespondWorkflowTaskCompletedRequest(task_token=TOKEN, intermediate_page=True), FailedPrecondition),
        (RespondWorkflowTaskFailedRequest(task_token=TOKEN, messages=[ProtocolMessage()]), Unimplemented),
        (RespondWorkflowTaskCompletedRequest(task_token=TOKEN, identity=LONG), InvalidArgument),
        (RespondWorkflowTaskCompletedRequest(task_token=TOKEN, sticky_attributes=sticky(LONG)), InvalidArgument),
        (RespondWorkflowTaskCompletedRequest(task_token=TOKEN, sticky_attributes=sticky("/_sys/q/1")), InvalidArgument),
    ],
    ids=[str(number) for number in range(5)],
)
async def test_what_a_completion_may_not_carry(request_message: Any, error: type[Exception]) -> None:
    desk = await open_desk()
    with pytest.raises(error):
        await desk.call(request_message)
    assert desk.history.asked == []


async def test_a_task_failure_that_is_too_large_is_cut() -> None:
    desk = await open_desk(with_limits(blob_bytes_max=100))
    failure = Failure(message="x" * 200)
    await desk.call(RespondWorkflowTaskFailedRequest(task_token=TOKEN, failure=failure))
    request = asked(desk).request
    assert request.failure.message == "Failure exceeds size limit."
    assert request.failure.cause.message == "x" * 200


async def test_an_answer_to_a_query_that_is_too_large_fails_it() -> None:
    desk = await open_desk(with_limits(blob_bytes_max=100))
    result = Payloads(payloads=[Payload(data=b"x" * 200)])
    await desk.call(RespondQueryTaskCompletedRequest(task_token=QUERY_TOKEN, query_result=result))
    ((_, answer),) = desk.matching.answers
    assert answer.completed_type == QueryResultType.QUERY_RESULT_TYPE_FAILED
    assert answer.error_message == "Blob data size exceeds limit."


async def test_a_query_token_has_to_name_a_query() -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match="Invalid TaskToken"):
        await desk.call(RespondQueryTaskCompletedRequest(task_token=encode_token(QueryToken(HOME.id, "queue", ""))))
