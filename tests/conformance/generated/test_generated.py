"""Some generated cases, the same each time; `make conformance N=2000 SEED=7` runs more, and shrinks what differs."""

from tests.conformance.conftest import Comparison
from tests.conformance.generated.comparing import STABLE
from tests.conformance.generated.plan import written

CASES = 40
SEED = 5


def test_generated_cases_do_not_differ(comparison: Comparison) -> None:
    verdicts = comparison.generated(CASES, SEED)
    assert len(verdicts) == CASES
    differing = [f"--plan '{written(one.plan)}'\n{one.difference}" for one in verdicts if one.difference]
    assert not differing, "\n\n".join(differing)
    # Cases that stop, or say something else each time, compare nothing: they are few.
    assert sum(1 for one in verdicts if one.stopped or one.unstable) <= CASES * (1 - STABLE)
