"""Names of partitions, and where the ring puts them."""

import pytest

from perdure.cluster.branches import branch_of, root_of
from perdure.cluster.members import Role
from perdure.cluster.ring import Rings, partition_key
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.cluster.views import view

QUEUE = QueueKey("ns", "orders/eu", QueueKind.ACTIVITY, "v1")


def test_a_branch_tells_its_root() -> None:
    assert branch_of(QUEUE, 0) == QUEUE
    branch = branch_of(QUEUE, 12)
    assert branch == QueueKey("ns", "/_sys/orders/eu/12", QueueKind.ACTIVITY, "v1")
    assert root_of(branch) == (QUEUE, 12)
    assert root_of(QUEUE) == (QUEUE, 0)


@pytest.mark.parametrize("name", ["/_sys/", "/_sys/q", "/_sys/q/", "/_sys/q/0", "/_sys/q/64", "/_sys//1", "/_sys/q/²"])
def test_what_is_no_branch_is_its_own_root(name: str) -> None:
    queue = QueueKey("ns", name, QueueKind.WORKFLOW)
    assert root_of(queue) == (queue, 0)


def test_the_partitions_of_a_queue_are_at_different_hosts_as_far_as_there_are_any() -> None:
    rings = Rings(view(1, "a", "b", "c", "d"))
    for number in range(50):
        queue = QueueKey("ns", f"q{number}", QueueKind.WORKFLOW)
        owners = [rings.owner(Role.MATCHING, partition_key(branch_of(queue, index))) for index in range(6)]
        assert sorted(owners[:4]) == ["a", "b", "c", "d"]
        assert owners[4:] == owners[:2]


def test_the_root_is_where_the_queue_always_was() -> None:
    rings = Rings(view(1, "a", "b", "c"))
    queue = QueueKey("ns", "q", QueueKind.WORKFLOW)
    assert partition_key(queue) == "ns/1/q"
    assert rings.owner(Role.MATCHING, "ns/1/q") == rings.owner(Role.MATCHING, partition_key(queue))


def test_one_host_has_all_of_them() -> None:
    rings = Rings(view(1, "a"))
    assert rings.owner(Role.MATCHING, partition_key(branch_of(QUEUE, 3))) == "a"
    assert Rings(view(1)).owner(Role.MATCHING, partition_key(branch_of(QUEUE, 3))) == ""


def test_most_branches_stay_where_they_are_when_a_host_joins() -> None:
    before, after = Rings(view(1, "a", "b", "c", "d")), Rings(view(2, "a", "b", "c", "d", "e"))
    keys = [
        partition_key(branch_of(QueueKey("ns", f"q{number}", QueueKind.WORKFLOW), index))
        for number in range(200)
        for index in range(4)
    ]
    moved = sum(before.owner(Role.MATCHING, key) != after.owner(Role.MATCHING, key) for key in keys)
    # Whoever stands behind the joiner on the way is one further: half of all, not nearly all, as by a number of hosts.
    assert moved < 0.65 * len(keys)
