"""Limits that a run meets while it lives."""

import re

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import WorkflowExecutionStatus, WorkflowTaskFailedCause

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from tests.transcripts.scenarios import command, signal, start
from tests.transcripts.stage import Stage

_TERMINATED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED


def test_too_many_buffered_events_fail_the_task_that_they_wait_for() -> None:
    stage = Stage(limits=Limits(buffered_events_max=2))
    stage.do(start())
    stage.poll()
    for _ in range(2):
        stage.do(signal())
    assert len(stage.run.durable.buffered) == 2
    stage.do(signal())
    assert not stage.run.durable.buffered_bytes
    failed = stage.history[3].workflow_task_failed_event_attributes
    assert failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND
    assert stage.offers()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(history_events_max=3), "Workflow history count exceeds limit."),
        (Limits(history_bytes_max=10), "Workflow history size exceeds limit."),
        (Limits(transaction_bytes_max=400), "Transaction size exceeds limit."),
    ],
)
def test_a_run_that_outgrows_its_limits_is_terminated(limits: Limits, message: str) -> None:
    stage = Stage(limits=limits)
    stage.do(start())
    refusals = [stage.decide(signal("s" * 500)).refusal for _ in range(3)]
    said = [refusal.message for refusal in refusals if isinstance(refusal, InvalidArgument)]
    assert any(
        each == message or re.fullmatch(r"transaction size of \d+ bytes exceeds limit of 400 bytes", each)
        for each in said
    )
    assert stage.run.facts.status == _TERMINATED
    assert stage.history[-1].workflow_execution_terminated_event_attributes.reason == message


def test_a_result_over_the_limit_ends_the_run() -> None:
    stage = Stage(limits=Limits(blob_bytes_max=10))
    stage.do(start())
    stage.poll()
    result = Payloads(payloads=[Payload(data=b"x" * 20)])
    decision = stage.complete(command("COMPLETE_WORKFLOW_EXECUTION", result=result))
    assert isinstance(decision.refusal, InvalidArgument)
    assert stage.run.facts.status == _TERMINATED


def test_signals_are_counted_against_their_limit() -> None:
    stage = Stage(limits=Limits(signals_max=1))
    stage.do(start())
    stage.do(signal())
    with pytest.raises(InvalidArgument, match="exceeded workflow execution limit for signal events"):
        stage.do(signal())


def test_a_run_whose_state_was_too_large_at_its_checkpoint_is_terminated() -> None:
    stage = Stage()
    stage.do(start())
    stage.state_bytes = {stage.run.run_id: stage.limits.state_bytes_max}
    stage.do(signal())
    stage.state_bytes = {stage.run.run_id: stage.limits.state_bytes_max + 1}
    with pytest.raises(InvalidArgument, match=r"Workflow mutable state size exceeds limit\."):
        stage.do(signal())
    assert stage.run.facts.status == _TERMINATED
