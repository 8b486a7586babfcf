"""Every scenario, on the reference and on Perdure: their transcripts are equal, unless the scenario says why not."""

import pytest

from tests.conformance.conftest import Comparison
from tests.conformance.harness.scenario import STOPPED, Scenario, load
from tests.conformance.harness.transcript import difference

# What leans on the store most. `make conformance ARGS="--store cassandra"` runs all of them there.
_ON_CASSANDRA = frozenset(
    {
        "attaching",
        "chains",
        "closing",
        "deleting",
        "describing",
        "external",
        "histories",
        "large_commands",
        "namespaces",
        "parent_closes",
        "resets",
        "signals",
        "timers",
        "update_interleavings",
        "visibility",
    }
)


def _label(one: Scenario) -> str:
    return f"{one.topic}-{one.name}"


@pytest.mark.parametrize("one", load().values(), ids=_label)
def test_transcripts_are_equal(one: Scenario, comparison: Comparison, chosen: list[Scenario]) -> None:
    _are_equal(one, comparison, chosen)


@pytest.mark.parametrize("one", [one for one in load().values() if one.topic in _ON_CASSANDRA], ids=_label)
def test_transcripts_are_equal_on_cassandra(
    one: Scenario, comparison_on_cassandra: Comparison, chosen: list[Scenario]
) -> None:
    _are_equal(one, comparison_on_cassandra, chosen)


def _are_equal(one: Scenario, comparison: Comparison, chosen: list[Scenario]) -> None:
    reference, other = comparison.transcripts(one, chosen)
    ending = reference.splitlines()[-1]
    assert not ending.startswith(STOPPED), f"the scenario is wrong, the reference's transcript ends so: {ending}"
    found = difference(reference, other, *comparison.names)
    if one.differs and comparison.names[1] == "perdure":
        assert found, f"this scenario is declared to differ ({one.differs}), but it doesn't"
    elif found:
        pytest.fail(f"{one.name} differs\n{found}", pytrace=False)
