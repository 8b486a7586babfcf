"""Speculative workflow tasks: a rejected update leaves nothing, and any write makes the task an ordinary one."""

from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.errors import NotFound
from perdure.workflow.requests import CompleteWorkflowTask, ResetSticky
from perdure.workflow.updates import ADMITTED, COMPLETED
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import cancel, command, signal, start, sticky, terminate
from tests.transcripts.stage import Stage
from tests.transcripts.updating import accepted, answer, carried, completed, heard, rejected, update

_CAPABLE: dict[str, Any] = {"capabilities": {"discard_speculative_workflow_task_with_events": True}}


def waiting() -> Stage:
    """A workflow whose first task is done."""
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.complete()
    return stage


def names(stage: Stage, after: int = 4) -> list[str]:
    """The types of the events after the first task."""
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in stage.history[after:]]


def test_a_rejected_update_leaves_nothing() -> None:
    stage = waiting()
    before = stage.run.durable.transition_count
    decisions = [stage.decide(update()), stage.poll(), answer(stage, rejected())]
    assert [decision.record for decision in decisions] == [None, None, None]
    assert names(stage) == []
    assert stage.run.durable.transition_count == before
    assert stage.run.workflow_task is None
    assert not stage.run.ephemeral.admitted_updates
    (moved,) = heard(stage)
    assert (moved.stage, moved.error) == (COMPLETED, None)
    assert b"not now" in moved.outcome
    assert decisions[-1].reply.reset_history_event_id == 3


def test_the_task_shows_events_that_are_not_in_history() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    assert stage.last is not None
    assert (stage.last.task.scheduled_event_id, stage.last.task.started_event_id) == (5, 6)
    assert len(stage.last.tail) == 2
    assert carried(stage.last) == ["u"]
    assert stage.last.next_event_id == 5


def test_an_accepted_one_has_its_task_in_history() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    decision = answer(stage, accepted(), completed())
    assert names(stage) == [
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
        "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
        "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
    ]
    assert decision.reply.reset_history_event_id == 0
    assert stage.history[5].workflow_task_started_event_attributes.identity == "worker"
    (moved,) = heard(stage)
    assert moved.stage == COMPLETED


def test_a_signal_makes_a_scheduled_task_ordinary() -> None:
    stage = waiting()
    stage.do(update())
    (offered,) = stage.offers()
    decision = stage.decide(signal())
    assert decision.lapsed == [stage.run.run_id]
    assert offered in decision.added
    assert names(stage) == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_EXECUTION_SIGNALED"]
    stage.poll()
    answer(stage, rejected())
    assert names(stage)[2:] == ["WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]


def test_a_signal_makes_a_started_task_ordinary_and_waits_behind_it() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    stage.do(signal())
    assert names(stage) == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]
    answer(stage, rejected())
    assert names(stage)[2:] == [
        "WORKFLOW_TASK_COMPLETED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_TASK_SCHEDULED",
    ]


def test_a_converted_task_keeps_its_time_to_be_started_in() -> None:
    stage = waiting()
    stage.do(update())
    stage.do(signal())
    stage.advance(5)
    assert names(stage)[2:] == ["WORKFLOW_TASK_TIMED_OUT", "WORKFLOW_TASK_SCHEDULED"]
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["u"]


def test_nobody_comes_for_it() -> None:
    stage = waiting()
    stage.do(update())
    stage.advance(5)
    assert names(stage) == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_TIMED_OUT", "WORKFLOW_TASK_SCHEDULED"]
    assert stage.run.durable.workflow_task is not None
    assert stage.run.durable.workflow_task.attempt == 1
    stage.poll()
    assert stage.last is not None
    assert carried(stage.last) == ["u"]


def test_its_worker_does_not_answer() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    stage.advance(10)
    assert names(stage) == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_TIMED_OUT"]
    stage.poll()
    assert stage.last is not None
    assert (stage.last.task.attempt, carried(stage.last)) == (2, ["u"])


def test_its_worker_fails_it() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    stage.fail()
    assert names(stage) == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_FAILED"]
    assert stage.history[5].workflow_task_started_event_attributes.identity == "worker"
    assert heard(stage) == []
    stage.poll()
    answer(stage, accepted(), completed())
    assert [moved.stage for moved in heard(stage)] == [COMPLETED]


def test_termination_forgets_a_task_that_nobody_has_seen() -> None:
    stage = waiting()
    stage.do(update())
    decision = stage.decide(terminate())
    assert names(stage) == ["WORKFLOW_EXECUTION_TERMINATED"]
    assert decision.lapsed


def test_termination_fails_a_started_one() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    stage.do(terminate())
    assert names(stage) == [
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_FAILED",
        "WORKFLOW_EXECUTION_TERMINATED",
    ]
    assert stage.history[5].workflow_task_started_event_attributes.identity == "history-service"


def test_the_answer_to_a_lost_task_is_refused_though_a_new_one_has_its_ids() -> None:
    stage = waiting()
    stage.do(update("a"))
    stage.poll()
    lost = stage.token()
    answer(stage, rejected("a"))
    stage.now_ns += 1
    stage.do(update("b"))
    stage.poll()
    assert stage.token().started_event_id == lost.started_event_id
    late = CompleteWorkflowTask(lost, RespondWorkflowTaskCompletedRequest())
    with pytest.raises(NotFound, match=r"^Workflow task not found\.$"):
        stage.do(late)
    answer(stage, rejected("b"))
    assert names(stage) == []


def test_a_lost_owner_takes_it_along_and_nothing_hangs() -> None:
    stage = waiting()
    stage.do(update())
    stage.poll()
    stage.lose()
    assert (stage.offers(), stage.timers()) == ([], [])
    assert stage.do(update()).stage == ADMITTED
    stage.poll()
    answer(stage, accepted(), completed())
    assert names(stage)[3:] == ["WORKFLOW_EXECUTION_UPDATE_ACCEPTED", "WORKFLOW_EXECUTION_UPDATE_COMPLETED"]


def test_stickiness_moves_without_a_trace_in_history() -> None:
    stage = waiting()
    stage.do(update("a"))
    stage.poll()
    answer(stage, rejected("a"), **sticky())
    stage.do(update("b"))
    (offer,) = stage.offers()
    assert offer.sticky
    assert offer.schedule_to_start_ns == stage.run.durable.sticky_timeout_ns
    stage.poll()  # on the normal queue: the worker is gone
    assert not stage.run.durable.sticky_queue
    answer(stage, rejected("b"))
    assert names(stage) == []


def test_reset_sticky_moves_the_task_to_the_normal_queue() -> None:
    stage = waiting()
    stage.do(update("a"))
    stage.poll()
    answer(stage, rejected("a"), **sticky())
    stage.do(update("b"))
    stage.do(ResetSticky(""))
    (offer,) = stage.offers()
    assert not offer.sticky


def test_reset_sticky_leaves_a_task_alone_that_a_worker_has() -> None:
    stage = waiting()
    stage.do(update("a"))
    stage.poll()
    stage.do(ResetSticky(""))
    assert names(stage) == []
    answer(stage, rejected("a"))
    assert names(stage) == []


def test_a_cancellation_makes_it_ordinary_too() -> None:
    stage = waiting()
    stage.do(update())
    stage.do(cancel())
    assert names(stage) == ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_EXECUTION_CANCEL_REQUESTED"]


def test_events_that_the_worker_has_seen_once_more_are_only_discarded_for_sdks_that_know() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.complete(*[_marker() for _ in range(3)])
    stage.do(update("a"))
    stage.poll()
    assert answer(stage, rejected("a"), **_CAPABLE).record is None
    stage.do(update("b"))
    stage.poll()
    assert answer(stage, rejected("b")).record is not None


def test_too_many_events_are_not_shown_again_and_again() -> None:
    for count, written in ((10, False), (11, True)):
        stage = Stage()
        stage.do(start())
        stage.poll()
        stage.complete(*[_marker() for _ in range(count)])
        stage.do(update())
        stage.poll()
        assert (answer(stage, rejected(), **_CAPABLE).record is not None) == written


def _marker() -> Command:
    return command("RECORD_MARKER", marker_name="m")


def test_a_reset_leaves_no_trace_of_a_task_that_nobody_has() -> None:
    stage = waiting()
    stage.do(update())
    first = stage.run.run_id
    assert reset(stage, 4).refusal is None
    ended = stage.histories[first][4:]
    assert [event.event_type for event in ended] == [EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED]
