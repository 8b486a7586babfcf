"""What workers say of updates: in their place among the commands, and each mistake with its cause and words."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Meta, Outcome, Rejection, Response

from perdure.base.errors import InvalidArgument, WorkflowNotReady
from perdure.base.limits import Limits
from perdure.workflow.updates import ACCEPTED, COMPLETED
from tests.transcripts.scenarios import command, done, start
from tests.transcripts.stage import Stage
from tests.transcripts.updating import (
    RESULT,
    accepted,
    answer,
    asked,
    carried,
    command_for,
    completed,
    heard,
    message,
    refusal,
    rejected,
    update,
)

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE
_PREFIX = "BadUpdateWorkflowExecutionMessage: "


def begun(*update_ids: str, limits: Limits | None = None) -> Stage:
    """A workflow whose speculative task is started, with these updates."""
    stage = Stage(limits=limits)
    stage.do(start())
    stage.poll()
    stage.complete()
    for update_id in update_ids or ("u",):
        stage.do(update(update_id, request=asked(update_id, request_id=f"request-{update_id}")))
    stage.poll()
    return stage


def names(stage: Stage) -> list[str]:
    """The types of the events after the completion of the speculative task."""
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in stage.history[7:]]


def test_the_message_of_an_update() -> None:
    stage = begun()
    assert stage.last is not None
    (encoded,) = stage.last.messages
    sent = Message.FromString(encoded)
    assert (sent.id, sent.protocol_instance_id, sent.event_id) == ("u/request", "u", 5)
    assert sent.body.type_url == "type.googleapis.com/temporal.api.update.v1.Request"
    assert sent.body.value == asked(request_id="request-u").SerializeToString()


def test_messages_take_effect_where_their_commands_are_and_the_rest_after_them() -> None:
    stage = begun("a", "b")
    marker = command("RECORD_MARKER", marker_name="m")
    named = accepted("b")
    stage.complete(command_for(named), marker, messages=[accepted("a"), named, completed("b")])
    assert names(stage) == [
        "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
        "MARKER_RECORDED",
        "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
        "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
    ]
    assert stage.history[7].workflow_execution_update_accepted_event_attributes.protocol_instance_id == "b"
    assert {moved.update_id: moved.stage for moved in heard(stage)} == {"a": ACCEPTED, "b": COMPLETED}


def test_the_events_of_an_update() -> None:
    stage = begun()
    answer(stage, accepted(), completed())
    taken = stage.history[7].workflow_execution_update_accepted_event_attributes
    assert taken.accepted_request == asked(request_id="request-u")
    assert (taken.accepted_request_message_id, taken.accepted_request_sequencing_event_id) == ("u/request", 3)
    ended = stage.history[8].workflow_execution_update_completed_event_attributes
    assert (ended.accepted_event_id, ended.meta.update_id) == (8, "u")
    assert ended.outcome == Outcome(success=RESULT)
    known = stage.run.durable.request_ids["request-u"]
    assert (known.event_type, known.event_id) == (EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, 8)


def test_a_worker_that_says_nothing_rejects() -> None:
    stage = begun()
    assert stage.complete().record is None
    (moved,) = heard(stage)
    failure = Outcome.FromString(moved.outcome).failure
    assert failure.application_failure_info.type == "UnprocessedUpdate"
    assert failure.source == "Server"


def test_a_worker_that_asks_for_time_has_not_answered_yet() -> None:
    stage = begun()
    stage.do(update("later"))
    decision = stage.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    assert heard(stage) == []
    assert decision.record is not None
    assert carried(decision.reply.next_task) == ["later"]
    answer(stage, accepted(), accepted("later"))
    assert [moved.stage for moved in heard(stage)] == [ACCEPTED, ACCEPTED]


def test_an_update_that_the_server_lost_comes_back_with_the_answer() -> None:
    stage = begun()
    stage.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    stage.lose()
    answer(stage, accepted(accepted_request=asked()), completed())
    assert stage.run.facts.updates["u"].completed_event_id
    assert stage.history[-2].workflow_execution_update_accepted_event_attributes.accepted_request == asked()


def test_one_that_is_rejected_may_come_back_too() -> None:
    stage = begun()
    stage.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    stage.lose()
    answer(stage, rejected(rejected_request=asked()))
    assert stage.run.facts.updates == {}


def _packed(type_url: str, value: bytes = b"") -> Message:
    return Message(id="m", protocol_instance_id="u", body=AnyMessage(type_url=type_url, value=value))


_ACCEPTANCE = "type.googleapis.com/temporal.api.update.v1.Acceptance"
_TRANSITION = "invalid state transition attempted for Update u: received *update.{} message while in state {}"
_UNKNOWN = (
    "update other wasn't found on the server. This is most likely a transient error which will be resolved "
    "automatically by retries"
)
_MISTAKES = {
    "of an unknown update": (
        (accepted("other"),),
        _UNKNOWN,
    ),
    "completed before accepted": (
        (completed(),),
        _TRANSITION.format("Response", "Sent"),
    ),
    "accepted twice": (
        (accepted(), accepted()),
        _TRANSITION.format("Acceptance", "ProvisionallyAccepted"),
    ),
    "completed twice": (
        (accepted(), completed(), completed()),
        _TRANSITION.format("Response", "ProvisionallyCompleted"),
    ),
    "accepted without the message": (
        (accepted(accepted_request_message_id=""),),
        "invalid *update.Acceptance: accepted_request_message_id is not set",
    ),
    "accepted without an event": (
        (accepted(accepted_request_sequencing_event_id=0),),
        "invalid *update.Acceptance: accepted_request_sequencing_event_id is not set",
    ),
    "completed without meta": (
        (accepted(), message(Response(outcome=Outcome(success=RESULT)))),
        "invalid *update.Response: meta is not set",
    ),
    "completed without an id": (
        (accepted(), message(Response(meta=Meta(identity="x"), outcome=Outcome(success=RESULT)))),
        "invalid *update.Response: meta.update_id is not set",
    ),
    "completed under another id": (
        (accepted(), message(Response(meta=Meta(update_id="x"), outcome=Outcome(success=RESULT)))),
        "invalid *update.Response: meta.update_id != u",
    ),
    "completed without an outcome": (
        (accepted(), message(Response(meta=Meta(update_id="u")))),
        "invalid *update.Response: outcome is not set",
    ),
    "a request": ((message(asked()),), "Message type *update.Request not supported"),
    "of another protocol": (
        (_packed("type.googleapis.com/temporal.api.query.v1.Query"),),
        "unsupported protocol type temporal.api.query.v1",
    ),
}


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_mistake_fails_the_task(mistake: str) -> None:
    messages, text = _MISTAKES[mistake]
    stage = begun()
    decision = stage.complete(messages=messages)
    assert isinstance(decision.refusal, InvalidArgument)
    assert decision.refusal.message == _PREFIX + text
    failed = stage.history[6].workflow_task_failed_event_attributes
    assert (failed.cause, failed.failure.message) == (_BAD, _PREFIX + text)
    (moved,) = heard(stage)
    assert isinstance(moved.error, WorkflowNotReady)
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == []


def test_what_no_worker_has_seen_outlives_a_bad_completion() -> None:
    stage = begun()
    stage.do(update("new"))
    stage.complete(messages=[accepted("other")])
    assert [moved.update_id for moved in heard(stage)] == ["u"]
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["new"]


def test_a_repeated_attempt_fails_without_a_trace_and_its_updates_with_it() -> None:
    stage = begun()
    stage.fail()
    stage.poll()
    decision = stage.complete(messages=[accepted("other")])
    assert isinstance(decision.refusal, InvalidArgument)
    assert decision.record is None
    assert [type(moved.error) for moved in heard(stage)] == [WorkflowNotReady]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (None, "nil message body"),
        (AnyMessage(), "no message name specified"),
        (AnyMessage(type_url="x/name"), 'failed to extract protocol type: no . found in "name"'),
    ],
)
def test_what_can_not_be_told_apart_is_refused(body: AnyMessage | None, text: str) -> None:
    stage = begun()
    decision = stage.complete(messages=[Message(id="m", protocol_instance_id="u", body=body)])
    assert isinstance(decision.refusal, InvalidArgument)
    assert decision.refusal.message == text
    assert len(stage.history) == 4
    assert decision.record is None
    stage.poll()
    assert stage.last is not None
    assert (carried(stage.last), stage.last.task.attempt) == (["u"], 1)
    assert heard(stage) == []


def test_commands_that_name_no_message() -> None:
    for named, text in (
        (command("PROTOCOL_MESSAGE"), "MessageID is not set on ProtocolMessageCommand."),
        (command("PROTOCOL_MESSAGE", message_id="x"), "ProtocolMessageCommand referenced absent message ID x"),
    ):
        decision = begun().complete(named)
        assert decision.refusal is not None
        assert decision.refusal.message == _PREFIX + text


def test_a_message_is_taken_once() -> None:
    named = accepted()
    decision = begun().complete(command_for(named), command_for(named), messages=[named])
    assert decision.refusal is not None
    assert decision.refusal.message.endswith("referenced absent message ID u/acceptance")


def test_a_large_message_ends_the_workflow() -> None:
    stage = begun(limits=Limits(blob_bytes_max=100))
    large = message(Rejection(failure=refusal(), rejected_request_message_id="x" * 100))
    decision = stage.complete(messages=[large])
    assert decision.refusal is not None
    assert decision.refusal.message == _PREFIX + "Message type temporal.api.update.v1.Rejection exceeds size limit."
    assert not stage.run.is_open


def test_an_unreadable_body_fails_the_task() -> None:
    stage = begun()
    decision = stage.complete(messages=[_packed(_ACCEPTANCE, b"\xff\xff")])
    assert decision.refusal is not None
    assert decision.refusal.message.startswith(_PREFIX + "unable to unmarshal request: ")


def test_an_acceptance_after_the_close_comes_too_late() -> None:
    stage = begun()
    stage.complete(done(), messages=[message(Acceptance(accepted_request_message_id="u/request")), completed()])
    (moved,) = heard(stage)
    assert moved.error is not None
    assert moved.error.message == "workflow update was aborted by closing workflow"
    assert names(stage) == ["WORKFLOW_EXECUTION_COMPLETED"]
