"""What no worker should say of updates, and what it must not cost."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message as Body
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Meta, Outcome, Rejection, Response
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedResponse

from perdure.base.errors import InvalidArgument, WorkflowNotReady
from tests.transcripts.scenarios import start
from tests.transcripts.stage import Stage
from tests.transcripts.updating import accepted, answer, carried, heard, update


def begun() -> Stage:
    """A workflow whose speculative task is started, with update `u`."""
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.complete()
    stage.do(update())
    stage.poll()
    return stage


def failing(depth: int) -> Failure:
    """So many failures within one another."""
    failure = Failure(message="0")
    for _ in range(depth - 1):
        failure = Failure(message="x", cause=failure)
    return failure


def about(body: Body) -> Message:
    """A message about `u`; made of bytes, for the library won't pack what it can't parse."""
    value = body.SerializeToString()
    packed = AnyMessage(type_url=f"type.googleapis.com/{body.DESCRIPTOR.full_name}", value=value)
    return Message(id="u/x", protocol_instance_id="u", body=packed)


def failed(depth: int) -> Message:
    """The outcome of `u` is that failure."""
    return about(Response(meta=Meta(update_id="u"), outcome=Outcome(failure=failing(depth))))


def test_an_outcome_that_is_taken_can_be_handed_out_with_the_history() -> None:
    stage = begun()
    assert answer(stage, accepted(), failed(93)).refusal is None
    task = PollWorkflowTaskQueueResponse(history=History(events=stage.history))
    reply = RespondWorkflowTaskCompletedResponse(workflow_task=task)
    assert RespondWorkflowTaskCompletedResponse.FromString(reply.SerializeToString()) == reply


def test_an_outcome_too_deep_for_an_event_fails_the_task() -> None:
    for depth in (94, 97, 98):
        stage = begun()
        decision = answer(stage, accepted(), failed(depth))
        assert isinstance(decision.refusal, InvalidArgument)
        assert "unable to unmarshal request" in decision.refusal.message
        assert "u" not in stage.run.facts.updates


def test_a_rejection_too_deep_for_its_answer_fails_the_task() -> None:
    decision = answer(begun(), about(Rejection(failure=failing(98))))
    assert isinstance(decision.refusal, InvalidArgument)


def test_an_update_whose_every_answer_is_none_does_not_go_to_workers_for_ever() -> None:
    stage = begun()
    stage.query("q")
    for _ in range(9):
        assert isinstance(stage.complete(messages=[Message(id="m")]).refusal, InvalidArgument)
        assert heard(stage) == []
        stage.poll()
        assert stage.last is not None
        assert carried(stage.last) == ["u"]
    decision = stage.complete(messages=[Message(id="m")])
    assert decision.record is None
    (moved,) = heard(stage)
    assert isinstance(moved.error, WorkflowNotReady)
    assert stage.run.workflow_task is None
    assert [(notice.query_id, notice.error) for notice in stage.notices] == [("q", None)]
