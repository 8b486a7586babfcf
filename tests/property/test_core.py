"""Random requests in random order, on one chain. The stage checks each decision while it passes."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.workflow.requests import DeleteRun
from tests.property import (  # noqa: F401 - add their rules
    activity_rules,
    chain_rules,
    child_rules,
    external_rules,
    intervention_rules,
)
from tests.property.histories import check_chain, check_history
from tests.property.reset_rules import check_resets
from tests.property.rules import RULES, Draw, completes, polls, starts
from tests.property.stale_rules import answers_late
from tests.property.transitions import LIVES, Transitions
from tests.property.update_rules import check_updates
from tests.transcripts.stage import Stage

_KEYWORD = 2


def play(draw: Draw, transitions: Transitions) -> Stage:
    stage = Stage(transitions.see, types={"CustomKeywordField": _KEYWORD})
    starts(stage, draw)
    for rule in draw.several([*RULES, *4 * [polls, completes, answers_late]], 40):
        rule(stage, draw)
    return stage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_requests_in_any_order(data: st.DataObject) -> None:
    stage = play(Draw(data.draw), Transitions())
    for events in stage.histories.values():
        check_history(events)
    check_chain(stage.histories)
    check_updates(stage)
    check_resets(stage)
    open_runs = {run_id for run_id, run in stage.chain.runs.items() if run.is_open}
    assert open_runs <= {stage.chain.current.run_id if stage.chain.current else ""}


def test_the_machine_makes_every_transition_and_answers_late() -> None:
    """So that the test above shows something."""
    transitions: set[tuple[str, str]] = set()
    late = 0

    @settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def look(data: st.DataObject) -> None:
        nonlocal late
        draw, watch = Draw(data.draw), Transitions()
        play(draw, watch).decide(DeleteRun(""))
        transitions.update(watch.seen)
        late += draw.late_answers

    look()
    assert transitions == LIVES
    assert late
