"""Which run of a chain calls its callbacks, and what its state wants for that."""

import pytest
from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import CallbackState, WorkflowIdConflictPolicy
from temporalio.api.workflow.v1 import OnConflictOptions

from perdure.base.clock import SECOND_NS
from perdure.base.errors import FailedPrecondition
from perdure.base.limits import Limits
from perdure.workflow.deciders.record_callback import MESSAGE_MAX, backoff_ns
from perdure.workflow.requests import CallbackPlan, PlanErrand, RecordCallback, StartWorkflow
from perdure.workflow.state import Run
from perdure.workflow.tasks import Timer, TimerKind
from tests.transcripts.scenarios import done, start, terminate
from tests.transcripts.stage import Stage
from tests.transcripts.successor_scenarios import continue_as_new, fail, policy, rest

CALLBACK = Callback(nexus=Callback.Nexus(url="http://receiver/"))


def attach(request_id: str, count: int = 1) -> StartWorkflow:
    """A start that uses the run that is there, and attaches callbacks to it."""
    return start(
        request_id,
        completion_callbacks=[CALLBACK] * count,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        on_conflict_options=OnConflictOptions(attach_request_id=True, attach_completion_callbacks=True),
    )


def calls(stage: Stage) -> list[Timer]:
    return [timer for timer in stage.errands() if timer.kind == TimerKind.CALLBACK]


def runs(stage: Stage) -> list[Run]:
    return [stage.chain.runs[run_id] for run_id in stage.histories]


def test_a_closed_run_wants_each_of_its_callbacks_called_once() -> None:
    stage = Stage()
    stage.do(start(completion_callbacks=[CALLBACK]))
    stage.do(attach("late", 2))
    assert not calls(stage)
    stage.do(terminate())
    first, second, third = calls(stage)
    plans: list[CallbackPlan] = [stage.do(PlanErrand(timer)) for timer in (first, second, third)]
    assert [plan.request_id for plan in plans] == ["", "late", "late"]
    assert plans[0].close_event_id == stage.run.facts.close_event_id
    stage.do(RecordCallback(first))
    stage.do(RecordCallback(second, "no", retryable=False))
    assert calls(stage) == [third]
    assert stage.do(PlanErrand(first)) is None
    stage.do(RecordCallback(first, "late news", retryable=True))
    assert stage.run.durable.callback_attempts[1].state == CallbackState.CALLBACK_STATE_SUCCEEDED


def test_a_failed_call_is_due_again_after_a_while() -> None:
    stage = Stage()
    stage.do(start(completion_callbacks=[CALLBACK]))
    stage.do(terminate())
    (timer,) = calls(stage)
    stage.do(RecordCallback(timer, "x" * 10 * MESSAGE_MAX, retryable=True))
    (again,) = calls(stage)
    assert 0.8 * SECOND_NS <= again.due_ns - stage.now_ns <= SECOND_NS
    kept = stage.run.durable.callback_attempts[1]
    assert kept.attempt == again.attempt == 1
    assert len(kept.failure) < MESSAGE_MAX + 50


def test_an_attempt_that_is_repeated_hands_them_on_and_the_last_one_calls() -> None:
    stage = Stage()
    stage.do(start(completion_callbacks=[CALLBACK], retry_policy=policy(maximum_attempts=2)))
    stage.do(attach("late"))
    rest(stage)
    stage.complete(fail())
    assert not calls(stage)
    assert len(stage.run.facts.callbacks) == 2
    rest(stage)
    stage.complete(fail())
    assert {timer.run_id for timer in calls(stage)} == {stage.run.run_id}
    assert len(calls(stage)) == 2


def test_a_schedule_calls_after_its_first_run_and_a_continued_one_after_its_last() -> None:
    stage = Stage()
    stage.do(start(completion_callbacks=[CALLBACK], cron_schedule="@every 10s"))
    rest(stage)
    first = stage.run.run_id
    stage.complete(continue_as_new(cron_schedule="@every 10s"))
    assert not calls(stage)
    rest(stage)
    second = stage.run.run_id
    stage.complete(done())
    assert [timer.run_id for timer in calls(stage)] == [second]
    assert stage.run.run_id not in (first, second)
    assert not stage.run.facts.callbacks


def test_no_more_are_attached_than_a_run_may_have() -> None:
    stage = Stage(limits=Limits(callbacks_max=3))
    stage.do(start(completion_callbacks=[CALLBACK]))
    with pytest.raises(
        FailedPrecondition, match=r"more than 3 callbacks to a workflow \(1 callbacks already attached\)"
    ):
        stage.do(attach("three", 3))
    stage.do(attach("two", 2))
    stage.do(attach("two", 2))
    assert len(stage.run.facts.callbacks) == 3


def test_the_backoff_doubles_up_to_its_bound() -> None:
    limits = Limits()
    lowest, highest = b"\x00" * 16, b"\xff" * 16
    assert backoff_ns(1, limits, lowest) == 0.8 * SECOND_NS
    assert backoff_ns(4, limits, lowest) == 6.4 * SECOND_NS
    for attempt in (1, 2, 12, 13, 100, 10**6):
        assert backoff_ns(attempt, limits, highest) <= min(SECOND_NS << min(attempt - 1, 40), 3600 * SECOND_NS)
    assert backoff_ns(10**6, limits, lowest) == 0.8 * 3600 * SECOND_NS
