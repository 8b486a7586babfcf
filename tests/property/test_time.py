"""Random requests on one chain whose time is skipped: the stage checks each decision, and timers keep their time."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property import activity_rules, chain_rules, child_rules, external_rules  # noqa: F401 - add their rules
from tests.property.histories import check_chain, check_history
from tests.property.rules import RULES, Draw, completes, polls, time_passes
from tests.property.time_rules import changes_how_time_goes, starts_ahead_of_time
from tests.transcripts.activity_scenarios import timer
from tests.transcripts.stage import Stage

_STEPS = 30


def waits(stage: Stage, draw: Draw) -> None:
    """A worker takes the task that is offered, and the workflow waits for a time."""
    polls(stage, draw)
    if stage.last is not None:
        stage.complete(timer(draw.of(["t", "u"]), draw.of([0.5, 5, 100])))


_OFTEN = [starts_ahead_of_time, changes_how_time_goes, *6 * [time_passes], *8 * [waits], polls, completes]


def play(draw: Draw) -> Stage:
    stage = Stage(types={"CustomKeywordField": 2})
    starts_ahead_of_time(stage, draw)
    for _ in range(_STEPS):
        draw.of([*RULES, *2 * _OFTEN])(stage, draw)
    return stage


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_requests_of_runs_that_skip_time(data: st.DataObject) -> None:
    stage = play(Draw(data.draw))
    for events in stage.histories.values():
        check_history(events)
    check_chain(stage.histories)
    assert all(one.due_ns < 2**63 for one in stage.timers())


def test_the_machine_skips_time() -> None:
    """So that the test above shows something."""
    jumps: list[int] = []

    @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def look(data: st.DataObject) -> None:
        stage = play(Draw(data.draw))
        jumps.extend(run.ahead_ns for run in stage.chain.runs.values() if run.ahead_ns)

    look()
    assert len(jumps) > 3
