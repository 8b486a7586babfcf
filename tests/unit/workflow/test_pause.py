"""A paused run: what it is given, what it still takes, and what it begins with once it goes on."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    PauseWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    UnpauseWorkflowExecutionRequest,
)

from perdure.base.errors import FailedPrecondition, InvalidArgument, NotFound
from perdure.workflow.core import visibility_row
from perdure.workflow.intervention_requests import PauseWorkflow, UnpauseWorkflow
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import CompleteWorkflowTask, Describe, Look, StartActivityTask
from perdure.workflow.tasks import Offer, QueueKind
from tests.transcripts.activity_scenarios import activity
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import signal, start
from tests.transcripts.stage import Stage

_PAUSED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
_RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING


def _pause(request_id: str = "pause", **fields: Any) -> PauseWorkflow:
    return PauseWorkflow(PauseWorkflowExecutionRequest(workflow_id="wf", request_id=request_id, **fields))


def _unpause() -> UnpauseWorkflow:
    return UnpauseWorkflow(UnpauseWorkflowExecutionRequest(workflow_id="wf", request_id="unpause"))


def _types(stage: Stage) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in stage.history]


def _offers(stage: Stage) -> list[Offer]:
    return [task for task in outstanding(stage.run) if isinstance(task, Offer)]


def test_a_task_that_nobody_has_fails_and_another_comes_after_the_pause() -> None:
    stage = Stage()
    stage.do(start())
    stage.do(_pause())
    assert _offers(stage) == []
    failed = stage.history[-2].workflow_task_failed_event_attributes
    unstarted = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED
    assert (failed.scheduled_event_id, failed.started_event_id, failed.cause) == (2, 0, unstarted)
    stage.do(signal())
    assert _offers(stage) == []
    stage.do(_unpause())
    assert [offer.queue.kind for offer in _offers(stage)] == [QueueKind.WORKFLOW]
    assert _types(stage)[3:] == [
        "WORKFLOW_EXECUTION_PAUSED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_EXECUTION_UNPAUSED",
        "WORKFLOW_TASK_SCHEDULED",
    ]


def test_a_task_that_is_not_in_history_is_shown_behind_it_during_the_pause_too() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.fail()
    stage.poll()
    before = stage.do(Look()).tail
    assert len(before) == 2
    stage.do(_pause())
    assert stage.do(Look()).tail == before


def test_a_started_task_is_answered_and_its_activity_waits() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.do(_pause())
    assert "WORKFLOW_EXECUTION_PAUSED" not in _types(stage), "it stands after what the worker answers"
    stage.complete(activity())
    assert _types(stage)[-1] == "WORKFLOW_EXECUTION_PAUSED"
    assert _offers(stage) == []
    stage.do(_unpause())
    assert {offer.queue.kind for offer in _offers(stage)} == {QueueKind.WORKFLOW, QueueKind.ACTIVITY}


def test_an_activity_offered_before_the_pause_is_not_given_away_and_offered_anew() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.complete(activity())
    (offered,) = _offers(stage)
    stage.do(_pause())
    late = StartActivityTask(offer=offered, request_id="poll", identity="worker")
    with pytest.raises(NotFound):
        stage.do(late)
    stage.do(_unpause())
    again = next(offer for offer in _offers(stage) if offer.queue.kind == QueueKind.ACTIVITY)
    assert again.stamp > offered.stamp
    with pytest.raises(NotFound):
        stage.do(late)
    stage.do(StartActivityTask(offer=again, request_id="poll", identity="worker"))


def test_a_task_that_fails_is_numbered_behind_and_tried_again_after_the_pause() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.do(_pause())
    stage.fail()
    assert _types(stage)[-2:] == ["WORKFLOW_TASK_FAILED", "WORKFLOW_EXECUTION_PAUSED"]
    assert not stage.run.durable.buffered
    stage.do(_unpause())
    assert [offer.attempt for offer in _offers(stage)] == [1]


def test_a_worker_gets_no_further_task_while_the_run_is_paused() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.do(_pause())
    answer = RespondWorkflowTaskCompletedRequest(force_create_new_workflow_task=True)
    with pytest.raises(FailedPrecondition, match="Workflow is paused"):
        stage.do(CompleteWorkflowTask(stage.token(), answer))
    assert stage.run.durable.workflow_task is not None


def test_the_request_that_paused_may_be_repeated_and_no_other() -> None:
    stage = Stage()
    stage.do(start())
    with pytest.raises(FailedPrecondition, match="workflow is not paused"):
        stage.do(_unpause())
    stage.do(_pause())
    assert stage.decide(_pause()).record is None
    for other in ("other", ""):
        with pytest.raises(FailedPrecondition, match="workflow is already paused"):
            stage.do(_pause(other))
    stage.do(_unpause())
    stage.do(_pause(""))
    with pytest.raises(FailedPrecondition, match="workflow is already paused"):
        stage.do(_pause(""))


def test_lists_and_descriptions_show_the_pause() -> None:
    stage = Stage()
    stage.do(start())
    stage.do(_pause(reason="because", identity="me"))
    row = visibility_row(stage.run)
    assert (row.status, row.version) == (_PAUSED, 2)
    assert Payload.FromString(row.search_attributes["TemporalPauseInfo"]).data == b'["Workflow:wf","Reason:because"]'
    ask = Describe(DescribeWorkflowExecutionRequest(execution=WorkflowExecution(workflow_id="wf")))
    shown = stage.do(ask)
    assert shown.workflow_execution_info.status == _PAUSED
    assert (shown.workflow_extended_info.pause_info.identity, shown.workflow_extended_info.pause_info.reason) == (
        "me",
        "because",
    )
    stage.do(_unpause())
    row = visibility_row(stage.run)
    assert (row.status, row.version, dict(row.search_attributes)) == (_RUNNING, 3, {})
    assert not stage.do(ask).workflow_extended_info.HasField("pause_info")


def test_a_delay_that_ends_while_the_run_is_paused_begins_it_when_it_goes_on() -> None:
    stage = Stage()
    stage.do(start(workflow_start_delay=Duration(seconds=10)))
    stage.do(_pause())
    stage.advance(20)
    assert "WORKFLOW_TASK_SCHEDULED" not in _types(stage)
    stage.do(_unpause())
    stage.advance(0)
    assert _types(stage)[-1] == "WORKFLOW_TASK_SCHEDULED"


def test_a_run_can_not_be_reset_to_within_a_pause() -> None:
    """There is no workflow task then; one comes when it goes on."""
    stage = Stage()
    stage.do(start())
    stage.do(_pause())
    stage.do(signal())
    stage.do(_unpause())
    assert _types(stage)[2:] == [
        "WORKFLOW_TASK_FAILED",
        "WORKFLOW_EXECUTION_PAUSED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_EXECUTION_UNPAUSED",
        "WORKFLOW_TASK_SCHEDULED",
    ]
    for point in (5, 6, 7):
        assert isinstance(reset(stage, point).refusal, InvalidArgument)
    assert reset(stage, 4).refusal is None
    assert not stage.run.durable.paused
