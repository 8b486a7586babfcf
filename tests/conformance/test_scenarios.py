"""Every scenario, on the reference and on Perdure: their transcripts are equal, unless the scenario says why not."""

import pytest

from tests.conformance.conftest import Comparison
from tests.conformance.harness.scenario import STOPPED, Scenario, load
from tests.conformance.harness.transcript import difference


@pytest.mark.parametrize("one", load().values(), ids=lambda one: f"{one.topic}-{one.name}")
def test_transcripts_are_equal(one: Scenario, comparison: Comparison, chosen: list[Scenario]) -> None:
    reference, other = comparison.transcripts(one, chosen)
    ending = reference.splitlines()[-1]
    assert not ending.startswith(STOPPED), f"the scenario is wrong, the reference's transcript ends so: {ending}"
    found = difference(reference, other, *comparison.names)
    if one.differs and comparison.names[1] == "perdure":
        assert found, f"this scenario is declared to differ ({one.differs}), but it doesn't"
    elif found:
        pytest.fail(f"{one.name} differs\n{found}", pytrace=False)
