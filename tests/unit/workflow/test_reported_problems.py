"""Lists say that a run's workflow tasks fail, after a number of them in a row, until one is completed."""

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowTaskFailedCause

from perdure.base.limits import Limits
from perdure.workflow.core import visibility_row
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import signal, start, sticky
from tests.transcripts.stage import Stage

_FAILED = b'["category=WorkflowTaskFailed","cause=WorkflowTaskFailedCauseNonDeterministicError"]'
_TIMED_OUT = b'["category=WorkflowTaskTimedOut","cause=WorkflowTaskTimedOutCauseStartToClose"]'
_CAUSE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR


def _problems(stage: Stage) -> bytes:
    encoded = visibility_row(stage.run).search_attributes.get("TemporalReportedProblems")
    return Payload.FromString(encoded).data if encoded else b""


def _fail(stage: Stage, times: int) -> None:
    for _ in range(times):
        stage.poll()
        stage.fail(cause=_CAUSE)


def test_five_failures_in_a_row_are_reported_until_a_task_is_completed() -> None:
    stage = Stage()
    stage.do(start())
    _fail(stage, 4)
    assert (_problems(stage), visibility_row(stage.run).version) == (b"", 1)
    _fail(stage, 1)
    version = visibility_row(stage.run).version
    assert (_problems(stage), version) == (_FAILED, stage.run.durable.transition_count)
    _fail(stage, 1)
    assert visibility_row(stage.run).version == version, "lists show nothing new"
    stage.poll()
    stage.complete()
    assert (_problems(stage), stage.run.durable.workflow_task_problems) == (b"", 0)
    assert visibility_row(stage.run).version == stage.run.durable.transition_count


def test_timeouts_are_problems_too_and_the_newest_with_an_event_is_named() -> None:
    stage = Stage(limits=Limits(reported_problems_min=2))
    stage.do(start())
    stage.poll()
    stage.advance(11)
    _fail(stage, 1)
    assert _problems(stage) == _TIMED_OUT, "the failure of a second attempt has no event"


def test_what_came_in_between_makes_no_difference() -> None:
    stage = Stage(limits=Limits(reported_problems_min=2))
    stage.do(start())
    for _ in range(2):
        stage.poll()
        stage.do(signal())
        stage.fail(cause=_CAUSE)
    assert stage.run.durable.workflow_task_attempt == 1
    assert _problems(stage) == _FAILED


def test_a_sticky_worker_that_fails_is_not_counted() -> None:
    stage = Stage(limits=Limits(reported_problems_min=1))
    stage.do(start())
    stage.poll()
    stage.complete(**sticky())
    stage.do(signal())
    stage.poll(sticky=True)
    stage.fail(cause=_CAUSE)
    assert _problems(stage) == b""


@pytest.mark.parametrize(("limit", "expected"), [(0, b""), (1, _FAILED)])
def test_the_number_is_a_setting_and_0_is_never(limit: int, expected: bytes) -> None:
    stage = Stage(limits=Limits(reported_problems_min=limit))
    stage.do(start())
    _fail(stage, 1)
    assert _problems(stage) == expected


def test_the_failures_that_a_reset_writes_and_those_before_it_count() -> None:
    stage = Stage(limits=Limits(reported_problems_min=3))
    stage.do(start())
    stage.poll()
    reset(stage, 3)
    stage.poll()
    reset(stage, 6)
    assert (_problems(stage), stage.run.durable.workflow_task_problems) == (b"", 2)
    _fail(stage, 1)
    assert (_problems(stage), stage.run.durable.workflow_task_problems) == (_FAILED, 3)
