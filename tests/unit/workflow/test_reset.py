"""A reset's new run: the state at the point, what is pending there, and what it shares with its base."""

from itertools import permutations
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument, NotFound
from perdure.base.limits import Limits
from perdure.history.targets import runs_of
from perdure.workflow.core import Decision
from perdure.workflow.evolve import evolve
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import DeleteRun, FailActivity
from perdure.workflow.reset_requests import PlanReset, Reset, ResetOutdated
from perdure.workflow.state import Durable, Ephemeral, Facts, HistorySegment, Run
from perdure.workflow.steps import Delete
from perdure.workflow.tasks import Timer, TimerKind
from tests.transcripts.activity_scenarios import activity, begin, by_token, failure, seconds, take, timer
from tests.transcripts.resetting import read, reset, reset_request
from tests.transcripts.scenarios import command, done, signal, start
from tests.transcripts.stage import Stage

MARKER = command("RECORD_MARKER", marker_name="m")
ANOTHER = {"force_create_new_workflow_task": True}


def two_tasks(*commands: Any, **fields: Any) -> Stage:
    """A run with two completed tasks; the first (events 2 to 4) did `commands` or left a marker."""
    stage = Stage()
    begin_again(stage, *commands, **fields)
    return stage


def begin_again(stage: Stage, *commands: Any, **fields: Any) -> None:
    """The same in a stage that is there."""
    stage.decide(start(**fields))
    stage.poll()
    stage.complete(*(commands or (MARKER,)), **ANOTHER)
    stage.poll()
    stage.complete(MARKER)


def facts_of(stage: Stage, run: Run) -> Facts:
    """The facts that a run's history says, each event by its writer."""
    replayed = Run(Facts(), Durable(), Ephemeral())
    for event in stage.histories[run.run_id]:
        segment = next(one for one in reversed(run.durable.segments) if one.first <= event.event_id)
        replayed.durable.run_id = segment.writer or run.run_id
        evolve(replayed, event)
    replayed.facts.last_first_event_id = run.facts.last_first_event_id
    return replayed.facts


def kinds(events: list[HistoryEvent]) -> list[str]:
    """Their types."""
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events]


def test_the_new_run_is_what_its_history_says_and_lies_on_the_base_s_branch() -> None:
    stage = two_tasks(activity("one"), timer("t", 100))
    base = stage.run
    for name in ("a", "b"):
        stage.decide(signal(name, f"request {name}"))
    assert reset(stage, 9, base.run_id).refusal is None
    run, former = stage.run, stage.chain.runs[base.run_id]
    assert kinds(stage.history[8:]) == [
        "WORKFLOW_TASK_FAILED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_TASK_SCHEDULED",
    ]
    assert facts_of(stage, run) == run.facts
    branch = former.durable.segments[0].branch
    assert run.durable.segments[0] == HistorySegment(branch, 1, 9, base.run_id)
    assert (run.durable.segments[1].first, run.durable.segments[1].end) == (9, 0)
    assert run.durable.history_bytes == sum(event.ByteSize() for event in stage.history)
    assert dict(stage.chain.shared) == {branch: 2}
    assert set(run.durable.signal_requests) == {"request a", "request b"}
    assert (former.durable.reset_run_id, former.durable.was_reset, run.durable.base_run_id) == (
        run.run_id,
        True,
        base.run_id,
    )
    assert run.durable.previous_run_id == base.run_id


def test_what_a_run_was_given_is_given_anew_from_now_on() -> None:
    stage = two_tasks(workflow_run_timeout=seconds(60), workflow_execution_timeout=seconds(90))
    base = stage.run
    stage.advance(50)
    reset(stage, 4)
    durable = stage.run.durable
    assert durable.run_expiration_ns == stage.now_ns + 60 * SECOND_NS
    assert durable.execution_expiration_ns == stage.now_ns + 90 * SECOND_NS
    assert stage.run.facts.start_time_ns == base.facts.start_time_ns
    assert stage.run.start_time_ns == stage.now_ns
    stage.advance(59)
    assert stage.run.is_open
    stage.advance(2)
    assert not stage.run.is_open


def test_an_activity_that_is_pending_at_the_point_begins_anew() -> None:
    stage = two_tasks(activity("one", retry_policy={"initial_interval": seconds(1)}))
    first = take(stage)
    stage.decide(FailActivity(by_token(first), failure("no"), "worker"))
    stage.advance(5)
    base, stamp_of = stage.run, 5
    assert base.durable.attempts[stamp_of].attempt == 2
    reset(stage, 8)
    attempt = stage.run.durable.attempts[stamp_of]
    assert (attempt.attempt, attempt.first_scheduled_time_ns, attempt.last_failure) == (1, stage.now_ns, b"")
    refused = stage.decide(FailActivity(by_token(first), failure("late"), "worker"))
    assert isinstance(refused.refusal, NotFound)
    again = take(stage, "again")
    assert (again.run_id, again.attempt.attempt) == (stage.run.run_id, 1)


def test_a_timer_that_is_pending_at_the_point_keeps_its_time() -> None:
    stage = two_tasks(timer("t", 10))
    started = stage.run.facts.timers["t"]
    stage.advance(4)
    reset(stage, 8)
    (due,) = [task for task in outstanding(stage.run) if isinstance(task, Timer) and task.kind == TimerKind.USER]
    assert (due.due_ns, due.run_id) == (started.due_ns, stage.run.run_id)
    stage.advance(6)
    assert not stage.run.facts.timers


def test_a_decision_on_what_is_no_longer_all_changes_nothing() -> None:
    stage = two_tasks()
    asked = reset_request(4)
    reading = read(stage, asked, stage.do(PlanReset(asked)))
    stage.decide(signal("late"))
    decision = stage.decide(Reset(asked, reading))
    assert isinstance(decision.reply, ResetOutdated)
    assert decision.record is None
    assert kinds(stage.histories[reset(stage, 4).reply.run_id]).count("WORKFLOW_EXECUTION_SIGNALED") == 1


def test_the_last_run_that_was_read_is_there_when_it_is_decided() -> None:
    """A run that continued the base, was continued in turn after it was read, and is held no more."""
    stage = two_tasks()
    base = stage.run.run_id
    continue_as_new = command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION", workflow_type={"name": "T"})
    asked = reset_request(4, base)
    reading = read(stage, asked, stage.do(PlanReset(asked)))
    for _ in range(2):
        stage.advance(5)
        stage.decide(signal("late"))
        stage.poll()
        reading = read(stage, asked, stage.do(PlanReset(asked)))
        stage.complete(continue_as_new)
    assert reading.last_run_id != base
    assert {base, reading.last_run_id} <= set(runs_of(Reset(asked, reading)))
    del stage.chain.runs[reading.last_run_id]
    assert isinstance(stage.decide(Reset(asked, reading)).reply, ResetOutdated)


def test_a_request_takes_effect_once_while_its_run_is_the_current_one() -> None:
    stage = two_tasks()
    first = reset(stage, 4)
    again = reset(stage, 4)
    assert (again.reply, again.record) == (first.reply, None)
    other = reset(stage, 4, request_id="other")
    assert other.reply != first.reply


def test_a_start_that_is_repeated_finds_the_run_that_goes_on() -> None:
    stage = two_tasks()
    run_id = reset(stage, 4).reply.run_id
    assert stage.do(start()).run_id == run_id
    assert reset(stage, 4, request_id="start").reply.run_id == run_id


@pytest.mark.parametrize(
    ("event_id", "message"),
    [
        (1, "Workflow task finish ID must be > 1 && <= workflow last event ID."),
        (10, "Workflow task finish ID must be > 1 && <= workflow last event ID."),
        (6, "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: 6"),
    ],
)
def test_a_point_without_a_task_is_refused(event_id: int, message: str) -> None:
    stage = two_tasks()
    refusal = reset(stage, event_id).refusal
    assert isinstance(refusal, InvalidArgument)
    assert refusal.message == message
    assert stage.run.is_open


def test_what_would_be_too_large_for_one_commit_is_refused() -> None:
    stage = Stage(limits=Limits(transaction_bytes_max=1_000))
    begin_again(stage)
    for number in range(20):
        stage.decide(signal("x" * 50, f"r{number}"))
    refusal = reset(stage, 4).refusal
    assert isinstance(refusal, InvalidArgument)
    assert refusal.message == "Transaction size exceeds limit."
    assert stage.run.is_open


def test_a_child_that_is_pending_at_the_point_is_the_same_in_every_reset() -> None:
    stage = two_tasks(command("START_CHILD_WORKFLOW_EXECUTION", workflow_id="c", workflow_type={"name": "C"}))
    (child,) = stage.run.facts.children.values()
    for _ in range(3):
        reset(stage, 8, request_id=f"after {stage.run.run_id}")
        assert stage.run.facts.children == {child.initiated_event_id: child}
    assert TimerKind.CHILDREN_CLOSE not in {errand.kind for errand in stage.errands()}


def test_a_run_that_was_current_and_is_no_base_ends_as_any_other() -> None:
    stage = Stage()
    begin(stage, done())
    base = stage.run.run_id
    stage.decide(start("second"))
    stage.poll()
    stage.complete(command("START_CHILD_WORKFLOW_EXECUTION", workflow_id="c", workflow_type={"name": "C"}))
    other = stage.run.run_id
    reset(stage, 4, base)
    assert not stage.chain.runs[other].is_open
    assert [(errand.run_id, errand.kind) for errand in stage.errands()] == [(other, TimerKind.CHILDREN_CLOSE)]


def _nested() -> tuple[Stage, list[str]]:
    """Four runs on one another's branches: two resets of the first, and one of the second beyond its fork."""
    stage = two_tasks()
    first = stage.run.run_id
    second = reset(stage, 8).reply.run_id
    stage.poll()
    stage.complete(MARKER, **ANOTHER)
    stage.poll()
    stage.complete(done())
    third = reset(stage, 14, second).reply.run_id
    fourth = reset(stage, 4, first).reply.run_id
    stage.poll()
    stage.complete(done())
    return stage, [first, second, third, fourth]


def _dropped(decision: Decision) -> tuple[str, ...]:
    assert decision.record is not None
    (mutation,) = decision.record.mutations
    last = mutation.steps[-1]
    assert isinstance(last, Delete)
    assert last.branches is not None
    return last.branches


def test_a_branch_goes_with_the_last_run_on_it_whatever_the_order() -> None:
    for order in permutations(range(4)):
        stage, runs = _nested()
        branches = {one.branch for run in stage.chain.runs.values() for one in run.durable.segments}
        gone: list[str] = []
        for index in order:
            gone += _dropped(stage.decide(DeleteRun(runs[index])))
            needed = {one.branch for run in stage.chain.runs.values() for one in run.durable.segments}
            assert not needed & set(gone), f"{order}: a branch went that a run needs"
            assert len(needed) + len(gone) == len(branches), f"{order}: a branch stays that nobody needs"
        assert sorted(gone) == sorted(branches)
        assert not stage.chain.shared
