"""Who owns what in a cluster: the rings of the newest view, and what owners said of late.

Invariants: a call is sent to another host only if the one before certainly did nothing, and to each host once, at most
`HOPS_MAX` times; nothing here waits, but for a read of the members and of the map. What an owner says counts for
`OVERRIDE_NS`, for views take a while to be everybody's. Wrong knowledge costs a refused call, never a wrong commit.
Refuses to know what a call does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import HostUnreachable, NotFound, PartitionElsewhere, ShardElsewhere, Unavailable
from perdure.cluster.members import Role, View
from perdure.cluster.membership import Watched
from perdure.cluster.ring import Rings, partition_key
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.cluster.routed import RoutedHistory, RoutedMatching
from perdure.cluster.shard_host import ShardHost
from perdure.cluster.shard_map import ShardMapCache
from perdure.workflow.tasks import QueueKey

T = TypeVar("T")

HOPS_MAX = 4
OVERRIDE_NS = 3 * SECOND_NS
_OVERRIDES_MAX = 10_000
# What a role says when it did nothing. Of another role's things it says so only on behalf of a third host.
_ELSEWHERE: dict[Role, type[ShardElsewhere] | type[PartitionElsewhere]] = {
    Role.HISTORY: ShardElsewhere,
    Role.MATCHING: PartitionElsewhere,
}


def _unheard(moved: Callable[[QueueKey], bool]) -> None:
    """Nobody wants to know."""


class Connections(Protocol):
    """The roles of other hosts, by address."""

    def history(self, address: str) -> HistoryRole:
        """The history role there."""
        ...

    def matching(self, address: str) -> MatchingRole:
        """The matching role there."""
        ...

    def shard_host(self, address: str) -> ShardHost:
        """The owner of shards there."""
        ...


class RingDirectory:
    """`perdure.cluster.roles.Directory` over the members. `local_*` are set by whoever composes the process, once they
    exist, for the roles that it has; `on_moved` too, where there are shards.
    """

    def __init__(self, membership: Watched, shards: ShardMapCache, connections: Connections, clock: Clock) -> None:
        self._membership = membership
        self._shards = shards
        self._connections = connections
        self._clock = clock
        self.local_history: HistoryRole | None = None
        self.local_matching: MatchingRole | None = None
        self.local_shard_host: ShardHost | None = None
        self._routed_history = RoutedHistory(self)
        self._routed_matching: dict[str, RoutedMatching] = {}
        self._histories: dict[str, HistoryRole] = {}
        self._matchings: dict[str, MatchingRole] = {}
        self._overrides: dict[tuple[Role, str], tuple[str, int]] = {}
        self._rings = Rings(membership.view, membership.suspects)
        # Called with a test for the partitions that have another owner than before.
        self.on_moved: Callable[[Callable[[QueueKey], bool]], None] = _unheard
        membership.subscribe(self._changed)

    # ------------------------------------------------------------------------------------------- the Directory

    def history(self, slot: int) -> HistoryRole:
        """Whoever has the slot's shard: a role that finds its owner at each call, and follows it."""
        return self._routed_history

    def history_of_shard(self, shard: str) -> HistoryRole:
        """Whoever has the shard: as `history`."""
        return self._routed_history

    def matching(self, partition: QueueKey) -> MatchingRole:
        """The role of the host that has the partition, the same object for the same host; it follows a partition that
        has moved. Raises PartitionElsewhere while no host serves the role.
        """
        host = self._owner(Role.MATCHING, partition_key(partition))
        if not host:
            raise self._nobody(Role.MATCHING)
        routed = self._routed_matching.get(host)
        if routed is None:
            routed = self._routed_matching[host] = RoutedMatching(self, host)
        return routed

    def lasts(self, role: object) -> bool:
        """Whether `history` or `matching` may return this role again: that of a member, or of whoever is the owner."""
        return role is self._routed_history or any(role is known for known in self._routed_matching.values())

    def shard_host(self, host: str) -> ShardHost:
        """The owner of shards at a member. Raises HostUnreachable if it is no member with that role."""
        if host == self._membership.host and self.local_shard_host is not None:
            return self.local_shard_host
        return self._connections.shard_host(self._address(Role.HISTORY, host))

    # -------------------------------------------------------------------------------------------------- for calls

    async def on_shard(self, shard: Callable[[], str], act: Callable[[HistoryRole], Awaitable[T]]) -> T:
        """`act` on the owner of a shard, which is looked up anew at each hop. Raises ShardElsewhere, HostUnreachable:
        nothing was done.
        """
        return await self._follow(Role.HISTORY, shard, lambda host: act(self._history_at(host)), "")

    async def on_slot(self, slot: int, act: Callable[[HistoryRole], Awaitable[T]]) -> T:
        """`act` on the owner of the slot's shard. Raises as `on_shard`."""
        return await self.on_shard(lambda: self._shards.shard_of(slot), act)

    async def on_shard_id(self, shard: str, act: Callable[[HistoryRole], Awaitable[T]]) -> T:
        """`act` on the owner of a shard. Raises as `on_shard`, and NotFound if there is no such shard any more."""
        try:
            return await self.on_shard(lambda: shard, act)
        except (ShardElsewhere, HostUnreachable):
            if self._shards.version >= 0 and not self._shards.names(shard):
                raise NotFound(f"There is no shard {shard}.") from None
            raise

    async def on_partition(
        self, partition: QueueKey, act: Callable[[MatchingRole], Awaitable[T]], first: str = ""
    ) -> T:
        """`act` on the owner of a partition, `first` at this host. Raises PartitionElsewhere, HostUnreachable: nothing
        was done.
        """
        key = partition_key(partition)
        return await self._follow(Role.MATCHING, lambda: key, lambda host: act(self.matching_at(host)), first)

    def matching_at(self, host: str) -> MatchingRole:
        """The matching role of a member. Raises HostUnreachable if it is no member with that role."""
        if host == self._membership.host and self.local_matching is not None:
            return self.local_matching
        role = self._matchings.get(host)
        if role is None:
            role = self._matchings[host] = self._connections.matching(self._address(Role.MATCHING, host))
        return role

    def suspect_address(self, address: str) -> None:
        """A connection to this address failed."""
        for member in self._membership.view.members:
            if address in member.addresses.values():
                self._membership.suspect(member.host)

    # ------------------------------------------------------------------------------------------------------ inside

    def _history_at(self, host: str) -> HistoryRole:
        if host == self._membership.host and self.local_history is not None:
            return self.local_history
        role = self._histories.get(host)
        if role is None:
            role = self._histories[host] = self._connections.history(self._address(Role.HISTORY, host))
        return role

    async def _follow(self, role: Role, key_of: Callable[[], str], act: Callable[[str], Awaitable[T]], first: str) -> T:
        tried: list[str] = []
        host = first or self._owner(role, key_of())
        error: Unavailable = self._nobody(role)
        while True:
            hint, version = "", 0
            if host:
                tried.append(host)
                try:
                    return await act(host)
                except _ELSEWHERE[role] as elsewhere:
                    error, hint, version = elsewhere, elsewhere.host, elsewhere.view
                except HostUnreachable as unreachable:
                    if host == self._membership.host:
                        # A third host, which this one's own role asked: what else it did nobody knows.
                        raise Unavailable(unreachable.message) from unreachable
                    error = unreachable
                    self._membership.suspect(host)
            if len(tried) >= HOPS_MAX:
                raise error
            host = await self._next(role, key_of, (hint, version), tried)
            if not host:
                raise error

    async def _next(self, role: Role, key_of: Callable[[], str], said: tuple[str, int], tried: list[str]) -> str:
        """Where to go on, "" if that is nowhere yet. `said`: the hint of whom was asked, and its view's version."""
        hint, version = said
        if version > self._membership.view.version:
            await self._membership.refresh(version)
        key = key_of()
        self._overrides.pop((role, key), None)
        if hint and self._membership.view.address(hint, role):
            self._override(role, key, hint)
            if hint not in tried:
                return hint
            if hint == tried[-1]:
                if role is Role.HISTORY:
                    await self._shards.refresh()
                if key_of() == key:
                    return ""  # it is going to have it
        news = [self._membership.refresh()]
        if role is Role.HISTORY:
            await asyncio.gather(self._shards.refresh(), *news)
        else:
            await news[0]
        owner = self._owner(role, key_of())
        return owner if owner not in tried else ""

    def _override(self, role: Role, key: str, host: str) -> None:
        if len(self._overrides) >= _OVERRIDES_MAX:
            self._overrides.clear()
        self._overrides[role, key] = host, self._clock.monotonic_ns() + OVERRIDE_NS

    def _owner(self, role: Role, key: str) -> str:
        """The host to ask for the key, "" if there is none."""
        if not key:
            return ""
        said = self._overrides.get((role, key))
        if said is not None:
            host, until_ns = said
            if self._clock.monotonic_ns() < until_ns:
                return host
            del self._overrides[role, key]
        return self._rings.owner(role, key)

    def _changed(self, view: View) -> None:
        before = self._rings
        now = self._rings = Rings(view, self._membership.suspects)
        there = {member.host for member in view.members}
        for known in (self._histories, self._matchings, self._routed_matching):
            for host in [host for host in known if host not in there]:
                del known[host]
        self._overrides = {at: said for at, said in self._overrides.items() if said[0] in there}
        if now.hosts(Role.MATCHING) != before.hosts(Role.MATCHING):

            def moved(partition: QueueKey) -> bool:
                key = partition_key(partition)
                return before.owner(Role.MATCHING, key) != now.owner(Role.MATCHING, key)

            self.on_moved(moved)

    def _address(self, role: Role, host: str) -> str:
        address = self._membership.view.address(host, role)
        if not address:
            raise HostUnreachable(f"Host {host} is no {role} host of this cluster any more.", host)
        return address

    def _nobody(self, role: Role) -> Unavailable:
        version = self._membership.view.version
        if role is Role.HISTORY:
            return ShardElsewhere("No history host is known that has the shard.", "", version)
        return PartitionElsewhere("No matching host is known that has the task queue.", "", version)
