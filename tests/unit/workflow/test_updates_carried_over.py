"""Updates that a reset carried over: admitted by an event of the new run, whose worker takes or refuses them anew."""

from temporalio.api.update.v1 import Outcome

from perdure.base.errors import NotFound
from perdure.workflow.updates import ACCEPTED, ADMITTED, COMPLETED
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import start, terminate
from tests.transcripts.stage import Stage
from tests.transcripts.updating import accepted, answer, carried, completed, heard, rejected, update


def carried_over() -> Stage:
    """A run that was reset to before its update, whose first task is started."""
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.complete()
    stage.do(update())
    stage.poll()
    answer(stage, accepted(), completed())
    assert reset(stage, 4).refusal is None
    stage.poll()
    heard(stage)
    return stage


def test_it_is_in_history_and_in_no_message() -> None:
    stage = carried_over()
    assert stage.run.facts.updates["u"].admitted_event_id
    assert stage.last is not None
    assert carried(stage.last) == []
    assert stage.do(update()).stage == ADMITTED


def test_its_acceptance_does_not_repeat_the_request() -> None:
    stage = carried_over()
    answer(stage, accepted())
    taken = stage.history[-1].workflow_execution_update_accepted_event_attributes
    assert taken.protocol_instance_id == "u"
    assert not taken.HasField("accepted_request")
    assert stage.do(update()).stage == ACCEPTED
    assert [moved.stage for moved in heard(stage)] == [ACCEPTED]


def test_refused_it_is_forgotten_and_may_be_asked_anew() -> None:
    stage = carried_over()
    answer(stage, rejected())
    (moved,) = heard(stage)
    assert (moved.stage, Outcome.FromString(moved.outcome).failure.message) == (COMPLETED, "not now")
    assert stage.do(update()).stage == ADMITTED
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["u"]
    answer(stage, accepted(), completed())
    assert stage.run.facts.updates["u"].completed_event_id


def test_ignored_it_is_refused_by_the_server() -> None:
    stage = carried_over()
    stage.complete()
    (moved,) = heard(stage)
    assert Outcome.FromString(moved.outcome).failure.application_failure_info.type == "UnprocessedUpdate"


def test_a_worker_that_asks_for_more_time_has_not_refused_it() -> None:
    stage = carried_over()
    stage.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    assert heard(stage) == []
    assert stage.do(update()).stage == ADMITTED
    assert not stage.run.ephemeral.admitted_updates
    answer(stage, accepted(), force_create_new_workflow_task=True, return_new_workflow_task=True)
    assert [moved.stage for moved in heard(stage)] == [ACCEPTED]
    answer(stage, completed())
    assert [moved.stage for moved in heard(stage)] == [COMPLETED]
    assert stage.run.durable.unanswered_updates == ()


def test_a_worker_that_asked_for_more_time_and_never_answers_does_not_know_it() -> None:
    stage = carried_over()
    stage.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    stage.lose()
    stage.complete()
    (moved,) = heard(stage)
    assert Outcome.FromString(moved.outcome).failure.application_failure_info.type == "UnprocessedUpdate"
    assert stage.run.durable.unanswered_updates == ()


def test_one_that_is_refused_by_an_answer_that_asks_for_more_time_is_gone() -> None:
    stage = carried_over()
    answer(stage, rejected(), force_create_new_workflow_task=True)
    (moved,) = heard(stage)
    assert Outcome.FromString(moved.outcome).failure.message == "not now"
    assert stage.run.durable.unanswered_updates == ()
    stage.poll()
    stage.complete()
    assert heard(stage) == []


def test_it_is_aborted_with_its_run() -> None:
    stage = carried_over()
    stage.do(terminate())
    assert [type(moved.error) for moved in heard(stage)] == [NotFound]
    decision = stage.decide(update())
    assert isinstance(decision.refusal, NotFound)
