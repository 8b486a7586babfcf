"""Whether other hosts still live, by their leases.

Invariants (M2, M3): a host is dead when its lease's row is gone. A row is removed when it stood still for a lease's
time and a tenth more, on this process's clock, between reads that went well; a stretch in which the store or this
process was away counts for nothing, and a long one lets the count begin anew. No two hosts' clocks are compared.
Refuses to know what a host serves.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import Unavailable
from perdure.cluster.attempts import attempt_within
from perdure.store.contract import LeaseStore

log = structlog.get_logger(__name__)

# Two clocks that run for a lease's time differ by less.
_MARGIN = 1.1
_NEIGHBOURS = 2


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `lease_s`: of all hosts. `look_s`: leases are looked at so often; each `hurry_s` once one stood still
    for `late_s`. `call_s`: a read may take so long.
    """

    lease_s: float = 5.0
    late_s: float = 3.0
    look_s: float = 1.0
    hurry_s: float = 0.25
    call_s: float = 1.5


class _Sight:
    """What was seen of a lease. `looked_ns`: when the last read that went well was over; None before the first."""

    __slots__ = ("looked_ns", "still_ns", "version")

    def __init__(self) -> None:
        self.version = -1
        self.still_ns = 0
        self.looked_ns: int | None = None


def neighbours(hosts: Sequence[str], own: str) -> list[str]:
    """Whom `own` watches: the next two in the order of ids, which goes round."""
    others = sorted(host for host in hosts if host != own)
    after = [host for host in others if host > own]
    return [*after, *others[: len(others) - len(after)]][:_NEIGHBOURS]


class Watching:
    """The leases that this process watches."""

    def __init__(self, leases: LeaseStore, clock: Clock, options: WatchOptions) -> None:
        self._leases = leases
        self._clock = clock
        self._options = options
        self._sights: dict[str, _Sight] = {}

    @property
    def pause_s(self) -> float:
        """Until the next look."""
        late_ns = self._options.late_s * SECOND_NS
        is_late = any(sight.still_ns >= late_ns for sight in self._sights.values())
        return self._options.hurry_s if is_late else self._options.look_s

    async def look(self, hosts: Sequence[str]) -> list[str]:
        """Look at the leases of these hosts, and forget all others; those that are dead."""
        self._sights = {host: self._sights.get(host) or _Sight() for host in hosts}
        are_dead = await asyncio.gather(*(self._is_dead(host, sight) for host, sight in self._sights.items()))
        dead = [host for host, is_dead in zip(hosts, are_dead, strict=True) if is_dead]
        for host in dead:
            del self._sights[host]
        return dead

    async def _is_dead(self, host: str, sight: _Sight) -> bool:
        begun_ns = self._clock.monotonic_ns()
        try:
            row = await attempt_within(self._options.call_s, partial(self._leases.read_lease, host))
            if row is None:
                return True
            self._count(sight, row.version, begun_ns)
            if sight.still_ns < self._options.lease_s * _MARGIN * SECOND_NS:
                return False
            if not await attempt_within(self._options.call_s, partial(self._leases.remove_lease, host, row.version)):
                return False
        except Unavailable as error:
            log.debug("a lease can't be read", host=host, error=error.message)
            return False
        log.warning("host is dead: its lease ran out", host=host)
        return True

    def _count(self, sight: _Sight, version: int, begun_ns: int) -> None:
        looked_ns, sight.looked_ns = sight.looked_ns, self._clock.monotonic_ns()
        if version != sight.version or looked_ns is None:
            sight.version, sight.still_ns = version, 0
            return
        # To the begin of this read from the end of that one: no renewal came in between, whenever they were done.
        passed_ns = begun_ns - looked_ns
        if passed_ns <= 2 * self._options.look_s * SECOND_NS:
            sight.still_ns += max(0, passed_ns)
        elif passed_ns >= self._options.lease_s * SECOND_NS:
            sight.still_ns = 0
