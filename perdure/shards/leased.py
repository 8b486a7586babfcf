"""The tenure of a process on a shared store: its own lease, and what it takes from others' leases.

Invariant: as of `perdure.cluster.lease` and `perdure.shards.evicting`, which do everything.
"""

import asyncio

import structlog

from perdure.base.tasks import Background
from perdure.cluster.lease import Lease, LeaseOptions
from perdure.shards.evicting import Evictions
from perdure.shards.options import ShardOptions, World

log = structlog.get_logger(__name__)


class Leased:
    """`perdure.shards.tenure.Tenure` over a store that other processes have open too."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._lease = lease
        self._background = Background(_failed)
        self._evictions = Evictions(world, self._background)
        self.is_valid = lease.is_valid
        self.is_revoked = lease.is_revoked
        self.hurry = lease.hurry
        self.begin = lease.begin

    @property
    def host(self) -> str:
        """See `Tenure.host`."""
        return self._lease.host

    def outlive(self, host: str, shard: str, epoch: int) -> "asyncio.Future[None]":
        """See `Tenure.outlive`."""
        return self._evictions.outlive(host, shard, epoch)

    async def end(self) -> None:
        """See `Tenure.end`."""
        await self._background.close()
        await self._lease.end()


def lease_options(options: ShardOptions) -> LeaseOptions:
    """How the lease behaves under which shards are owned."""
    return LeaseOptions(
        lease_s=options.lease_s,
        renewal_s=options.lease_renewal_s,
        retry_first_s=options.retry_first_s,
        retry_max_s=options.retry_max_s,
    )


def _failed(error: BaseException) -> None:
    log.error("waiting for another host failed", exc_info=error)
