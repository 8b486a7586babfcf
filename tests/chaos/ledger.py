"""Rule 27 on a real store: what the shards' logs say while they are written, by somebody who only reads.

Epochs rise with the numbers of groups, no two segments of a shard have a group of one number, a group that was read
once is the same ever after, and a segment that was sealed stays as it was. Invariant: it reads one segment after the
other, slowly, so that it is no load; what is dropped before it came by it has not seen: `groups` counts what it has.
"""

import contextlib
import hashlib
from collections import defaultdict

from perdure.base.errors import PerdureError
from perdure.store.contract import LogStore, SegmentHeader, SegmentId, ShardStore
from tests.e2e.clusters import passes

_PAUSE_S = 0.05
_REST_S = 2.0
_PAGE = 100


class Ledger:
    """`wrong`: what breaks the rule. `groups`, `sealed`: how many were seen."""

    def __init__(self, log: LogStore, shards: ShardStore) -> None:
        self.wrong: list[str] = []
        self.groups = 0
        self.sealed: dict[SegmentId, SegmentHeader] = {}
        self._log = log
        self._shards = shards
        self._digests: dict[str, dict[int, tuple[SegmentId, bytes]]] = defaultdict(dict)
        self._epochs: dict[str, int] = {}

    async def watch(self) -> None:
        """Walk over all segments again and again, until cancelled."""
        while True:
            with contextlib.suppress(PerdureError):  # the store is among what is broken
                await self.look(_PAUSE_S)
            await passes(_REST_S)

    async def look(self, pause_s: float = 0.0) -> None:
        """Walk over all segments once. Raises the store's errors."""
        for row in await self._shards.list_shards():
            if row.epoch < self._epochs.get(row.shard, 0):
                self.wrong.append(f"rule 27: {row.shard}: epoch {row.epoch} after {self._epochs[row.shard]}")
            self._epochs[row.shard] = max(row.epoch, self._epochs.get(row.shard, 0))
        place = b""
        while True:
            segments, place = await self._log.list_segments(place, _PAGE)
            for segment in segments:
                await self._read(segment)
                if pause_s:
                    await passes(pause_s)
            if not place:
                return

    async def _read(self, segment: SegmentId) -> None:
        before = await self._log.read_header(segment)
        if before is None:
            return
        if before.next is not None:
            former = self.sealed.setdefault(segment, before)
            if former != before:
                self.wrong.append(f"rule 27: {segment}: {before} after it was sealed as {former}")
        after = 0
        while groups := await self._log.read_groups(segment, after, _PAGE):
            for group in groups:
                self._take(segment, group.n, hashlib.blake2b(group.body, digest_size=8).digest())
            after = groups[-1].n

    def _take(self, segment: SegmentId, n: int, digest: bytes) -> None:
        known = self._digests[segment.shard]
        former = known.get(n)
        if former == (segment, digest):
            return
        if former is not None:
            how = "has become another" if former[0] == segment else f"is in {former[0]} too"
            self.wrong.append(f"rule 27: {segment}: group {n} {how}")
        self.groups += former is None
        known[n] = (segment, digest)
        for lower, higher in ((n - 1, n), (n, n + 1)):
            pair = known.get(lower), known.get(higher)
            if pair[0] is not None and pair[1] is not None and pair[0][0].epoch > pair[1][0].epoch:
                self.wrong.append(f"rule 27: group {lower} in {pair[0][0]}, group {higher} in {pair[1][0]}")
