"""The map of shards as this process knows it: which shard has a slot.

Invariant: a map is replaced only by a newer one. Stale is harmless: who is asked for a shard that it hasn't refuses.
Refuses to know who has a shard.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable

import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import PerdureError
from perdure.base.tasks import Background
from perdure.cluster.attempts import attempt_within
from perdure.store.contract import ShardMap, ShardStore

log = structlog.get_logger(__name__)

READ_S = 5.0
_CALL_S = 1.5
# Callers that found the map wrong at the same time share what one of them reads.
_FRESH_NS = SECOND_NS // 20


class ShardMapCache:
    """`start` reads it and keeps reading; `stop` ends that."""

    def __init__(self, shards: ShardStore, clock: Clock, entropy: Entropy) -> None:
        self._shards = shards
        self._clock = clock
        self._entropy = entropy
        self._background = Background(_failed)
        self._reading: asyncio.Task[None] | None = None
        self._begun = 0  # how many reads were
        self._read_ns = -SECOND_NS
        self._map = ShardMap(-1, ())
        self._firsts: list[int] = []
        self._ids: frozenset[str] = frozenset()
        # Called when there is a newer map; it must not raise and not wait.
        self.on_change: Callable[[], None] = _unheard

    @property
    def map(self) -> ShardMap | None:
        """The newest map that is known here; None while none is."""
        return self._map if self._map.version >= 0 else None

    @property
    def version(self) -> int:
        """The version of the map; -1 while none is known."""
        return self._map.version

    def shard_of(self, slot: int) -> str:
        """The id of the shard that has the slot; "" if none is known."""
        index = bisect_right(self._firsts, slot) - 1
        return self._map.shards[index][1] if index >= 0 else ""

    def names(self, shard: str) -> bool:
        """Whether the map has this shard."""
        return shard in self._ids

    async def start(self) -> None:
        """Read it, if that is possible now, and again each `READ_S` or so."""
        await self.refresh()
        self._background.spawn(self._keep_reading(), "map of shards")

    async def stop(self) -> None:
        """Read it no more."""
        await self._background.close()

    async def refresh(self, *, anew: bool = False) -> None:
        """Read it, unless that was just done; callers at the same time share a read. `anew`: by a read that begins from
        now on, for who has changed it or heard that it was. Doesn't raise: without an answer in time the map stays.
        """
        if anew:
            begun = self._begun
            while self._is_reading() and self._begun == begun:
                await self._read_over()
            if self._begun > begun:
                await self._read_over()  # another caller began it since
                return
        elif self._clock.monotonic_ns() - self._read_ns < _FRESH_NS:
            return
        if not self._is_reading():
            self._begun += 1
            self._reading = self._background.spawn(self._read(), "reading the map of shards")
        await self._read_over()

    def _is_reading(self) -> bool:
        return self._reading is not None and not self._reading.done()

    async def _read_over(self) -> None:
        """Return when the newest read is over."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _keep_reading(self) -> None:
        while True:
            # A store without shards will have them soon.
            every_s = READ_S if self._firsts else READ_S / 10
            await asyncio.sleep(every_s * (0.75 + self._entropy.fraction() / 2))
            await self.refresh()

    async def _read(self) -> None:
        sent_ns = self._clock.monotonic_ns()
        try:
            found = await attempt_within(_CALL_S, self._shards.read_map)
        except PerdureError as error:
            log.debug("the map of shards can't be read", error=error.message)
            return
        self._read_ns = sent_ns
        if found is not None and found.version > self._map.version:
            self._map = found
            self._firsts = [first for first, _ in found.shards]
            self._ids = frozenset(shard for _, shard in found.shards)
            self.on_change()


def _unheard() -> None:
    """Nobody wants to know."""


def _failed(error: BaseException) -> None:
    log.error("reading the map of shards failed", exc_info=error)
