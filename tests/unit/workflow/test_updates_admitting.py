"""What admits an update, what refuses it, and what one of the same id is answered with."""

from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import EventType
from temporalio.api.update.v1 import Input, Meta, Request

from perdure.base.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PerdureError,
    ResourceExhausted,
    WorkflowNotReady,
)
from perdure.base.limits import Limits
from perdure.workflow.updates import ACCEPTED, ADMITTED, COMPLETED
from tests.transcripts.scenarios import command, done, signal, start, terminate
from tests.transcripts.stage import Stage
from tests.transcripts.updating import accepted, answer, asked, carried, completed, heard, rejected, update


def waiting(limits: Limits | None = None) -> Stage:
    """A workflow whose first task is done."""
    stage = Stage(limits=limits)
    stage.do(start())
    stage.poll()
    stage.complete()
    return stage


def refused(stage: Stage, **fields: object) -> PerdureError:
    """Why the update is not admitted; nothing changes."""
    decision = stage.decide(update(**fields))  # type: ignore[arg-type]  # of `update`
    assert decision.refusal is not None
    assert decision.record is None
    return decision.refusal


def test_updates_go_out_in_order_with_one_task() -> None:
    stage = waiting()
    for update_id in "cab":
        assert stage.do(update(update_id)).stage == ADMITTED
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["c", "a", "b"]


def test_one_that_comes_while_a_task_is_started_goes_with_the_next() -> None:
    stage = waiting()
    stage.do(update("a"))
    stage.poll()
    stage.do(update("b"))
    decision = answer(stage, rejected("a"), return_new_workflow_task=True)
    assert decision.record is None
    assert carried(decision.reply.next_task) == ["b"]
    assert decision.reply.reset_history_event_id == 3
    assert answer(stage, rejected("b")).record is None
    assert len(stage.history) == 4


def test_a_worker_that_does_not_take_it_at_once_gets_an_ordinary_task() -> None:
    stage = waiting()
    stage.do(update("a"))
    stage.poll()
    stage.do(update("b"))
    answer(stage, rejected("a"))
    assert stage.run.durable.workflow_task is not None
    assert stage.history[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["b"]


def test_the_first_task_carries_it_too() -> None:
    stage = Stage()
    stage.do(start())
    stage.do(update())
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["u"]
    answer(stage, rejected())
    assert len(stage.history) == 4


def test_the_same_id_is_the_same_update_at_every_stage() -> None:
    stage = waiting()
    assert stage.do(update()).stage == stage.do(update()).stage == ADMITTED
    stage.poll()
    assert stage.do(update()).stage == ADMITTED
    answer(stage, accepted())
    assert stage.do(update()).stage == ACCEPTED
    stage.do(signal())
    stage.poll()
    answer(stage, completed())
    seen = stage.do(update())
    assert (seen.stage, seen.failure) == (COMPLETED, b"")
    assert stage.history[seen.completed_event_id - 1].HasField("workflow_execution_update_completed_event_attributes")
    assert stage.run.workflow_task is None


def test_one_that_was_rejected_is_new() -> None:
    stage = waiting()
    for _ in range(2):
        assert stage.do(update()).stage == ADMITTED
        stage.poll()
        answer(stage, rejected())
    assert len(heard(stage)) == 2


def test_a_closed_run_tells_what_became_of_it() -> None:
    stage = waiting()
    stage.do(update("taken"))
    stage.do(update("done"))
    stage.poll()
    answer(stage, accepted("taken"), accepted("done"), completed("done"))
    stage.do(terminate())
    taken, finished = stage.do(update("taken")), stage.do(update("done"))
    assert (taken.stage, taken.completed_event_id) == (COMPLETED, 0)
    assert b"AcceptedUpdateCompletedWorkflow" in taken.failure
    assert finished.completed_event_id
    error = refused(stage, update_id="other")
    assert isinstance(error, NotFound)
    assert error.message == "workflow execution already completed"


def test_another_chain_is_meant() -> None:
    assert isinstance(refused(waiting(), first_execution_run_id="other"), NotFound)


def test_a_task_that_keeps_failing_takes_no_updates() -> None:
    stage = Stage()
    stage.do(start())
    for _ in range(2):
        assert stage.do(update()).stage == ADMITTED
        stage.poll()
        stage.fail()
    error = refused(stage)
    assert isinstance(error, WorkflowNotReady)
    assert error.message == "Unable to perform workflow execution update due to Workflow Task in failed state."


def test_a_workflow_that_is_about_to_close_takes_none() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.do(signal())
    stage.complete(done())
    stage.poll()
    error = refused(stage)
    assert isinstance(error, ResourceExhausted)
    assert error.message == "workflow operation can not be applied because workflow is closing"


def test_so_many_are_in_flight_accepted_ones_too() -> None:
    stage = waiting(Limits(updates_in_flight_max=2))
    stage.do(update("a"))
    stage.poll()
    answer(stage, accepted("a"))
    stage.do(update("b"))
    error = refused(stage, update_id="c")
    assert isinstance(error, ResourceExhausted)
    assert error.message == "limit on number of concurrent in-flight updates has been reached (2)"
    assert stage.do(update("a")).stage == ACCEPTED
    stage.poll()
    answer(stage, completed("a"), rejected("b"))
    assert stage.do(update("c")).stage == ADMITTED


def test_so_many_in_all_rejected_ones_not() -> None:
    stage = waiting(Limits(updates_max=1))
    stage.do(update("a"))
    stage.poll()
    answer(stage, rejected("a"))
    stage.do(update("b"))
    stage.poll()
    answer(stage, accepted("b"), completed("b"))
    error = refused(stage, update_id="c")
    assert isinstance(error, FailedPrecondition)
    assert error.message.startswith(
        "The limit on the total number of distinct updates in this workflow has been reached (1). Make sure"
    )


def test_so_many_bytes_are_in_flight() -> None:
    stage = waiting(Limits(updates_in_flight_bytes_max=1_000))
    big = Request(meta=Meta(update_id="big"), input=Input(name="x" * 900))
    stage.do(update(request=big))
    error = refused(stage)
    assert isinstance(error, ResourceExhausted)
    assert error.message == "limit on total payload size of in-flight updates has been reached (1000 bytes)"


def test_no_limit_is_a_limit() -> None:
    stage = waiting(Limits(updates_in_flight_max=0, updates_in_flight_bytes_max=0, updates_max=0))
    for number in range(30):
        stage.do(update(str(number)))
    assert len(stage.run.ephemeral.admitted_updates) == 30


def test_callbacks_need_a_request_id() -> None:
    request = asked()
    request.completion_callbacks.append(Callback(nexus=Callback.Nexus(url="http://localhost")))
    assert isinstance(refused(waiting(), request=request), InvalidArgument)


def test_nine_tenths_of_all_suggest_to_continue_as_new() -> None:
    stage = waiting(Limits(updates_max=2, updates_suggest_continue_ratio=0.5))
    stage.do(update())
    stage.poll()
    answer(stage, accepted(), completed(), commands=(command("RECORD_MARKER", marker_name="m"),))
    started = [event for event in stage.history if event.HasField("workflow_task_started_event_attributes")]
    attributes = started[-1].workflow_task_started_event_attributes
    assert attributes.suggest_continue_as_new
    assert len(attributes.suggest_continue_as_new_reasons) == 1
