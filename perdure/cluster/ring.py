"""Who should have what: a hash ring for each role, over the members that serve.

Invariants: every process that has the same view gives the same answer; who joins takes only its share, and only for
itself; what a leaver had, and nothing else, goes to those who stay. A pin wins while its host serves. A queue's
branches are at the hosts that follow its root's. Pure; refuses to know who is alive, and who has a thing now.
"""

from collections.abc import Iterable
from functools import lru_cache

import xxhash
from uhashring import HashRing

from perdure.cluster.branches import root_of
from perdure.cluster.members import Role, View
from perdure.workflow.tasks import QueueKey

POINTS = 128
# Rings of the views of late, however many of those there are: pins, and hosts that join or leave, change a view often.
_RINGS_KEPT = 16
# Stands between the key of a queue and which of its branches is meant.
_BRANCH = "\0"


def partition_key(partition: QueueKey) -> str:
    """The key of a task-queue partition. All hosts have to agree on it."""
    root, index = root_of(partition)
    key = f"{root.namespace_id}/{int(root.kind)}/{root.name}"
    return f"{key}{_BRANCH}{index}" if index else key


class Rings:
    """The rings of one view. `without`: hosts that are left out, as if they didn't serve."""

    __slots__ = ("_hosts", "_pins", "_rings")

    def __init__(self, view: View, without: Iterable[str] = ()) -> None:
        left_out = frozenset(without)
        self._hosts = {
            role: tuple(sorted(host for host in view.serving(role) if host not in left_out)) for role in Role
        }
        self._rings: dict[Role, HashRing] = {}
        serving = set(self._hosts[Role.HISTORY])
        self._pins = {shard: host for shard, host in view.pins.items() if host in serving}

    def hosts(self, role: Role) -> tuple[str, ...]:
        """Who serves the role, by id."""
        return self._hosts[role]

    def owner(self, role: Role, key: str) -> str:
        """The host that should have the key; "" if nobody serves the role. A history role's keys are shard ids."""
        if role is Role.HISTORY and (pinned := self._pins.get(key)) is not None:
            return pinned
        hosts = self._hosts[role]
        if len(hosts) < 2:
            return hosts[0] if hosts else ""
        ring = self._rings.get(role)
        if ring is None:
            ring = self._rings[role] = _ring(hosts)
        root, branch, index = key.rpartition(_BRANCH)
        if branch and index.isdigit():
            return _further(ring, root, int(index) % len(hosts))
        owner: str = ring.get_node(key)
        return owner


def _further(ring: HashRing, key: str, index: int) -> str:
    """The host that is `index` hosts beyond the owner, so that the partitions of a queue are at different hosts."""
    *_, last = ring.range(key, size=index + 1)
    owner: str = last["nodename"]
    return owner


@lru_cache(maxsize=_RINGS_KEPT)
def _ring(hosts: tuple[str, ...]) -> HashRing:
    # Made anew, in the order of ids: where two points meet, the last one wins.
    return HashRing(list(hosts), vnodes=POINTS, hash_fn=_point)


def _point(text: str) -> int:
    return xxhash.xxh64_intdigest(text.encode())
