"""When a run skips time, how far, and what of it those after and below it get (the reference's rules)."""

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import FastForwardConfig, RetryPolicy, TimeSkippingConfig, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.base.clock import DURATION_NS_MAX, SECOND_NS, from_duration, from_timestamp
from perdure.workflow.evolve import attributes_of
from perdure.workflow.intervention_requests import PauseWorkflow, UpdateOptions
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import FailActivity, FireTimer
from perdure.workflow.skipping import TIME_NS_MAX
from perdure.workflow.tasks import Offer, TimerKind
from tests.transcripts.activity_scenarios import activity, by_token, failure, seconds, take, timer
from tests.transcripts.scenarios import command, done, signal, start, terminate
from tests.transcripts.stage import T0, Stage

DAY = 86_400
DAY_NS = DAY * SECOND_NS


def config(**fields: Any) -> TimeSkippingConfig:
    """One that is on."""
    return TimeSkippingConfig(**{"enabled": True, "max_session_skip_count": 200, **fields})


def forward(days: float) -> dict[str, Any]:
    """The field of a fast-forward."""
    return {"fast_forward_config": FastForwardConfig(id="ff", duration=seconds(days * DAY))}


def begun(*commands: Command, skipping: TimeSkippingConfig | None = None, **fields: Any) -> Stage:
    """A run whose first task was answered with these commands."""
    stage = Stage()
    stage.decide(start(time_skipping_config=skipping or config(), **fields))
    stage.poll()
    stage.complete(*commands)
    return stage


def skips(events: list[HistoryEvent]) -> list[Any]:
    """The attributes of the skips in a history."""
    field = "workflow_execution_time_skipping_transitioned_event_attributes"
    return [getattr(event, field) for event in events if event.WhichOneof("attributes") == field]


def options(given: TimeSkippingConfig | None) -> UpdateOptions:
    """An update of the current run's options."""
    request = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf"),
        workflow_execution_options=WorkflowExecutionOptions(time_skipping_config=given),
    )
    request.update_mask.paths.append("time_skipping_config")
    return UpdateOptions(request)


def pause() -> PauseWorkflow:
    return PauseWorkflow(PauseWorkflowExecutionRequest(workflow_id="wf"))


def child() -> Command:
    return command("START_CHILD_WORKFLOW_EXECUTION", workflow_id="child", workflow_type={"name": "flow"})


_ELSEWHERE = {"workflow_id": "other"}
_SIGNAL = command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", execution=_ELSEWHERE, signal_name="go")
_CANCEL = command("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION", workflow_id="other")


@pytest.mark.parametrize(
    ("commands", "later"),
    [
        pytest.param([activity()], None, id="an activity is offered"),
        pytest.param([activity()], take, id="an activity is with a worker"),
        pytest.param([child()], None, id="a child is pending"),
        pytest.param([_SIGNAL], None, id="a signal to another workflow is pending"),
        pytest.param([_CANCEL], None, id="a request to another workflow is pending"),
        pytest.param([done()], None, id="it is closed"),
    ],
)
def test_a_run_with_work_in_progress_skips_nothing(
    commands: list[Command], later: Callable[[Stage], Any] | None
) -> None:
    stage = begun(timer("t", DAY), *commands)
    if later is not None:
        later(stage)
    assert not skips(stage.history)
    assert not stage.run.ahead_ns


def test_a_paused_run_skips_nothing() -> None:
    stage = Stage()
    stage.decide(start(time_skipping_config=config()))
    stage.poll()
    stage.decide(pause())
    stage.complete(timer("t", DAY))
    assert not skips(stage.history)


def test_a_run_whose_task_is_scheduled_or_started_skips_nothing() -> None:
    stage = begun(timer("t", DAY), skipping=config(enabled=False))
    stage.decide(signal())
    stage.decide(options(config()))
    assert not skips(stage.history)
    stage.poll()
    stage.decide(signal())
    assert not skips(stage.history)
    stage.complete()
    stage.poll()
    stage.complete()
    assert len(skips(stage.history)) == 1


def test_a_run_that_waits_for_a_timer_is_at_its_time_at_once() -> None:
    stage = begun(timer("late", 2 * DAY), timer("soon", DAY))
    (skip,) = skips(stage.history)
    assert from_timestamp(skip.target_time) == T0 + DAY_NS
    assert from_timestamp(skip.wall_clock_time) == T0
    assert stage.run.ahead_ns == DAY_NS
    due = [one for one in stage.timers() if one.kind == TimerKind.USER]
    assert [one.due_ns for one in due] == [T0, T0 + DAY_NS]  # by the shard's clock
    stage.decide(FireTimer(due[0]))
    fired = stage.history[-2]
    assert from_timestamp(fired.event_time) == T0 + DAY_NS
    stage.poll()
    assert stage.last is not None
    assert stage.last.task.started_time_ns == T0 + DAY_NS


def test_a_timer_that_is_due_is_not_passed() -> None:
    stage = begun(timer("late", 2 * DAY), timer("soon", DAY))
    before = stage.run.ahead_ns
    stage.decide(options(config(max_session_skip_count=7)))
    assert stage.run.ahead_ns == before


def test_until_the_next_attempt_of_an_activity() -> None:
    policy = RetryPolicy(initial_interval=seconds(3 * DAY), backoff_coefficient=1, maximum_interval=seconds(3 * DAY))
    stage = begun(activity(retry_policy=policy), timer("t", 9 * DAY))
    stage.decide(FailActivity(by_token(take(stage)), failure("broken"), "worker"))
    assert stage.run.ahead_ns == 3 * DAY_NS
    stage.advance(0)
    offers = [task for task in outstanding(stage.run) if isinstance(task, Offer)]
    assert [offer.attempt for offer in offers] == [2]
    assert [offer.scheduled_time_ns for offer in offers] == [T0]
    assert stage.run.ahead_ns == 3 * DAY_NS


def test_until_the_delayed_first_task() -> None:
    stage = Stage()
    stage.decide(start(time_skipping_config=config(), workflow_start_delay=seconds(DAY)))
    assert stage.run.ahead_ns == DAY_NS
    stage.advance(0)
    assert stage.offers()


def test_until_the_nearer_of_run_and_execution_timeout_once_it_had_a_task() -> None:
    stage = Stage()
    timeouts = {"workflow_run_timeout": seconds(DAY), "workflow_execution_timeout": seconds(2 * DAY)}
    stage.decide(start(time_skipping_config=config(), **timeouts))
    assert not stage.run.ahead_ns
    stage.poll()
    stage.complete(timer("t", 5 * DAY))
    assert stage.run.ahead_ns == DAY_NS
    stage.advance(0)
    assert not stage.run.is_open


def test_no_more_often_than_allowed_and_anew_with_another_configuration() -> None:
    stage = begun(timer("a", DAY), skipping=config(max_session_skip_count=1))
    stage.advance(0)
    stage.poll()
    stage.complete(timer("b", DAY))
    assert len(skips(stage.history)) == 1
    stage.decide(options(config(max_session_skip_count=2)))
    assert len(skips(stage.history)) == 2


def test_a_fast_forward_ends_where_it_was_to_end() -> None:
    stage = begun(timer("t", 5 * DAY), skipping=config(**forward(3)))
    (skip,) = skips(stage.history)
    assert skip.disabled_after_fast_forward
    assert stage.run.ahead_ns == 3 * DAY_NS
    (due,) = [one for one in stage.timers() if one.kind == TimerKind.USER]
    assert due.due_ns == T0 + 2 * DAY_NS
    assert not [one for one in stage.timers() if one.kind == TimerKind.FAST_FORWARD]


def test_a_fast_forward_ends_by_the_clock_whatever_is_in_progress() -> None:
    stage = begun(activity(start_to_close_timeout=seconds(9 * DAY)), skipping=config(**forward(1)))
    stage.advance(DAY)
    (skip,) = skips(stage.history)
    assert skip.disabled_after_fast_forward
    assert not skip.HasField("target_time")
    assert not stage.run.ahead_ns


def test_the_next_run_goes_on_with_all_of_it() -> None:
    stage = begun(timer("t", DAY), skipping=config(**forward(3)))
    stage.advance(0)
    stage.poll()
    stage.complete(command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"))
    started = attributes_of(stage.history[0])
    assert from_timestamp(stage.history[0].event_time) == T0 + DAY_NS
    assert started.time_skipping_config == config(**forward(3))
    handed_on = started.time_skipping_state_propagation
    assert from_duration(handed_on.initial_skipped_duration) == DAY_NS
    assert from_timestamp(handed_on.fast_forward_target_time) == T0 + 3 * DAY_NS
    assert handed_on.initial_skip_count == 1
    stage.advance(1)
    stage.poll()
    stage.complete(timer("t", 9 * DAY))
    assert stage.now_ns + stage.run.ahead_ns == T0 + 3 * DAY_NS


@pytest.mark.parametrize("propagates", [True, False])
def test_a_child_has_its_parents_time_and_skips_unless_told_not_to(propagates: bool) -> None:
    stage = begun(timer("t", DAY), skipping=config(disable_propagation=not propagates, **forward(3)))
    stage.advance(0)
    stage.poll()
    stage.complete(child())
    initiated = attributes_of(stage.history[-1])
    assert from_duration(initiated.time_skipping_state_propagation.initial_skipped_duration) == DAY_NS
    assert not initiated.time_skipping_state_propagation.initial_skip_count
    assert initiated.HasField("time_skipping_config") == propagates
    assert not initiated.time_skipping_config.HasField("fast_forward_config")


def test_a_closed_run_is_kept_for_real_time() -> None:
    stage = begun(timer("t", DAY))
    stage.advance(0)
    stage.decide(terminate())
    (retention,) = [one for one in stage.timers() if one.kind == TimerKind.RETENTION]
    assert retention.due_ns == T0 + 3 * DAY_NS


def test_no_run_gets_so_far_ahead_that_times_do_not_fit() -> None:
    stage = begun(timer("t", DURATION_NS_MAX / SECOND_NS))
    jumps = 0
    while any(one.due_ns <= stage.now_ns for one in stage.timers()):
        stage.advance(0)
        stage.poll()
        stage.complete(timer("t", DURATION_NS_MAX / SECOND_NS))
        jumps += 1
    assert jumps == 1
    assert stage.now_ns + stage.run.ahead_ns <= TIME_NS_MAX
    assert all(one.due_ns < 2**63 for one in stage.timers())


def test_options_without_a_configuration_leave_the_time_as_it_is() -> None:
    stage = begun(timer("t", DAY))
    stage.advance(0)
    stage.decide(options(None))
    stage.poll()
    stage.complete(timer("u", DAY))
    assert stage.run.ahead_ns == DAY_NS
    assert len(skips(stage.history)) == 1


def test_what_is_handed_on_may_be_more_than_any_duration() -> None:
    """Two timers that are as long as they can be take a run farther ahead than one could."""
    stage = begun(timer("once", 70 * 365 * DAY))
    for name in ("twice", ""):
        stage.advance(1)
        stage.poll()
        stage.complete(timer(name, 60 * 365 * DAY) if name else command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"))
    assert stage.run.ahead_ns == 130 * 365 * DAY_NS > DURATION_NS_MAX
    assert stage.run.facts.continued_run_id
