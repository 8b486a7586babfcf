"""Random requests with many resets among them, so that resets meet all that can be pending, and one another."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property import activity_rules, chain_rules, child_rules, external_rules  # noqa: F401 - add their rules
from tests.property.histories import check_chain, check_history
from tests.property.reset_rules import check_resets, resets
from tests.property.rules import RULES, Draw, completes, polls
from tests.property.update_rules import check_updates
from tests.transcripts.activity_scenarios import activity, begin, timer
from tests.transcripts.scenarios import command, signal
from tests.transcripts.stage import Stage

_KEYWORD = 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_resets_among_anything(data: st.DataObject) -> None:
    stage = Stage(types={"CustomKeywordField": _KEYWORD})
    draw = Draw(data.draw)
    begin(
        stage,
        activity(),
        timer("t", 30),
        command("START_CHILD_WORKFLOW_EXECUTION", workflow_id="child", workflow_type={"name": "flow"}),
        command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", execution={"workflow_id": "other"}, signal_name="hello"),
    )
    stage.decide(signal())  # so that there is a second task, and all that is pending at it
    often = [polls, completes, polls, completes, resets]
    for rule in data.draw(st.lists(st.sampled_from([*RULES, *8 * often]), min_size=20, max_size=40)):
        rule(stage, draw)
        check_resets(stage)
    for events in stage.histories.values():
        check_history(events)
    check_chain(stage.histories)
    check_updates(stage)
