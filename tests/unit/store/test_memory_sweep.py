"""The memory store forgets deletions after an hour, and nothing else."""

from perdure.base.clock import SECOND_NS
from perdure.store.contract import Pointer, Snapshot
from perdure.store.memory import MemoryStore
from perdure.store.memory.tombstones import Tombstones
from perdure.testing.store_contract.suite import chain, checkpoint, offer_of, timer_of
from perdure.workflow.tasks import Offer, Timer


class HandClock:
    """Time that the test moves."""

    time_ns = 0

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_ns(self) -> int:
        return self.time_ns


def test_a_tombstone_is_swept_an_hour_after_its_newest_deletion() -> None:
    clock = HandClock()
    dead = Tombstones(clock)
    dead.add("a", 5)
    dead.add("b", 6)
    clock.time_ns = 1800 * SECOND_NS
    dead.add("a", 9)
    dead.add("a", 7)
    clock.time_ns = 3600 * SECOND_NS
    assert dead.sweep() == ["b"]
    assert (dead.get("a"), dead.get("b")) == (9, -1)
    clock.time_ns = 5400 * SECOND_NS
    assert dead.sweep() == ["a"]
    assert len(dead) == 0


async def test_deleted_rows_are_gone_after_an_hour_and_those_written_since_stay() -> None:
    clock = HandClock()
    store = MemoryStore(clock)
    gone, back = chain("gone"), chain("back")
    for key in (gone, back):
        removed: list[Offer | Timer] = [offer_of(key, 1), timer_of(key, 1)]
        rows = (Snapshot(key, "run", 1, None), Pointer(key, 1, None))
        await store.checkpoints.write(checkpoint(10, *rows, removed=removed, dropped=[(key, f"branch {key}")]))
    await store.checkpoints.write(checkpoint(20, Snapshot(back, "run", 2, b"s"), Pointer(back, 2, b"p")))
    clock.time_ns = 3600 * SECOND_NS
    await store.checkpoints.write(checkpoint(30))
    assert await store.checkpoints.read_snapshot(gone, "run") is None
    assert await store.checkpoints.read_pointer(gone) is None
    assert await store.checkpoints.read_snapshot(back, "run") == Snapshot(back, "run", 2, b"s")
    assert await store.checkpoints.read_pointer(back) == Pointer(back, 2, b"p")
