"""One process of a cluster, whichever roles it has: its lease and place among the members, its roles, and how it finds
those of others.

The order of a start is: a place among the members, not serving yet; what is stored is made, if this is the first; then
it serves, and takes what the ring gives it. Of a stop: it serves no more by the ring, others take what it has while it
still answers, and at last its place, what nobody took, and its lease go. Invariant: whoever is in the rings answers
calls.

The simulator builds the same with a virtual clock and a network of its own.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol

from perdure.cluster.lease import Lease
from perdure.cluster.measured import history_for_others, matching_for_others
from perdure.cluster.members import Member, Role, View
from perdure.cluster.membership import Membership, MembershipOptions
from perdure.cluster.membership_meter import MembershipMeter
from perdure.cluster.ring import Rings
from perdure.cluster.ring_directory import Connections, RingDirectory
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost
from perdure.cluster.shard_map import ShardMapCache
from perdure.matching.service import MatchingService
from perdure.server.cluster import Ground, HistoryPart, matching_service
from perdure.server.operations import ClusterOperations
from perdure.shards.leased import lease_options
from perdure.workflow.tasks import QueueKey


class ClosableConnections(Connections, Protocol):
    """Connections to other hosts."""

    async def close(self) -> None:
        """Close them all."""
        ...


class Host:
    """`roles`: which it has. `history`, `matching`: None where it hasn't. `directory`: for its frontend, if it is one.
    `for_others_*`: what its listeners serve.
    """

    def __init__(
        self,
        ground: Ground,
        roles: Collection[Role],
        connections: ClosableConnections,
        membership_options: MembershipOptions | None = None,
    ) -> None:
        store, clock, entropy = ground.store, ground.clock, ground.entropy
        self._ground = ground
        self._roles = frozenset(roles)
        self._connections = connections
        self._map = ShardMapCache(store.shards, clock, entropy)
        self._is_member = False
        # The parts refer to one another: the directory is made once there is a lease, and gets the roles at last.
        seen = _Later()
        self.history: HistoryPart | None = None
        self.matching: MatchingService | None = None
        if Role.HISTORY in self._roles:
            self.history = HistoryPart(ground, ground.seen_by("history", seen, _elsewhere, seen.lasts))
        shards = self.history.shards if self.history is not None else None
        lease = shards.lease if shards is not None else None
        self._own_lease = lease is None
        self.lease = lease or Lease(store.leases, clock, entropy, lease_options(ground.options.shards))
        self.membership = Membership(store.documents, store.leases, self.lease, clock, entropy, membership_options)
        self.rings = seen.directory = RingDirectory(self.membership, self._map, connections, clock)
        self.directory = ground.seen_by("frontend", self.rings, _elsewhere, seen.lasts)
        if Role.MATCHING in self._roles:
            seen_by_matching = ground.seen_by("matching", self.rings, _elsewhere, seen.lasts)
            self.matching = matching_service(ground, seen_by_matching)
            self.matching.follow(self.membership)
        self._meet()

    def _meet(self) -> None:
        ground, rings = self._ground, self.rings
        self.history_for_others: HistoryRole | None = self.history.service if self.history is not None else None
        self.matching_for_others: MatchingRole | None = self.matching
        if ground.metrics is not None:
            names = ground.namespaces.name_of
            if self.history_for_others is not None:
                self.history_for_others = history_for_others(
                    self.history_for_others, ground.metrics, ground.clock, names
                )
            if self.matching_for_others is not None:
                self.matching_for_others = matching_for_others(
                    self.matching_for_others, ground.metrics, ground.clock, names
                )
            self.lease.add_holder(_Losses(MembershipMeter(ground.metrics, self.membership)))
        rings.local_history, rings.local_matching = self.history_for_others, self.matching_for_others
        if self.history is not None:
            shards = self.history.shards
            rings.local_shard_host = shards
            rings.on_moved = shards.reoffer
            shards.neighbours = RingNeighbours(self.membership, rings, self._map)
            self.membership.subscribe(self._assign)
            self._map.on_change = self._assign_newest

    @property
    def operations(self) -> ClusterOperations:
        """What its frontend shows operators, and does for them."""
        return ClusterOperations(self.membership, self.rings, self._map)

    @property
    def shard_host(self) -> ShardHost:
        """What its history listener serves besides the role."""
        assert self.history is not None
        return self.history.shards

    async def join(self, member: Member) -> None:
        """Have a place among the members, and what is stored. Raises StoreUnavailable, Unavailable: ask again."""
        if not self._is_member:
            await self.membership.join(member)
            self._is_member = True
            await self._map.start()
        if self.history is not None:
            # Nothing is its own before it serves; what the store lacks is made now.
            self.history.shards.assign(frozenset(), self.membership.view.version)
            await self.history.shards.start()
            await self._map.refresh(anew=True)
            self._assign_newest()

    async def serve(self) -> None:
        """Be in the rings, and take from now on what they give."""
        await self.membership.serving()

    def is_settled(self) -> bool:
        """Whether all of its roles are ready."""
        return all(map(self.is_ready, self._roles))

    def is_ready(self, role: Role) -> bool:
        """Whether calls of this role have where to go. A frontend's go to the other roles, so it needs some of each; a
        history's to its shards; what those want from matching, and matching from them, waits for them to come.
        """
        if role is Role.MATCHING:
            return True
        if role is Role.HISTORY:
            assert self.history is not None
            wanted = self._wanted(self.membership.view)
            return wanted is not None and wanted <= {shard.shard_id for shard in self.history.shards.owned()}
        rings = Rings(self.membership.view)
        return self._map.map is not None and bool(rings.hosts(Role.HISTORY)) and bool(rings.hosts(Role.MATCHING))

    def has_shards(self) -> bool:
        """Whether its history role has a shard, or should have none."""
        return self.history is None or bool(self.history.shards.owned()) or not self._wanted(self.membership.view)

    async def leave(self) -> None:
        """Be in the rings no more, and give others the time to take what is here while it still answers. To be told is
        a part of that time: a store that is away isn't waited for twice.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._ground.options.shards.leave_s
        await self.membership.leaving()
        if self.history is not None:
            await self.history.shards.leave(max(0.0, end_s - loop.time()))

    async def stop(self) -> None:
        """End everything, started or not: what nobody took is released. In bounded time."""
        # Its place goes before its last shards: those end with the lease, which members have; and who stops without
        # having left must not be in the rings meanwhile.
        await self._map.stop()
        if self.matching is not None:
            await self.matching.close()
        if self._is_member:
            await self.membership.leave()
        if self.history is not None:
            await self.history.stop()
        if self._own_lease:
            await self.lease.end()
        await self._connections.close()

    def _assign_newest(self) -> None:
        self._assign(self.membership.view)

    def _assign(self, view: View) -> None:
        """Tell the shards whose they are, by the members' document alone: a host that can't be reached just now may
        still have what is its own.
        """
        shards, wanted = self._map.map, self._wanted(view)
        if self.history is None or shards is None or wanted is None:
            return
        rings = Rings(view)
        self.history.shards.assign(wanted, view.version, shards, lambda shard: rings.owner(Role.HISTORY, shard))

    def _wanted(self, view: View) -> frozenset[str] | None:
        shards, host = self._map.map, self.membership.host
        if shards is None:
            return None
        rings = Rings(view)
        return frozenset(shard for _, shard in shards.shards if host and rings.owner(Role.HISTORY, shard) == host)


class RingNeighbours:
    """`perdure.shards.neighbours.Neighbours` by the members."""

    def __init__(self, membership: Membership, rings: RingDirectory, shards: ShardMapCache) -> None:
        self._membership = membership
        self._rings = rings
        self._shards = shards

    def is_member(self, host: str) -> bool:
        """See `Neighbours.is_member`."""
        return bool(self._membership.view.address(host, Role.HISTORY)) and host not in self._membership.suspects

    async def ask(self, host: str, shard: str, epoch: int, view: int) -> None:
        """See `Neighbours.ask`."""
        await self._rings.shard_host(host).let_go(host, shard, epoch, view)

    async def refresh(self, view: int) -> None:
        """See `Neighbours.refresh`."""
        await asyncio.gather(self._membership.refresh(view), self._shards.refresh(anew=True))


class _Losses:
    """`perdure.cluster.lease.Holder` that counts."""

    def __init__(self, meter: MembershipMeter) -> None:
        self._meter = meter

    def revoked(self, epochs: Mapping[str, int]) -> None:
        """A shard is not the lease."""

    def evicted(self) -> None:
        self._meter.lease_lost()


class _Later:
    """A directory that is known once all is made."""

    def __init__(self) -> None:
        self.directory: RingDirectory | None = None

    def history(self, slot: int) -> HistoryRole:
        assert self.directory is not None
        return self.directory.history(slot)

    def history_of_shard(self, shard: str) -> HistoryRole:
        assert self.directory is not None
        return self.directory.history_of_shard(shard)

    def matching(self, partition: QueueKey) -> MatchingRole:
        assert self.directory is not None
        return self.directory.matching(partition)

    def lasts(self, role: object) -> bool:
        assert self.directory is not None
        return self.directory.lasts(role)


def _elsewhere(role: object) -> bool:
    """Calls are counted where they arrive, be it here: `history_for_others` and `matching_for_others`."""
    return False
