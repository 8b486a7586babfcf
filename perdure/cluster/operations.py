"""What operators see of a cluster and ask of it, whatever it is made of: one process, or many hosts.

Between a frontend and whoever puts it together. Refuses to know how an operator asks.
"""

from collections.abc import Mapping
from typing import Protocol

from perdure.cluster.members import View
from perdure.cluster.shard_host import ShardHost
from perdure.store.contract import ShardMap
from perdure.workflow.tasks import QueueKey


class Operations(Protocol):
    """A cluster as one of its processes knows it."""

    @property
    def host(self) -> str:
        """The id of this process among the members; "" while it has none."""
        ...

    @property
    def view(self) -> View:
        """The members, as of the last time that they were read."""
        ...

    @property
    def suspects(self) -> frozenset[str]:
        """The hosts that this process can't reach just now."""
        ...

    async def refresh(self) -> None:
        """Read the members and the map of shards again. Doesn't raise: without an answer they are as they were."""
        ...

    @property
    def shard_map(self) -> ShardMap | None:
        """The map of shards, as of the last time that it was read; None while none is known."""
        ...

    def shard_host(self, host: str) -> ShardHost:
        """The owner of shards at a member. Raises HostUnreachable if it is no member with that role."""
        ...

    def owner_of_shard(self, shard: str) -> str:
        """The host that should have a shard, by ring or pin; "" if there is none."""
        ...

    def owner_of_queue(self, partition: QueueKey) -> str:
        """The host that should have a task-queue partition; "" if there is none."""
        ...

    async def pin(self, pins: Mapping[str, str]) -> View:
        """Move shards to hosts, or, with "", let each go where the ring gives it; the members then. Raises Unavailable,
        and FailedPrecondition where there is one host, or too many pins.
        """
        ...
