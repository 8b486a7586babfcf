"""A whole store in this process's memory: for `perdure dev` without a file, for benchmarks and for the simulator.

Invariant: no method waits, so each one is atomic on its loop and definite in its outcome. Everything is lost with the
object. Knows no disk, thread or task.
"""

from perdure.base.clock import Clock, SystemClock
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.store.memory.documents import MemoryDocuments, MemoryShards
from perdure.store.memory.log import MemoryLog
from perdure.store.memory.visibility import MemoryVisibility
from perdure.store.unshared import UnsharedLeases

__all__ = ["MemoryStore"]


class MemoryStore:
    """`perdure.store.contract.Store` in memory. `clock` ages the traces of deletions, which are kept for an hour.

    `is_shared`: several simulated hosts use it as if they were processes; index rows lie by their home's shard then.
    """

    def __init__(self, clock: Clock | None = None, *, is_shared: bool = False) -> None:
        clock = clock or SystemClock()
        self.log = MemoryLog()
        self.is_shared = is_shared
        self.shards = MemoryShards()
        self.leases = UnsharedLeases()
        self.checkpoints = MemoryCheckpoints(clock, index_by_slot=not is_shared)
        self.visibility = MemoryVisibility(clock)
        self.documents = MemoryDocuments()

    async def close(self) -> None:
        """Nothing to release."""
