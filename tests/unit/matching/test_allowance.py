"""As many polls as frontends let through may wait at matching, and not many more."""

import pytest

from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits
from perdure.cluster.members import Member, MemberState, Role, View
from perdure.matching.allowance import Allowance
from perdure.workflow.tasks import QueueKey, QueueKind

WORK, ACTIVITY = (QueueKey("namespace", "queue", kind) for kind in (QueueKind.WORKFLOW, QueueKind.ACTIVITY))
FRONTENDS = tuple(Member(f"f{number}", {Role.FRONTEND: "x"}, MemberState.SERVING) for number in range(3))
MATCHING = Member("m", {Role.MATCHING: "x"}, MemberState.SERVING)


def taken(allowance: Allowance, partition: QueueKey) -> int:
    """How many polls may wait there until one is refused."""
    for count in range(10_000):
        try:
            allowance.enter(partition)
        except ResourceExhausted:
            return count
    raise AssertionError("there is no end to it")


@pytest.mark.parametrize(
    ("limits", "members", "most"),
    [
        (Limits(waiting_polls_max=8), None, 8),  # the frontend is in this process
        (Limits(waiting_polls_max=8), (MATCHING,), 10),
        (Limits(waiting_polls_max=8), (MATCHING, *FRONTENDS), 30),
        (Limits(waiting_polls_max=8, global_waiting_polls_max=16), (MATCHING, *FRONTENDS), 20),
        (Limits(waiting_polls_max=8, global_waiting_polls_max=16), None, 16),
    ],
)
def test_it_is_what_all_frontends_let_through_and_a_little_for_those_that_just_ended(
    limits: Limits, members: tuple[Member, ...] | None, most: int
) -> None:
    allowance = Allowance(limits, lambda namespace_id: namespace_id)
    if members is not None:
        allowance.see(View(1, members))
    assert taken(allowance, WORK) == most
    assert taken(allowance, ACTIVITY) == most
    allowance.leave(WORK)
    assert taken(allowance, WORK) == 1
