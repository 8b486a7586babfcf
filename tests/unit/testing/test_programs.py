"""A program's next commands follow from its history, and what it never wanted is noticed."""

from typing import Any

from temporalio.api.enums.v1 import CommandType
from temporalio.api.history.v1 import HistoryEvent

from perdure.testing.entropy import SeededEntropy
from perdure.testing.programs import (
    ActivityStep,
    Facts,
    MarkerStep,
    Program,
    RaceStep,
    SignalStep,
    Step,
    TimerStep,
    activity_step,
    draw_program,
    next_commands,
    program_input,
)
from tests.unit.testing.story import event, header

_ACTIVITY = CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK
_TIMER = CommandType.COMMAND_TYPE_START_TIMER
_CANCEL_TIMER = CommandType.COMMAND_TYPE_CANCEL_TIMER
_CANCEL_ACTIVITY = CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK
_MARKER = CommandType.COMMAND_TYPE_RECORD_MARKER
_COMPLETE = CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
_FAIL = CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION
_CANCEL = CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION


def events(program: Program, *rest: tuple[str, dict[str, Any]]) -> list[HistoryEvent]:
    started = event(1, 0, "WORKFLOW_EXECUTION_STARTED", input=program_input(program))
    return [started, *(event(at, 0, name, **fields) for at, (name, fields) in enumerate(rest, 2))]


def wanted(steps: tuple[Step, ...], *rest: tuple[str, dict[str, Any]], fails: bool = False) -> list[tuple[int, str]]:
    return next_commands(Facts(events(Program(steps, fails), *rest))).keys


SCHEDULED = ("ACTIVITY_TASK_SCHEDULED", {"activity_id": "0.0"})
COMPLETED = ("ACTIVITY_TASK_COMPLETED", {"scheduled_event_id": 2})


def test_steps_come_one_after_the_other() -> None:
    steps = (ActivityStep(), TimerStep(5))
    assert wanted(steps) == [(_ACTIVITY, "0.0")]
    assert wanted(steps, SCHEDULED) == []
    assert wanted(steps, SCHEDULED, COMPLETED) == [(_TIMER, "1")]
    started = ("TIMER_STARTED", {"timer_id": "1"})
    fired = ("TIMER_FIRED", {"timer_id": "1", "started_event_id": 4})
    assert wanted(steps, SCHEDULED, COMPLETED, started) == []
    assert wanted(steps, SCHEDULED, COMPLETED, started, fired) == [(_COMPLETE, "")]


def test_a_wide_step_wants_all_of_its_activities() -> None:
    steps = (ActivityStep(width=2), MarkerStep())
    assert wanted(steps) == [(_ACTIVITY, "0.0"), (_ACTIVITY, "0.1")]
    assert wanted(steps, SCHEDULED, COMPLETED) == [(_ACTIVITY, "0.1")]


def test_markers_do_not_wait() -> None:
    assert wanted((MarkerStep(), MarkerStep()), fails=True) == [(_MARKER, "0"), (_MARKER, "1"), (_FAIL, "")]


def test_signals_are_waited_for() -> None:
    signal = ("WORKFLOW_EXECUTION_SIGNALED", {"header": header("s")})
    assert wanted((SignalStep(2),), signal) == []
    assert wanted((SignalStep(2),), signal, signal) == [(_COMPLETE, "")]
    assert Program((SignalStep(2), SignalStep(3))).signals == 3


def test_the_loser_of_a_race_is_cancelled_and_the_winner_stays_the_winner() -> None:
    steps = (RaceStep(5, 5),)
    begun = (("ACTIVITY_TASK_SCHEDULED", {"activity_id": "0.a"}), ("TIMER_STARTED", {"timer_id": "0.t"}))
    fired = ("TIMER_FIRED", {"started_event_id": 3})
    assert wanted(steps) == [(_ACTIVITY, "0.a"), (_TIMER, "0.t")]
    assert wanted(steps, *begun) == []
    assert wanted(steps, *begun, COMPLETED) == [(_CANCEL_TIMER, "0.t"), (_COMPLETE, "")]
    assert wanted(steps, *begun, COMPLETED, fired) == [(_COMPLETE, "")]
    assert wanted(steps, *begun, fired) == [(_CANCEL_ACTIVITY, "2"), (_COMPLETE, "")]
    assert wanted(steps, *begun, fired, COMPLETED) == [(_COMPLETE, "")]


def test_a_cancelled_workflow_ends() -> None:
    assert wanted((TimerStep(5),), ("WORKFLOW_EXECUTION_CANCEL_REQUESTED", {})) == [(_CANCEL, "")]


def test_what_was_never_wanted_is_noticed() -> None:
    facts = Facts(events(Program((ActivityStep(),)), SCHEDULED, ("TIMER_STARTED", {"timer_id": "9"})))
    assert next_commands(facts).strange == ["9"]


def test_an_activity_reads_its_step_from_its_input() -> None:
    step = ActivityStep(fails=2, beats=1)
    command = next_commands(Facts(events(Program((step,))))).commands[0]
    assert activity_step(command.schedule_activity_task_command_attributes.input) == step


def test_programs_are_drawn_from_their_seed() -> None:
    assert [draw_program(SeededEntropy(n)) for n in range(9)] == [draw_program(SeededEntropy(n)) for n in range(9)]
    assert len({draw_program(SeededEntropy(n)) for n in range(9)}) > 5
