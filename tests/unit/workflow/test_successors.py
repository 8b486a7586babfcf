"""What a run hands on to the one that follows it, and what keeps it from being followed."""

from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Memo, Payload, Payloads, RetryPolicy, SearchAttributes
from temporalio.api.enums.v1 import RetryState, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import ResetPoints
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest

from perdure.base.clock import SECOND_NS, to_duration
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.evolve import attributes_of
from perdure.workflow.requests import Describe, StartWorkflow
from perdure.workflow.reset_points import handed_on
from perdure.workflow.tasks import TimerKind
from tests.transcripts.scenarios import cancel, command, done, start
from tests.transcripts.stage import DAY_NS, T0, Stage

_TERMINATED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED


def seconds(amount: float) -> Any:
    return to_duration(int(amount * SECOND_NS))


def anew(**attributes: Any) -> Command:
    return command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION", **attributes)


def fail() -> Command:
    return command("FAIL_WORKFLOW_EXECUTION", failure=Failure(message="no"))


def begun(request: StartWorkflow, limits: Limits | None = None) -> Stage:
    """A run whose first task a worker has."""
    stage = Stage(limits=limits, types={"CustomKeywordField": 2})
    stage.decide(request)
    if not stage.offers():
        stage.advance((stage.run.durable.execution_time_ns - stage.now_ns) / SECOND_NS)
    stage.poll()
    return stage


def started(stage: Stage) -> Any:
    """The attributes of the current run's Started event."""
    return attributes_of(stage.history[0])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"input": Payloads(payloads=[Payload(data=bytes(200))])}, "Input exceeds size limit."),
        ({"memo": Memo(fields={"m": Payload(data=bytes(200))})}, "Memo exceeds size limit."),
        (
            {"search_attributes": SearchAttributes(indexed_fields={"CustomKeywordField": Payload(data=b'"abcdefgh"')})},
            "search attribute CustomKeywordField value size 10 exceeds size limit 9",
        ),
    ],
)
def test_a_continuation_over_a_limit_ends_the_workflow(attributes: dict[str, Any], message: str) -> None:
    stage = begun(start(), Limits(blob_bytes_max=100, memo_bytes_max=100, search_attribute_bytes_max=9))
    decision = stage.complete(anew(**attributes))
    assert isinstance(decision.refusal, InvalidArgument)
    assert message in decision.refusal.message
    assert stage.run.facts.status == _TERMINATED
    assert len(stage.chain.runs) == 1


def test_one_record_holds_both_runs() -> None:
    stage = begun(start())
    decision = stage.complete(anew())
    assert decision.record is not None
    first, second = decision.record.mutations
    assert decision.record.current is not None
    assert decision.record.current.run_id == second.run_id
    assert stage.chain.runs[first.run_id].facts.successor_run_id == second.run_id
    assert started(stage).continued_execution_run_id == first.run_id


def test_the_first_run_s_id_goes_through_the_whole_chain() -> None:
    stage = begun(start(retry_policy=RetryPolicy(initial_interval=seconds(1), backoff_coefficient=1)))
    first = stage.run.run_id
    for closing in (fail(), anew(cron_schedule="@every 5s"), done(), fail()):
        stage.complete(closing)
        stage.advance((stage.run.durable.execution_time_ns - stage.now_ns) / SECOND_NS)
        stage.poll()
        assert started(stage).first_execution_run_id == first
        assert stage.chain.current is not None
        assert stage.chain.current.first_run_id == first
    assert len(stage.histories) == 5


def test_a_run_timeout_begins_anew_and_the_execution_s_does_not() -> None:
    timeouts = {"workflow_execution_timeout": seconds(100), "workflow_run_timeout": seconds(10)}
    stage = begun(start(**timeouts))
    stage.advance(5)
    stage.complete(anew())
    durable = stage.run.durable
    assert durable.run_expiration_ns == T0 + 15 * SECOND_NS
    assert durable.execution_expiration_ns == T0 + 100 * SECOND_NS
    due = {timer.kind: timer.due_ns for timer in stage.timers() if timer.run_id == stage.run.run_id}
    assert due[TimerKind.RUN_TIMEOUT] == T0 + 15 * SECOND_NS
    assert due[TimerKind.EXECUTION_TIMEOUT] == T0 + 100 * SECOND_NS


@pytest.mark.parametrize(
    ("lifetime", "asked", "expected"), [(0, None, 1), (0.4, None, 0.6), (0.4, 0.5, 0.6), (0.4, 0.7, 0.7), (2, 0.1, 0.1)]
)
def test_a_chain_turns_over_once_a_second_at_most(lifetime: float, asked: float | None, expected: float) -> None:
    stage = begun(start())
    stage.advance(lifetime)
    stage.complete(anew() if asked is None else anew(backoff_start_interval=seconds(asked)))
    assert started(stage).first_workflow_task_backoff.ToNanoseconds() == pytest.approx(expected * SECOND_NS, abs=1)


def test_a_run_woken_before_its_delay_is_over_is_followed_at_once() -> None:
    stage = Stage()
    stage.decide(start(workflow_start_delay=seconds(3600)))
    stage.advance(0.4)
    stage.decide(cancel())
    stage.poll()
    stage.complete(anew())
    assert started(stage).first_workflow_task_backoff.ToNanoseconds() == pytest.approx(0.6 * SECOND_NS, abs=1)


def test_attempts_without_a_worker_come_once_a_second_at_most() -> None:
    policy = RetryPolicy(initial_interval=seconds(1e-6), maximum_interval=seconds(1e-6))
    stage = begun(start(retry_policy=policy, workflow_run_timeout=seconds(0.3)))
    stage.advance(0.3)
    assert started(stage).first_workflow_task_backoff.ToNanoseconds() == pytest.approx(0.7 * SECOND_NS, abs=1)
    stage.advance(0.7 + 0.3)
    assert started(stage).attempt == 3
    assert started(stage).first_workflow_task_backoff.ToNanoseconds() == pytest.approx(0.7 * SECOND_NS, abs=1)


def test_a_chain_may_be_allowed_to_turn_over_at_once() -> None:
    stage = begun(start(), Limits(continue_as_new_interval_ns=0))
    stage.complete(anew())
    assert len(stage.offers()) == 1


def test_a_chain_that_takes_its_time_does_not_wait() -> None:
    stage = begun(start())
    stage.advance(1)
    stage.complete(anew())
    assert not started(stage).HasField("first_workflow_task_backoff")
    assert len(stage.offers()) == 1


def test_no_attempt_begins_after_the_execution_s_end() -> None:
    policy = RetryPolicy(initial_interval=seconds(10), backoff_coefficient=1)
    stage = begun(start(retry_policy=policy, workflow_execution_timeout=seconds(9)))
    stage.complete(fail())
    assert attributes_of(stage.history[-1]).retry_state == RetryState.RETRY_STATE_TIMEOUT
    assert len(stage.chain.runs) == 1


def test_another_attempt_is_begun_with_what_the_first_was_begun_with() -> None:
    memo = Memo(fields={"m": Payload(data=b'"old"')})
    policy = RetryPolicy(initial_interval=seconds(1), backoff_coefficient=1)
    stage = begun(start(retry_policy=policy, memo=memo))
    changed = Memo(fields={"m": Payload(data=b'"new"')})
    stage.complete(command("MODIFY_WORKFLOW_PROPERTIES", upserted_memo=changed), fail())
    assert started(stage).memo == memo
    assert set(stage.run.facts.memo) == {"m"}


def test_only_runs_that_may_be_repeated_keep_how_they_were_begun() -> None:
    payload = Payloads(payloads=[Payload(data=bytes(1000))])
    assert not begun(start(input=payload)).run.facts.blueprint
    failure = Failure(message="x" * 2000)
    repeated = begun(start(input=payload, cron_schedule="@every 5s", continued_failure=failure)).run.facts.blueprint
    assert 1000 < len(repeated) < 2000


def test_a_schedule_s_next_time_counts_from_the_one_before() -> None:
    stage = begun(start(cron_schedule="@every 10s"))
    stage.advance(3)
    stage.complete(done())
    assert started(stage).first_workflow_task_backoff.seconds == 7


def test_reset_points_last_as_long_as_their_run() -> None:
    stage = begun(start())
    first = stage.run.run_id
    stage.complete(anew())
    points = ResetPoints.FromString(stage.run.durable.auto_reset_points).points
    assert [(point.run_id, point.expire_time.ToNanoseconds()) for point in points] == [(first, T0 + 3 * DAY_NS)]
    stage.advance(2)
    stage.poll()
    stage.now_ns += 4 * DAY_NS
    stage.complete(binary_checksum="other")
    assert handed_on(stage.run, 1)
    run = stage.run
    run.facts.close_time_ns = stage.now_ns
    (kept,) = ResetPoints.FromString(handed_on(run, 5)).points
    assert (kept.run_id, kept.expire_time.ToNanoseconds()) == (run.run_id, stage.now_ns + 5)


def test_describe_shows_a_run_timeout_that_was_given_as_none() -> None:
    stage = begun(start())
    describe = Describe(DescribeWorkflowExecutionRequest())
    assert not stage.do(describe).execution_config.HasField("workflow_run_timeout")
    stage.complete(anew())
    assert stage.do(describe).execution_config.HasField("workflow_run_timeout")
