"""The ring, for any members: who moves, and that nobody disagrees."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.cluster.members import Member, MemberState, Role, View
from perdure.cluster.ring import Rings

KEYS = [f"shard-{number}" for number in range(512)]
_hosts = st.lists(st.uuids(version=4).map(str), min_size=1, max_size=30, unique=True)


def view(hosts: list[str]) -> View:
    members = (Member(host, {"history": "h:1", "matching": "m:1"}, MemberState.SERVING) for host in hosts)
    return View(1, tuple(members))


def owners(rings: Rings, role: Role = Role.HISTORY) -> dict[str, str]:
    return {key: rings.owner(role, key) for key in KEYS}


@settings(deadline=None, max_examples=40)
@given(_hosts, st.uuids(version=4).map(str))
def test_who_joins_takes_its_share_and_only_for_itself(hosts: list[str], joiner: str) -> None:
    before, after = owners(Rings(view(hosts))), owners(Rings(view([*hosts, joiner])))
    moved = [key for key in KEYS if before[key] != after[key]]
    assert all(after[key] == joiner for key in moved)
    share = len(KEYS) / (len(hosts) + 1)
    # With 128 points a host's share is within a third of the mean; the rest is for small numbers of keys.
    assert 0.4 * share - 8 <= len(moved) <= 1.6 * share + 12


@settings(deadline=None, max_examples=40)
@given(_hosts, st.data())
def test_of_a_leaver_only_what_it_had_moves(hosts: list[str], data: st.DataObject) -> None:
    leaver = data.draw(st.sampled_from(hosts))
    before, after = owners(Rings(view(hosts))), owners(Rings(view(hosts), without=[leaver]))
    for key in KEYS:
        if before[key] == leaver:
            assert after[key] != leaver
            assert after[key] in hosts or len(hosts) == 1
        else:
            assert after[key] == before[key]
    gone = view([host for host in hosts if host != leaver])
    assert owners(Rings(gone)) == after


@settings(deadline=None, max_examples=20)
@given(_hosts, st.randoms(use_true_random=False))
def test_the_order_of_members_means_nothing(hosts: list[str], chance: random.Random) -> None:
    shuffled = list(hosts)
    chance.shuffle(shuffled)
    assert owners(Rings(view(hosts)), Role.MATCHING) == owners(Rings(view(shuffled)), Role.MATCHING)
