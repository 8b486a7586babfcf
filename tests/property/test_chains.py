"""Runs that follow runs, many in a row. The stage checks each decision: replay equals live, tasks are as derived."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.api.enums.v1 import ContinueAsNewInitiator

from perdure.workflow.evolve import attributes_of
from tests.property.chain_rules import continue_as_new, starts_a_chain
from tests.property.histories import check_chain, check_history
from tests.property.rules import (
    CLOSE_COMMANDS,
    Draw,
    Rule,
    cancels,
    completes,
    deletes,
    fail,
    polls,
    signals,
    starts,
    terminates,
    time_passes,
)
from tests.transcripts.stage import Stage

_STEPS = 30


def closes(stage: Stage, draw: Draw) -> None:
    """A worker takes the task that is offered and closes the run, more often than not with another to follow."""
    polls(stage, draw)
    if stage.last is not None:
        stage.complete(draw.of([*CLOSE_COMMANDS, continue_as_new, fail])(stage, draw))


_RULES: list[Rule] = [*5 * [closes, time_passes], starts_a_chain, starts_a_chain, starts, signals, cancels, completes]
_RULES += [terminates, deletes]


def play(draw: Draw) -> Stage:
    stage = Stage(types={"CustomKeywordField": 2})
    starts_a_chain(stage, draw)
    for _ in range(_STEPS):
        draw.of(_RULES)(stage, draw)
        open_runs = {run_id for run_id, run in stage.chain.runs.items() if run.is_open}
        assert open_runs <= {stage.chain.current.run_id if stage.chain.current else ""}
    return stage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_every_successor_is_named_once_and_names_the_run_before_it(data: st.DataObject) -> None:
    histories = play(Draw(data.draw)).histories
    for events in histories.values():
        check_history(events)
    check_chain(histories)


def test_the_machine_makes_successors_of_every_kind() -> None:
    """So that the test above shows something."""
    seen: set[int] = set()

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def look(data: st.DataObject) -> None:
        for events in play(Draw(data.draw)).histories.values():
            started = attributes_of(events[0])
            if started.continued_execution_run_id:
                seen.add(started.initiator)

    look()
    assert seen == set(ContinueAsNewInitiator.values()) - {0}
