"""The fixed hash space that shards are ranges of.

Every workflow id of a namespace lives in one of 65,536 slots, found by a stable hash of (namespace id, workflow id)
and never of a run id, so that all runs of an id stay together. A shard is a contiguous range of slots; nothing that
is stored is keyed by a shard's number, so that ranges can be split and merged.
"""

from itertools import pairwise

import msgspec
import xxhash

SLOTS = 65_536


class ChainKey(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Names the chain of runs of one workflow id: the unit of decide, lock and commit."""

    namespace_id: str
    workflow_id: str

    @property
    def slot(self) -> int:
        """The slot of this chain, in [0, 65536)."""
        return slot_of(self.namespace_id, self.workflow_id)


class SlotRange(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The slots `first` <= s < `end`."""

    first: int = 0
    end: int = SLOTS

    def __contains__(self, slot: int) -> bool:
        return self.first <= slot < self.end


def slot_of(namespace_id: str, workflow_id: str) -> int:
    """The slot of a workflow id. Stored data depends on it: it never changes."""
    return xxhash.xxh64_intdigest(f"{namespace_id}\0{workflow_id}".encode()) & (SLOTS - 1)


def even_ranges(shards: int) -> list[SlotRange]:
    """`shards` (1..65536) ranges of nearly equal size that cover the hash space."""
    bounds = [SLOTS * i // shards for i in range(shards + 1)]
    return [SlotRange(first, end) for first, end in pairwise(bounds)]
