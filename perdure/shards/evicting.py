"""Taking shards from other hosts: their leases are revoked, and outlived where nobody confirms.

Invariant (L11, M3): a host has nothing more to answer for a shard when it has confirmed the revocation, or its row is
gone, or a lease's time and a tenth more has passed here since the revocation was durable, during which the store could
be read: while it can't, nobody can renew. No two hosts' clocks are compared. One task per host, however many shards.
"""

import asyncio
from functools import partial

import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Unavailable
from perdure.base.tasks import Background
from perdure.shards.options import World
from perdure.shards.retrying import delay_s, once
from perdure.store.contract import LeaseRow

log = structlog.get_logger(__name__)

# Two clocks that run for a lease's time differ by less.
_MARGIN = 1.1


class _Entry:
    """A shard that is taken from a host. `waited_ns`: since the revocation was seen to stand; None before."""

    __slots__ = ("over", "waited_ns")

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waited_ns: int | None = None


_Revocation = tuple[str, int]


class Evictions:
    """All that this process takes from others. `background` runs what has to be waited for."""

    def __init__(self, world: World, background: Background) -> None:
        self._world = world
        self._leases = world.store.leases
        self._background = background
        self._hosts: dict[str, dict[_Revocation, _Entry]] = {}

    def outlive(self, host: str, shard: str, epoch: int) -> "asyncio.Future[None]":
        """See `perdure.shards.tenure.Tenure.outlive`."""
        entries = self._hosts.get(host)
        if entries is None:
            entries = self._hosts[host] = {}
            self._background.spawn(self._evict(host, entries), "eviction")
        return entries.setdefault((shard, epoch), _Entry()).over

    async def _evict(self, host: str, entries: dict[_Revocation, _Entry]) -> None:
        try:
            await self._evict_all(host, entries)
        finally:
            del self._hosts[host]
            for entry in entries.values():
                entry.over.cancel()

    async def _evict_all(self, host: str, entries: dict[_Revocation, _Entry]) -> None:
        looked_ns, attempt = self._world.clock.monotonic_ns(), 0
        while entries:
            try:
                row = await once(self._world, partial(self._leases.read_lease, host))
                now_ns = self._world.clock.monotonic_ns()
                passed_ns, looked_ns = now_ns - looked_ns, now_ns
                attempt = 0
                await self._look(host, row, entries, passed_ns)
            except Unavailable as error:
                attempt += 1
                if attempt.bit_count() == 1:
                    log.warning("shards can't be taken yet", host=host, error=error.message)
                await asyncio.sleep(delay_s(self._world, attempt))

    async def _look(self, host: str, row: LeaseRow | None, entries: dict[_Revocation, _Entry], passed_ns: int) -> None:
        """What the row says of the entries; then the next step. Raises Unavailable."""
        if row is None:
            _end(entries, list(entries))
            return
        _end(entries, [at for at, entry in entries.items() if entry.waited_ns is not None and at not in row.revoked])
        poll_s = self._world.options.lease_poll_s
        lease_ns = int(self._world.options.lease_s * _MARGIN * SECOND_NS)
        for at, entry in entries.items():
            if entry.waited_ns is not None:
                # Longer than a look takes is time in which the store, or this process, was away.
                entry.waited_ns += min(passed_ns, int(2 * poll_s * SECOND_NS))
            elif at in row.revoked:
                entry.waited_ns = 0
        if any(entry.waited_ns is not None and entry.waited_ns >= lease_ns for entry in entries.values()):
            # It has not renewed since: its lease is over, and without its row it can't renew any more.
            if await once(self._world, partial(self._leases.remove_lease, host, row.version)):
                log.info("host outlived", host=host, shards=len(entries))
                _end(entries, list(entries))
            return
        missing = [at for at, entry in entries.items() if entry.waited_ns is None]
        if missing:
            wanted = LeaseRow(host, row.version + 1, (*row.revoked, *missing))
            await once(self._world, partial(self._leases.replace_lease, wanted))
        elif entries:
            await asyncio.sleep(poll_s)


def _end(entries: dict[_Revocation, _Entry], over: list[_Revocation]) -> None:
    for at in over:
        entry = entries.pop(at)
        if not entry.over.done():
            entry.over.set_result(None)
