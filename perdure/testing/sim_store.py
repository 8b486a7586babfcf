"""The store of a simulated cluster: it survives its hosts, takes its time, fails by plan, and keeps what it was told.

Invariant: a host that is dead does nothing to the store any more, whatever its code still tries; what it had sent
before may still land. Every group that any log segment ever took is kept here, so that a whole run can be replayed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from perdure.base.clock import Clock
from perdure.base.errors import StoreUnavailable
from perdure.store.contract import Group, LogStore, OutcomeUnknown, SegmentHeader, SegmentId, Written
from perdure.store.memory import MemoryStore
from perdure.testing.entropy import SeededEntropy
from perdure.testing.faulty_store import FaultyStore, Writers
from perdure.testing.store_faults import HEALTHY, FaultPlan, Faults

T = TypeVar("T")
_OF_LEASES = ("read_lease", "replace_lease", "remove_lease")


class Taken(msgspec.Struct, frozen=True):
    """A group that a segment took."""

    segment: SegmentId
    group: Group


class WitnessLog:
    """A `LogStore` that keeps every group it took."""

    def __init__(self, inner: LogStore) -> None:
        self._inner = inner
        self.taken: list[Taken] = []

    async def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Written:
        return await self._inner.open_segment(segment, header)

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        written = await self._inner.append(segment, epoch, group)
        if written.applied:
            self.taken.append(Taken(segment, group))
        return written

    async def link(self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int) -> Written:
        return await self._inner.link(segment, epoch, last, following, new_epoch)

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        return await self._inner.read_header(segment)

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        return await self._inner.read_groups(segment, after, limit)

    async def drop_segment(self, segment: SegmentId) -> None:
        await self._inner.drop_segment(segment)

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        return await self._inner.list_segments(place, limit)


class SimFaults(Faults):
    """Faults, and besides: every operation takes a while, dead hosts reach nothing, and marks are told.

    `at_mark(host, mark)` is called before and after each operation, with `before append` and the like; it may end the
    host. `latency_s`: an operation takes up to so many virtual seconds.
    """

    def __init__(self, entropy: SeededEntropy, plan: FaultPlan = HEALTHY, latency_s: float = 0.004) -> None:
        super().__init__(entropy.fork("faults"), plan)
        self.at_mark: Callable[[str, str], None] = lambda host, mark: None
        self.latency_s = latency_s
        self.dead: set[str] = set()
        self.without_claims: set[str] = set()
        self.without_leases: set[str] = set()
        self._latency = entropy.fork("latency")

    async def perform(
        self,
        operation: str,
        do: Callable[[], Awaitable[T]],
        *,
        host: str = "",
        write: bool = False,
        part: Callable[[], Awaitable[object]] | None = None,
        place: object = None,
    ) -> T:
        """One operation of a host, with whatever befalls it."""
        if host in self.dead:
            raise OutcomeUnknown("The host is dead.")
        if operation == "replace_shard" and host in self.without_claims:
            raise StoreUnavailable("Injected: this host may take no shard.")
        if host in self.without_leases and operation in _OF_LEASES:
            raise OutcomeUnknown("Injected: this host does not reach its lease.")
        self.at_mark(host, f"before {operation}")
        wait_s = self._latency.fraction() * self.latency_s
        is_first = self._latency.fraction() < 0.5
        if is_first:
            await asyncio.sleep(wait_s)
            if host in self.dead:
                raise OutcomeUnknown("The host is dead.")
        result = await super().perform(operation, do, host=host, write=write, part=part, place=place)
        self.at_mark(host, f"after {operation}")
        if not is_first:
            await asyncio.sleep(wait_s)
        return result


class SimStore:
    """What is on disk: a memory store whose log is witnessed. `seen_by` gives a host its way to it."""

    def __init__(self, clock: Clock, faults: SimFaults, *, is_shared: bool = False) -> None:
        inner = MemoryStore(clock, is_shared=is_shared)
        self.witness = WitnessLog(inner.log)
        self.log: LogStore = self.witness
        self.is_shared = inner.is_shared
        self.shards = inner.shards
        self.leases = inner.leases
        self.checkpoints = inner.checkpoints
        self.visibility = inner.visibility
        self.documents = inner.documents
        self.faults = faults
        self._writers = Writers()

    def seen_by(self, host: str) -> FaultyStore:
        """The store as `host` reaches it."""
        return FaultyStore(self, self.faults, host, self._writers)

    async def close(self) -> None:
        """Nothing to release."""
