"""Completions that no SDK sends."""

import pytest
from temporalio.api.command.v1 import Command, StartTimerCommandAttributes
from temporalio.api.common.v1 import Priority, WorkflowType
from temporalio.api.enums.v1 import CommandType, WorkflowExecutionStatus
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.priorities import priority_fault
from perdure.workflow.tokens import decode_query_token, decode_token
from tests.transcripts.scenarios import command, start
from tests.transcripts.stage import Stage


@pytest.mark.parametrize(
    "kind",
    [
        CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES,
        CommandType.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    ],
)
def test_attributes_of_another_command_are_none(kind: CommandType.ValueType) -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    mixed = Command(command_type=kind, start_timer_command_attributes=StartTimerCommandAttributes(timer_id="t"))
    decision = stage.complete(mixed)
    assert isinstance(decision.refusal, InvalidArgument)
    assert stage.run.is_open


def test_more_commands_than_a_history_has_room_for_end_the_run_before_any_is_carried_out() -> None:
    stage = Stage(limits=Limits(history_events_max=50))
    stage.do(start())
    stage.poll()
    decision = stage.complete(*[command("RECORD_MARKER", marker_name="m")] * 51)
    assert isinstance(decision.refusal, InvalidArgument)
    assert decision.refusal.message == "Workflow history count exceeds limit."
    assert stage.run.facts.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED
    assert len(stage.history) < 10


def test_a_token_without_utf_8_is_none() -> None:
    with pytest.raises(InvalidArgument):
        decode_token(b"\x01\x01\x94\xa2\xff\xfe\xa1a\xa1b\x05")
    with pytest.raises(InvalidArgument):
        decode_query_token(b"\x01\x71\x93\xa2\xff\xfe\xa1a\xa1b")


def test_a_token_with_more_than_it_should_have_and_that_very_deep_is_none() -> None:
    deep = b"\x91" * 100_000
    with pytest.raises(InvalidArgument):
        decode_token(b"\x01\x01\x9c" + 3 * b"\xa1a" + 5 * b"\x01" + 3 * b"\xa1a" + deep)
    with pytest.raises(InvalidArgument):
        decode_query_token(b"\x01\x71\x94" + 3 * b"\xa1a" + deep)


def test_a_queue_of_no_known_kind_is_named_by_its_number() -> None:
    """In what a continuation's refusal says, and a fault of its caller's."""
    stage = Stage()
    stage.do(start())
    stage.poll()
    queue = TaskQueue(name="/_sys/x", kind=999)  # type: ignore[arg-type]  # no number of the enum
    decision = stage.complete(command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION", task_queue=queue))
    assert isinstance(decision.refusal, InvalidArgument)
    assert "kind:999" in decision.refusal.message


def test_what_a_refusal_says_of_an_id_of_megabytes_is_its_beginning() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    long = "x" * 1_000_000
    kind = WorkflowType(name="child")
    decision = stage.complete(command("START_CHILD_WORKFLOW_EXECUTION", workflow_id=long, workflow_type=kind))
    assert isinstance(decision.refusal, InvalidArgument)
    assert "exceeds length limit. WorkflowId=xxx" in decision.refusal.message
    assert stage.run.durable.history_bytes < 10_000


def test_a_priority_is_no_place_for_megabytes() -> None:
    """It is kept encoded, with the fields that nobody here knows."""
    assert not priority_fault(Priority(fairness_key="k" * 64, fairness_weight=2))
    smuggled = Priority.FromString(b"\xfa\x7d\x88\x27" + 5_000 * b"x")
    assert priority_fault(smuggled) == "priority size exceeds limit"
