"""Who should have what: a hash ring for each role, over the members that serve.

Invariants: every process that has the same view gives the same answer; who joins takes only its share, and only for
itself; what a leaver had, and nothing else, goes to those who stay. A pin wins while its host serves. Pure; refuses
to know who is alive, and who has a thing now.
"""

from collections.abc import Iterable
from functools import lru_cache

import xxhash
from uhashring import HashRing

from perdure.cluster.members import Role, View
from perdure.workflow.tasks import QueueKey

POINTS = 128
# Rings of the views of late, however many of those there are: pins, and hosts that join or leave, change a view often.
_RINGS_KEPT = 16


def partition_key(partition: QueueKey) -> str:
    """The key of a task-queue partition. All hosts have to agree on it."""
    return f"{partition.namespace_id}/{int(partition.kind)}/{partition.name}"


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
        owner: str = ring.get_node(key)
        return owner


@lru_cache(maxsize=_RINGS_KEPT)
def _ring(hosts: tuple[str, ...]) -> HashRing:
    # Made anew, in the order of ids: where two points meet, the last one wins.
    return HashRing(list(hosts), vnodes=POINTS, hash_fn=_point)


def _point(text: str) -> int:
    return xxhash.xxh64_intdigest(text.encode())
