"""How deep a request may be: what parses can be stored and handed out inside other messages, and read again."""

import pytest
from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import ActivityTaskFailedEventAttributes, History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetSystemInfoRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionRequest,
)

from perdure.base.depth import parser


def failing(depth: int) -> RespondActivityTaskFailedRequest:
    """A report of so many failures within one another."""
    failure = Failure(message="0")
    for _ in range(depth - 1):
        failure = Failure(message="x", cause=failure)
    return RespondActivityTaskFailedRequest(namespace="default", failure=failure)


def handed_out(failure: Failure) -> Message:
    """Where it is deepest: in the history of a task that comes with the reply to a completion."""
    event = HistoryEvent(activity_task_failed_event_attributes=ActivityTaskFailedEventAttributes(failure=failure))
    task = PollWorkflowTaskQueueResponse(history=History(events=[event]))
    return RespondWorkflowTaskCompletedResponse(workflow_task=task)


def test_what_parses_can_be_handed_out_and_what_is_too_deep_for_that_is_refused() -> None:
    parse = parser(RespondActivityTaskFailedRequest)
    deepest = parse(failing(94).SerializeToString())
    reply = handed_out(Failure(cause=deepest.failure))
    assert RespondWorkflowTaskCompletedResponse.FromString(reply.SerializeToString()) == reply
    too_deep = failing(95).SerializeToString()
    RespondActivityTaskFailedRequest.FromString(too_deep)  # the library itself takes it
    with pytest.raises(DecodeError):
        parse(too_deep)


def test_fields_that_nobody_knows_are_no_deeper() -> None:
    parse = parser(Payload)
    start, end = b"\x83\x7d", b"\x84\x7d"  # a group
    assert parse(start * 90 + end * 90)
    with pytest.raises(DecodeError):
        parse(start * 95 + end * 95)


@pytest.mark.parametrize("size", [0, 100, 187, 188, 20_000, 3_000_000])
def test_a_request_of_any_size_is_what_the_library_makes_of_it(size: int) -> None:
    payloads = Payloads(payloads=[Payload(data=b"x" * size)])
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", input=payloads)
    parsed = parser(StartWorkflowExecutionRequest)(request.SerializeToString())
    assert type(parsed) is StartWorkflowExecutionRequest
    assert parsed == request
    assert parser(GetSystemInfoRequest)(b"") == GetSystemInfoRequest()


@pytest.mark.parametrize("body", [b"\x0a\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b", b"\x0c", b"\xff" * 4])
def test_what_is_no_message_is_none_however_long(body: bytes) -> None:
    long = b"\x12\x02ab" * 100  # a workflow id, again and again
    for bad in (body, long + body):
        with pytest.raises(DecodeError):
            parser(StartWorkflowExecutionRequest)(bad)
