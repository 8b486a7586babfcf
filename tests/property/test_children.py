"""A run with children, and one that is a child: random answers of the others in random order."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property import activity_rules, chain_rules, child_rules, external_rules  # noqa: F401 - add their rules
from tests.property.child_rules import (
    children_are_not_started,
    children_are_started,
    children_end,
    is_woken,
    last_errands_are_done,
    starts_a_child,
    starts_as_a_child,
)
from tests.property.histories import check_chain, check_history
from tests.property.rules import RULES, Draw, completes, polls, starts
from tests.transcripts.stage import Stage

_OF_PARENTS = [children_are_started, children_are_started, children_are_not_started, children_end, completes, polls]
_OF_CHILDREN = [starts_as_a_child, is_woken, last_errands_are_done]
_KEYWORD = 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_children_in_any_order(data: st.DataObject) -> None:
    stage = Stage(types={"CustomKeywordField": _KEYWORD})
    draw = Draw(data.draw)
    draw.of([starts, starts_as_a_child])(stage, draw)
    is_woken(stage, draw)
    for _ in draw.several([1], 3):
        if stage.offers():
            stage.poll()
            more = {"force_create_new_workflow_task": True, "return_new_workflow_task": True}
            stage.complete(starts_a_child(stage, draw), starts_a_child(stage, draw), **draw.of([{}, more]))
    for rule in draw.several([*RULES, *3 * [*_OF_PARENTS, *_OF_CHILDREN]], 25):
        rule(stage, draw)
    for events in stage.histories.values():
        check_history(events)
    check_chain(stage.histories)
