"""Members as they are counted, and calls between roles as each side counts them."""

from collections.abc import Callable

import msgspec

from perdure.base import series
from perdure.base.metrics import Cell, Definition, Metrics
from perdure.cluster.members import Member, MemberState, View
from perdure.cluster.membership import SoleMembership, Unsubscribe
from perdure.cluster.membership_meter import MembershipMeter


class Members(SoleMembership):
    """A membership that the test changes."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: Callable[[View], None] = lambda view: None

    def subscribe(self, changed: Callable[[View], None]) -> Unsubscribe:
        self.changed = changed
        return lambda: None

    def become(self, view: View) -> None:
        self.view = view
        self.changed(view)


def _value(metrics: Metrics, definition: Definition[Cell], *values: str) -> float | None:
    return metrics.registry.get_sample_value(definition.name, dict(zip(definition.labels, values, strict=True)))


def test_views_that_differ_are_counted_and_the_newest_is_shown() -> None:
    metrics, members = Metrics(("history",)), Members()
    meter = MembershipMeter(metrics, members)
    assert _value(metrics, series.MEMBERSHIP_CHANGED, "Membership", "history") == 0
    assert _value(metrics, series.MEMBERS, "matching", "history", "serving") == 1
    leaving = Member("b", {"history": "10.0.0.2:7234"}, MemberState.LEAVING)
    members.become(msgspec.structs.replace(members.view, version=7).with_member(leaving))
    members.become(members.view)
    meter.lease_lost()
    assert _value(metrics, series.MEMBERSHIP_CHANGED, "Membership", "history") == 1
    assert _value(metrics, series.MEMBERS_VERSION, "history") == 7
    assert _value(metrics, series.MEMBERS, "history", "history", "serving") == 1
    assert _value(metrics, series.MEMBERS, "history", "history", "leaving") == 1
    assert _value(metrics, series.LEASES_LOST, "history") == 1
