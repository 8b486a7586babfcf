"""Workflow tasks: who may answer them, how long an attempt has, what a poller gets."""

from typing import Any

import msgspec
import pytest
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.enums.v1 import SuggestContinueAsNewReason, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound
from perdure.base.limits import Limits
from perdure.workflow.requests import CompleteWorkflowTask, Look, ResetSticky, StartWorkflowTask
from perdure.workflow.workflow_task import start_to_close_ns
from tests.transcripts.scenarios import cancel, done, signal, start, sticky
from tests.transcripts.stage import Stage


def started_stage(**fields: Any) -> Stage:
    """A run whose first workflow task is with a worker."""
    stage = Stage(**fields)
    stage.do(start())
    stage.poll()
    return stage


def test_from_the_fourth_attempt_on_each_has_more_time() -> None:
    seconds = [start_to_close_ns(10 * SECOND_NS, attempt) // SECOND_NS for attempt in (1, 3, 4, 5, 6, 40)]
    assert seconds == [10, 10, 15, 20, 30, 610]


@pytest.mark.parametrize(
    ("field", "value"),
    [("scheduled_event_id", 7), ("started_event_id", 9), ("started_time_ns", 1), ("attempt", 2), ("stamp", 1)],
)
def test_an_answer_to_another_task_is_refused(field: str, value: int) -> None:
    stage = started_stage()
    token = msgspec.structs.replace(stage.token(), **{field: value})
    with pytest.raises(NotFound, match=r"Workflow task not found\."):
        stage.do(CompleteWorkflowTask(token, RespondWorkflowTaskCompletedRequest(commands=[done()])))
    assert stage.run.is_open


def test_ids_of_a_task_whose_start_comes_after_other_events() -> None:
    stage = Stage()
    stage.do(start())
    stage.do(cancel())
    stage.poll()
    assert stage.last is not None
    assert (stage.last.task.scheduled_event_id, stage.last.task.started_event_id) == (2, 4)


def test_continue_as_new_is_suggested_by_events_and_by_bytes() -> None:
    stage = started_stage(limits=Limits(history_events_suggest_continue=3, history_bytes_suggest_continue=1))
    attributes = stage.history[-1].workflow_task_started_event_attributes
    assert attributes.suggest_continue_as_new
    assert list(attributes.suggest_continue_as_new_reasons) == [
        SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE,
        SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS,
    ]
    assert attributes.history_size_bytes > 0


def test_a_poller_of_an_old_sticky_queue_gets_nothing() -> None:
    stage = started_stage()
    stage.complete(**sticky())
    stage.do(signal())
    (offer,) = stage.offers()
    stage.do(ResetSticky(""))
    with pytest.raises(NotFound):
        stage.do(stage.poll_request(offer, sticky=True))
    assert [each.sticky for each in stage.offers()] == [""]


def test_a_worker_with_the_run_in_cache_gets_a_part_of_history() -> None:
    stage = started_stage()
    stage.complete(**sticky())
    stage.do(signal())
    stage.poll(sticky=True)
    assert stage.last is not None
    assert (stage.last.partial, stage.last.previous_started_event_id) == (True, 3)


def test_the_build_of_a_worker_is_written_down() -> None:
    stage = Stage()
    stage.do(start())
    (offer,) = stage.offers()
    capabilities = WorkerVersionCapabilities(build_id="b1")
    stage.do(StartWorkflowTask(offer, "poll", "worker", False, "queue", capabilities))
    assert stage.history[-1].workflow_task_started_event_attributes.worker_version.build_id == "b1"


def test_the_tail_of_a_failing_task_is_shown_until_events_take_its_ids() -> None:
    stage = started_stage()
    stage.fail(cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR)
    (scheduled,) = map(HistoryEvent.FromString, stage.do(Look()).tail)
    assert (scheduled.event_id, scheduled.workflow_task_scheduled_event_attributes.attempt) == (5, 2)
    stage.do(signal())
    assert stage.do(Look()).tail == ()
