"""What an operator did to activities excuses their attempts from their schedule, and nothing else."""

import pytest

from perdure.testing.checkers import check
from perdure.testing.checkers.evidence import AttemptSeen, Evidence
from perdure.testing.oplog import Kind, Outcome
from tests.unit.testing.story import RUN, operation, story


def reset_story(workflow_id: str, outcome: Outcome) -> Evidence:
    """The second attempt of the story is followed by a first one, as after a reset."""
    evidence = story()
    evidence.attempts.append(AttemptSeen(RUN, 5, 1, 1))
    operated = operation(40, Kind.OPERATE, 4.6, 4.7, run_id="", workflow_id=workflow_id, outcome=outcome)
    evidence.ops = [*evidence.ops, operated]
    return evidence


@pytest.mark.parametrize(
    ("workflow_id", "outcome", "rules"),
    [
        ("wf", Outcome.OK, set()),
        ("wf", Outcome.UNKNOWN, set()),
        ("wf", Outcome.FAIL, {23}),
        ("other", Outcome.OK, {23}),
    ],
)
def test_only_what_may_have_been_reset_may_begin_again(workflow_id: str, outcome: Outcome, rules: set[int]) -> None:
    assert {violation.rule for violation in check(reset_story(workflow_id, outcome))} == rules


def test_one_delivery_per_attempt_and_stamp_holds_all_the_same() -> None:
    evidence = reset_story("wf", Outcome.OK)
    delivered = next(op for op in evidence.ops if op.n == 20)
    again = operation(41, Kind.POLL_ACTIVITY, 4.6, 4.7, party="another", reply=delivered.reply)
    evidence.ops = [*evidence.ops, again]
    assert any(violation.rule == 23 and "went to" in violation.what for violation in check(evidence))
