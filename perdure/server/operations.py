"""`perdure.cluster.operations.Operations` for a process that has its store for itself, and for one of many hosts."""

import asyncio
import socket
from collections.abc import Mapping
from importlib.metadata import version

from perdure.base.errors import FailedPrecondition, HostUnreachable, PerdureError
from perdure.cluster.members import Member, MemberState, Role, View
from perdure.cluster.membership import Membership, SoleMembership
from perdure.cluster.ring import Rings, partition_key
from perdure.cluster.ring_directory import RingDirectory
from perdure.cluster.shard_host import ShardHost
from perdure.cluster.shard_map import ShardMapCache
from perdure.store.contract import ShardMap, ShardStore
from perdure.workflow.tasks import QueueKey


class SoleOperations:
    """Of one process. `address`: of its frontend."""

    suspects: frozenset[str] = frozenset()

    def __init__(self, shards: ShardHost, store: ShardStore, address: str, started_ns: int) -> None:
        self.host = SoleMembership.host
        self.shard_map: ShardMap | None = None
        self._shards = shards
        self._store = store
        member = Member(
            self.host,
            {str(role): address if role is Role.FRONTEND else "" for role in Role},
            MemberState.SERVING,
            socket.gethostname(),
            version("perdure"),
            started_ns=started_ns,
        )
        self.view = View(0, (member,))

    async def refresh(self) -> None:
        try:
            self.shard_map = await self._store.read_map()
        except PerdureError:
            return  # as it was

    def shard_host(self, host: str) -> ShardHost:
        if host != self.host:
            raise HostUnreachable(f"There is no host {host}.", host)
        return self._shards

    def owner_of_shard(self, shard: str) -> str:
        return self.host

    def owner_of_queue(self, partition: QueueKey) -> str:
        return self.host

    async def pin(self, pins: Mapping[str, str]) -> View:
        raise FailedPrecondition("This is a cluster of one process: there is no other host for a shard.")


class ClusterOperations:
    """Of one host of many."""

    def __init__(self, membership: Membership, rings: RingDirectory, shards: ShardMapCache) -> None:
        self._membership = membership
        self._directory = rings
        self._shards = shards

    @property
    def host(self) -> str:
        return self._membership.host

    @property
    def view(self) -> View:
        return self._membership.view

    @property
    def suspects(self) -> frozenset[str]:
        return self._membership.suspects

    @property
    def shard_map(self) -> ShardMap | None:
        return self._shards.map

    async def refresh(self) -> None:
        # What an operator has just done has to be seen.
        await asyncio.gather(self._membership.refresh(), self._shards.refresh(anew=True))

    def shard_host(self, host: str) -> ShardHost:
        return self._directory.shard_host(host)

    def owner_of_shard(self, shard: str) -> str:
        return Rings(self.view).owner(Role.HISTORY, shard)

    def owner_of_queue(self, partition: QueueKey) -> str:
        return Rings(self.view, self.suspects).owner(Role.MATCHING, partition_key(partition))

    async def pin(self, pins: Mapping[str, str]) -> View:
        def pinned(view: View) -> View:
            for shard, host in pins.items():
                view = view.with_pin(shard, host)
            return view

        return await self._membership.change(pinned)
