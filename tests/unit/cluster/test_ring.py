"""Rings over views: states, pins, and results that no process may differ in."""

import msgspec

from perdure.cluster.members import Member, MemberState, Role, View
from perdure.cluster.ring import Rings, partition_key
from perdure.workflow.tasks import QueueKey, QueueKind


def member(host: str, state: MemberState = MemberState.SERVING, roles: str = "history matching") -> Member:
    return Member(host, dict.fromkeys(roles.split(), f"{host}:1"), state)


THREE = View(1, (member("a"), member("b"), member("c")))
# It is stored nowhere, but processes of two releases, and of any hash seed, must agree on it.
OWNERS = "aabccabbabbabcaacccbbaca"


def test_the_result_is_the_same_in_every_process() -> None:
    rings = Rings(THREE)
    assert "".join(rings.owner(Role.HISTORY, f"shard-{number}") for number in range(24)) == OWNERS


def test_partitions_have_keys_that_processes_agree_on() -> None:
    assert partition_key(QueueKey("ns", "a/b", QueueKind.WORKFLOW)) == "ns/1/a/b"
    assert partition_key(QueueKey("ns", "a/b", QueueKind.ACTIVITY)) == "ns/2/a/b"


def test_only_serving_members_with_the_role_are_in_a_ring() -> None:
    view = View(
        1,
        (
            member("a", roles="matching"),
            member("b", MemberState.JOINING),
            member("c", MemberState.LEAVING),
            member("d", roles="history"),
        ),
    )
    rings = Rings(view)
    assert rings.hosts(Role.HISTORY) == ("d",)
    assert rings.hosts(Role.MATCHING) == ("a",)
    assert rings.owner(Role.HISTORY, "x") == "d"
    assert rings.owner(Role.FRONTEND, "x") == ""


def test_a_pin_wins_while_its_host_serves() -> None:
    ring_owner = Rings(THREE).owner(Role.HISTORY, "shard-0")
    other = next(host for host in "abc" if host != ring_owner)
    pinned = THREE.with_pin("shard-0", other)
    assert Rings(pinned).owner(Role.HISTORY, "shard-0") == other
    assert Rings(pinned).owner(Role.MATCHING, "shard-0") == ring_owner
    assert Rings(pinned, without=[other]).owner(Role.HISTORY, "shard-0") == ring_owner
    leaving = pinned.with_member(member(other, MemberState.LEAVING))
    assert Rings(leaving).owner(Role.HISTORY, "shard-0") == ring_owner
    elsewhere = msgspec.structs.replace(pinned, pins={"shard-0": "nobody"})
    assert Rings(elsewhere).owner(Role.HISTORY, "shard-0") == ring_owner
