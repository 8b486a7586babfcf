"""This process's lease: one row for all that it has, renewed by a condition on its version.

Invariants (L11): the lease counts from before the renewal was sent, on a clock that goes on while the machine sleeps;
who takes a shard from this host writes so into the row first, so no renewal succeeds that has not seen it; a shard that
was revoked has failed before the revocation is confirmed. A row is made once under an id that was never used: one whose
making is in doubt is abandoned, so that it can't come back. Nothing in a row is a time. Knows no shard but by its id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy, new_id
from perdure.base.errors import StoreUnavailable, Unavailable
from perdure.base.tasks import Background
from perdure.cluster.attempts import attempt_within, pause_s
from perdure.store.contract import LeaseRow, LeaseStore, OutcomeUnknown

T = TypeVar("T")

log = structlog.get_logger(__name__)


class LeaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. A host answers for so long (`lease_s`) after it has renewed its lease, which is due every `renewal_s`; a
    renewal may take that long too. `retry_*`: the pause after a failed one. All hosts of a store have one `lease_s`.
    """

    lease_s: float = 5.0
    renewal_s: float = 1.5
    retry_first_s: float = 0.01
    retry_max_s: float = 1.0


class Holder(Protocol):
    """Who has something under the lease. Both give up at once, before they return."""

    def revoked(self, epochs: Mapping[str, int]) -> None:
        """Owners of these epochs take these shards: what is owned under a lower one must be given up."""
        ...

    def evicted(self) -> None:
        """The lease is gone: everything must be given up."""
        ...


class Lease:
    """The lease of this process on a store that others have open too."""

    def __init__(self, leases: LeaseStore, clock: Clock, entropy: Entropy, options: LeaseOptions) -> None:
        self._leases = leases
        self._clock = clock
        self._entropy = entropy
        self._options = options
        self._holders: list[Holder] = []
        self._background = Background(self._failed)
        self._is_begun = False
        self.version = 0
        self._end_ns = 0
        self._renewed_ns = 0
        self._doubtful_ns: int | None = None  # when the renewal that is in doubt was first sent
        self._revoked: dict[str, int] = {}
        self._hurry = asyncio.Event()
        self.host = ""

    def is_valid(self) -> bool:
        """Whether the lease has not run out."""
        return self._clock.monotonic_ns() < self._end_ns

    def is_revoked(self, shard: str, epoch: int) -> bool:
        """Whether the shard was revoked from owners of this epoch."""
        return epoch < self._revoked.get(shard, 0)

    def add_holder(self, holder: Holder) -> None:
        """From now on `holder` is told what it must give up, in the order of adding."""
        self._holders.append(holder)

    def hurry(self) -> None:
        """Renew now, if nothing is under way."""
        self._hurry.set()

    async def begin(self) -> None:
        """Hold a lease, and renew it from now on; nothing if that was begun before. Raises StoreUnavailable."""
        if self._is_begun:
            return
        self._is_begun = True
        try:
            await self._draw()
        except BaseException:
            self._is_begun = False
            raise
        self._background.spawn(self._run(), "lease")

    async def end(self) -> None:
        """Remove the row, so that nobody has to wait for it to run out."""
        host, self.host, self._end_ns, self._is_begun = self.host, "", 0, False
        await self._background.close()
        if not host:
            return
        try:
            async with asyncio.timeout(self._options.lease_s):
                await self._remove(host)
        except (TimeoutError, StoreUnavailable) as error:
            log.warning("lease not removed", host=host, error=str(error))

    async def _remove(self, host: str) -> None:
        attempt = 0
        while True:
            try:
                if await self._once(partial(self._leases.remove_lease, host, self.version)):
                    return
                row = await self._once(partial(self._leases.read_lease, host))
                if row is None:
                    return
                self.version = row.version
            except OutcomeUnknown:
                attempt += 1
                await asyncio.sleep(self._pause_s(attempt))

    async def _draw(self) -> None:
        """A lease under a fresh id. Raises StoreUnavailable."""
        attempt = 0
        while True:
            host, sent_ns = new_id(self._entropy), self._clock.monotonic_ns()
            try:
                if await self._once(partial(self._leases.replace_lease, LeaseRow(host, 0))):
                    self.host = host
                    self._hold(0, sent_ns)
                    return
            except OutcomeUnknown as error:
                log.warning("no lease yet", error=error.message)
            attempt += 1
            await asyncio.sleep(self._pause_s(attempt))

    def _hold(self, version: int, sent_ns: int) -> None:
        self.version = version
        self._renewed_ns = sent_ns
        self._end_ns = sent_ns + int(self._options.lease_s * SECOND_NS)
        self._doubtful_ns = None

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                if self.host:
                    await self._rest()
                    await self._renew()
                else:
                    await self._draw()
                attempt = 0
            except Unavailable as error:
                attempt += 1
                if attempt.bit_count() == 1:  # less and less often
                    log.warning("lease not renewed", host=self.host, error=error.message, valid=self.is_valid())
                await asyncio.sleep(self._pause_s(attempt))
            except Exception:
                # A defect here must not leave shards that are answered for without a lease.
                log.exception("the lease failed")
                self._lose()
                await asyncio.sleep(self._options.renewal_s)

    async def _rest(self) -> None:
        """Until the next renewal is due, or somebody is in a hurry."""
        if self._doubtful_ns is not None:
            return
        left_s = self._options.renewal_s - (self._clock.monotonic_ns() - self._renewed_ns) / SECOND_NS
        if left_s <= 0:
            return
        try:
            async with asyncio.timeout(left_s):
                await self._hurry.wait()
        except TimeoutError:
            return
        self._hurry.clear()

    async def _renew(self) -> None:
        """One attempt, the same bytes as before while their outcome is in doubt. Raises Unavailable."""
        sent_ns = self._clock.monotonic_ns()
        before, self._doubtful_ns = self._doubtful_ns, self._doubtful_ns or sent_ns
        try:
            applied = await self._once(partial(self._leases.replace_lease, LeaseRow(self.host, self.version + 1)))
        except StoreUnavailable:
            self._doubtful_ns = before
            raise
        if applied:
            self._hold(self.version + 1, sent_ns)
            return
        row = await self._once(partial(self._leases.read_lease, self.host))
        if row is not None and row.version > self.version and row.revoked:
            self._give_up(row)
        elif row is not None and row.version == self.version + 1:
            # An earlier attempt of the same row: it may have been the first.
            self._hold(row.version, self._doubtful_ns)
        else:
            self._lose()

    def _give_up(self, row: LeaseRow) -> None:
        """Others take these shards. That they are given up is confirmed by the next renewal, which is due at once."""
        log.info("shards revoked", host=self.host, shards=len(row.revoked))
        for shard, epoch in row.revoked:
            self._revoked[shard] = max(epoch, self._revoked.get(shard, 0))
        for holder in self._holders:
            holder.revoked(self._revoked)
        self.version = row.version
        self._doubtful_ns = None
        self._hurry.set()

    def _lose(self) -> None:
        """The row is gone: whoever removed it has waited until this lease was over."""
        log.warning("lease lost", host=self.host)
        self.host, self._end_ns, self._doubtful_ns = "", 0, None
        self._revoked.clear()
        for holder in self._holders:
            holder.evicted()

    async def _once(self, call: Callable[[], Awaitable[T]]) -> T:
        """One call, within a renewal's time. Raises OutcomeUnknown when that is over."""
        return await attempt_within(self._options.renewal_s, call)

    def _pause_s(self, attempt: int) -> float:
        return pause_s(self._entropy, attempt, self._options.retry_first_s, self._options.retry_max_s)

    def _failed(self, error: BaseException) -> None:
        log.error("the lease's task failed", exc_info=error)
