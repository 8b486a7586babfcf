"""A workflow's end in the words of Nexus, and what is made of an answer. Most of it is compared with the reference in
`tests/conformance/scenarios/callbacks.py`."""

import orjson
import pytest
from temporalio.api.common.v1 import Callback, Link, Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure, NexusHandlerFailureInfo
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.slots import ChainKey
from perdure.history.completions import (
    Answer,
    completion,
    content,
    header_fault,
    http_time,
    judge,
    nexus_failure,
    nexus_link,
    rfc3339,
    shown,
)
from perdure.workflow.requests import CallbackPlan

T0 = 1_700_000_000 * SECOND_NS


def test_times_have_as_many_digits_as_they_need() -> None:
    assert rfc3339(T0) == "2023-11-14T22:13:20Z"
    assert rfc3339(T0 + 120_000_000) == "2023-11-14T22:13:20.120Z"
    assert rfc3339(T0 + 120_000) == "2023-11-14T22:13:20.000120Z"
    assert rfc3339(T0 + 1) == "2023-11-14T22:13:20.000000001Z"
    assert http_time(T0 + 1) == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_names_in_links_are_escaped() -> None:
    event = Link.WorkflowEvent(namespace="a b", workflow_id="x/y?<>", run_id="r")
    event.request_id_ref.request_id = "q&r=s"
    event.request_id_ref.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
    assert nexus_link(Link(workflow_event=event)) == (
        "<temporal:///namespaces/a%20b/workflows/x%2Fy%3F%3C%3E/r/history"
        "?eventType=WorkflowExecutionOptionsUpdated&referenceType=RequestIdReference&requestID=q%26r%3Ds>"
        '; type="temporal.api.common.v1.Link.WorkflowEvent"'
    )


def test_a_payload_that_its_content_type_does_not_tell_goes_as_it_is() -> None:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b"1")
    more = Payload(metadata={"encoding": b"json/plain", "more": b"x"}, data=b"1")
    assert content(None) == ({}, b"")
    assert content(plain) == ({"type": "application/json"}, b"1")
    headers, body = content(more)
    assert headers == {"type": "application/x-temporal-payload"}
    assert Payload.FromString(body) == more


def test_a_failure_carries_all_of_itself() -> None:
    cause = Failure(message="inner", nexus_handler_failure_info=NexusHandlerFailureInfo(type="INTERNAL"))
    cause.encoded_attributes.data = b"secret"
    failure = Failure(
        message="m", stack_trace="s", cause=cause, application_failure_info=ApplicationFailureInfo(type="T")
    )
    found = nexus_failure(failure)
    assert found["message"] == "m"
    assert found["stackTrace"] == "s"
    assert found["details"].keys() == {"cause", "applicationFailureInfo"}
    assert found["cause"]["metadata"] == {"type": "nexus.HandlerError"}
    assert found["cause"]["details"].keys() == {"type", "encodedAttributes"}
    orjson.dumps(found)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b'{"metadata": 3, "message": 4}', "application/json; charset=utf-8"),
        (b'{"metadata": {"type": "nexus.HandlerError"}, "details": 7}', "application/json"),
        (b"\xff" * 10, "application/json"),
        (b'{"message": "no"}', "text/plain"),
        (b"x", ""),
    ],
)
def test_an_answer_of_any_kind_has_a_meaning(body: bytes, content_type: str) -> None:
    answer = Answer(400, "Bad", {"content-type": content_type}, body)
    assert judge(answer) == ("handler error (BAD_REQUEST)", False)
    assert judge(Answer(599, "Odd", {"content-type": content_type}, body)) == (
        'unexpected response status: "599 Odd"',
        True,
    )


def test_what_headers_can_not_carry_is_found_before_they_are_sent() -> None:
    assert header_fault({"A-b": "fine\tvalue"}) == ""
    assert "field value" in header_fault({"A": "a\r\nHost: other"})
    assert "field value" in header_fault({"A": "a\x00"})
    assert "field name" in header_fault({"A b": ""})
    assert "field name" in header_fault({"": ""})


def test_passwords_are_not_shown() -> None:
    assert shown("http://me:secret@host/secret") == "http://me:***@host/secret"
    assert shown("http://host:80/a") == "http://host:80/a"


def test_no_result_says_how_long_its_message_is() -> None:
    metadata = {"encoding": b"unknown/nexus-content", "Length": b"0", "type": b"text/plain"}
    close = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
    close.workflow_execution_completed_event_attributes.result.payloads.add(metadata=metadata, data=b"all of it")
    callback = Callback(nexus=Callback.Nexus(url="http://receiver/"))
    plan = CallbackPlan(callback.SerializeToString(), "", 1, T0, T0, 5, ())
    call = completion(plan, ChainKey("ns", "w"), "r", "default", close)
    assert call.body == b"all of it"
    assert call.headers["Content-Type"] == "text/plain"
    assert "Content-Length" not in call.headers


def test_a_chain_of_large_causes_is_written_once() -> None:
    failure = Failure(message="x" * 20_000)
    for number in range(80):
        outer = Failure(message=f"{number}" + "x" * 20_000, application_failure_info=ApplicationFailureInfo(type="T"))
        outer.cause.CopyFrom(failure)
        failure = outer
    found = nexus_failure(failure)
    assert found["details"] == {"applicationFailureInfo": {"type": "T"}}
    assert found["cause"]["message"].startswith("78x")
    assert len(orjson.dumps(found)) < 2 * failure.ByteSize()
