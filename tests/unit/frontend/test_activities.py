"""Reports on activities: whom they name, and what becomes of what is too large."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedRequest,
)

from perdure.base.errors import InvalidArgument
from perdure.workflow.requests import (
    ActivityRef,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatRecorded,
)
from perdure.workflow.tokens import TaskToken, encode_token
from tests.unit.frontend.fakes import HOME, asked, open_desk, with_limits

TASK = TaskToken(HOME.id, "wf", "run", 5, activity_id="act")
TOKEN = encode_token(TASK)
SMALL = with_limits(blob_bytes_max=100)
LARGE = Payloads(payloads=[Payload(data=b"x" * 200)])
BY_ID: dict[str, Any] = {"namespace": "default", "workflow_id": "wf", "activity_id": "act"}
REF = ActivityRef(run_id="", activity_id="act")


def application(message: str = "broken", **info: Any) -> Failure:
    return Failure(message=message, application_failure_info=ApplicationFailureInfo(**info))


@pytest.mark.parametrize(
    ("request_message", "kind", "ref"),
    [
        (RespondActivityTaskCompletedRequest(task_token=TOKEN), CompleteActivity, ActivityRef(TASK)),
        (RespondActivityTaskCompletedByIdRequest(**BY_ID), CompleteActivity, REF),
        (RespondActivityTaskFailedRequest(task_token=TOKEN, failure=application()), FailActivity, ActivityRef(TASK)),
        (RespondActivityTaskFailedByIdRequest(**BY_ID, failure=application()), FailActivity, REF),
        (RespondActivityTaskCanceledRequest(task_token=TOKEN), CancelActivity, ActivityRef(TASK)),
        (RespondActivityTaskCanceledByIdRequest(**BY_ID), CancelActivity, REF),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_report_goes_to_the_activitys_chain(request_message: Any, kind: type, ref: ActivityRef) -> None:
    desk = await open_desk()
    await desk.call(request_message)
    ((key, request),) = desk.history.asked
    assert (key.namespace_id, key.workflow_id) == (HOME.id, "wf")
    assert isinstance(request, kind)
    assert request.ref == ref  # type: ignore[attr-defined]  # every kind of the table has it


@pytest.mark.parametrize(
    "request_message",
    [RecordActivityTaskHeartbeatRequest(task_token=TOKEN), RecordActivityTaskHeartbeatByIdRequest(**BY_ID)],
    ids=["token", "id"],
)
async def test_a_heartbeat_tells_what_is_wished(request_message: Any) -> None:
    desk = await open_desk()
    desk.history.reply = HeartbeatRecorded(cancel_requested=True, activity_paused=True, activity_reset=True)
    reply = await desk.call(request_message)
    assert (reply.cancel_requested, reply.activity_paused, reply.activity_reset) == (True, True, True)
    assert asked(desk).details is None


async def test_nothing_and_an_empty_list_are_told_apart() -> None:
    desk = await open_desk()
    await desk.call(RespondActivityTaskCompletedRequest(task_token=TOKEN))
    await desk.call(RespondActivityTaskCompletedRequest(task_token=TOKEN, result=Payloads()))
    assert [request.result for _, request in desk.history.asked] == [None, Payloads()]


@pytest.mark.parametrize(
    ("request_message", "message"),
    [
        (RespondActivityTaskCompletedRequest(task_token=TOKEN, result=LARGE), "Complete result exceeds size limit."),
        (RespondActivityTaskCanceledRequest(task_token=TOKEN, details=LARGE), "Cancel details exceed size limit."),
        (RecordActivityTaskHeartbeatRequest(task_token=TOKEN, details=LARGE), "Heartbeat details exceed size limit."),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_is_too_large_fails_the_activity(request_message: Any, message: str) -> None:
    desk = await open_desk(SMALL)
    await desk.call(request_message)
    request = asked(desk)
    assert isinstance(request, FailActivity)
    assert request.failure.message == message
    assert request.failure.server_failure_info.non_retryable


async def test_a_heartbeat_that_is_too_large_asks_the_worker_to_stop() -> None:
    desk = await open_desk(SMALL)
    reply = await desk.call(RecordActivityTaskHeartbeatRequest(task_token=TOKEN, details=LARGE))
    assert reply.cancel_requested


async def test_a_failure_that_is_too_large_is_cut_and_the_worker_told() -> None:
    desk = await open_desk(SMALL)
    request = RespondActivityTaskFailedRequest(
        task_token=TOKEN, failure=application("x" * 200), last_heartbeat_details=LARGE
    )
    reply = await desk.call(request)
    assert [failure.message for failure in reply.failures] == [
        "Heartbeat details exceed size limit.",
        "Failure exceeds size limit.",
    ]
    failed = asked(desk)
    assert failed.last_heartbeat_details is None
    assert failed.failure.cause.message == "x" * 200


@pytest.mark.parametrize(
    ("request_message", "message"),
    [
        (
            RespondActivityTaskFailedRequest(task_token=TOKEN, failure=Failure(message="x")),
            "Failure must have ApplicationFailureInfo.",
        ),
        (
            RespondActivityTaskFailedRequest(
                task_token=TOKEN,
                failure=Failure(
                    application_failure_info=ApplicationFailureInfo(),
                    cause=application(next_retry_delay=Duration(seconds=1, nanos=-1)),
                ),
            ),
            "NextRetryDelay is not a valid duration: duration has seconds and nanos with different signs",
        ),
        (
            RespondActivityTaskCompletedRequest(task_token=TOKEN, identity="x" * 1001),
            "Identity length exceeds limit.",
        ),
        (RespondActivityTaskCompletedByIdRequest(namespace="default"), "ActivityId is not set on request."),
        (RespondActivityTaskCompletedByIdRequest(**BY_ID, run_id="r"), "RunId is not valid UUID."),
        (RecordActivityTaskHeartbeatByIdRequest(namespace="default"), "ActivityId is not set on request."),
    ],
    ids=[str(number) for number in range(6)],
)
async def test_a_bad_report_is_refused(request_message: Any, message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(request_message)
    assert refused.value.message == message
    assert desk.history.asked == []
