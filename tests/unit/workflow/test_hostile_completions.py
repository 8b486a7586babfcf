"""Completions that no SDK sends."""

import pytest
from temporalio.api.command.v1 import Command, StartTimerCommandAttributes
from temporalio.api.enums.v1 import CommandType, WorkflowExecutionStatus

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
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
