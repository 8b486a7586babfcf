"""A faulty store does what the contract allows, in the same way for the same seed, and heals."""

import asyncio
from collections import Counter

import pytest

from perdure.base.errors import StoreUnavailable
from perdure.store.contract import Group, Node, OutcomeUnknown, SegmentHeader, SegmentId, Snapshot, Store
from perdure.store.memory import MemoryStore
from perdure.testing.entropy import SeededEntropy
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.store_contract.suite import chain, checkpoint
from perdure.testing.store_faults import Fault, FaultPlan, Faults

SEGMENT = SegmentId("shard", 1, 0)
ONE = Group(1, b"one", 10)
EVERY = FaultPlan(refused=0.1, lost=0.1, done=0.1, late=0.1, raised=0.1, torn=0.1, slow=0.1, slow_s_max=0.001)


async def _stores(host: str = "") -> tuple[MemoryStore, Faults, FaultyStore]:
    inner, faults = MemoryStore(), Faults(SeededEntropy(1))
    await inner.log.open_segment(SEGMENT, SegmentHeader(1, 0, 0))
    return inner, faults, FaultyStore(inner, faults, host)


async def _last(store: Store) -> int | None:
    header = await store.log.read_header(SEGMENT)
    return header.last if header is not None else None


@pytest.mark.parametrize(
    ("fault", "error", "last"),
    [(Fault.REFUSED, StoreUnavailable, 0), (Fault.LOST, OutcomeUnknown, 0), (Fault.DONE, OutcomeUnknown, 1)],
)
async def test_an_armed_fault_befalls_the_next_call_only(fault: Fault, error: type[Exception], last: int) -> None:
    inner, faults, store = await _stores()
    faults.arm("append", fault)
    assert await _last(store) == 0
    with pytest.raises(error):
        await store.log.append(SEGMENT, 1, ONE)
    assert await _last(inner) == last
    assert (await store.log.append(SEGMENT, 1, ONE)).applied == (last == 0)
    assert faults.fired == Counter({fault: 1})


async def test_a_late_write_lands_before_a_later_operation() -> None:
    inner, faults, store = await _stores()
    faults.arm("append", Fault.LATE)
    with pytest.raises(OutcomeUnknown):
        await store.log.append(SEGMENT, 1, ONE)
    assert await _last(inner) == 0
    for _ in range(faults.plan.late_operations_max + 1):
        await store.documents.list_documents("none")
    assert await _last(inner) == 1
    assert faults.held == 0


async def test_a_late_write_that_was_sent_again_overwrites_nothing() -> None:
    inner, faults, store = await _stores()
    faults.arm("append", Fault.LATE)
    with pytest.raises(OutcomeUnknown):
        await store.log.append(SEGMENT, 1, Group(1, b"first", 10))
    assert (await store.log.append(SEGMENT, 1, ONE)).applied
    await faults.land()
    assert await inner.log.read_groups(SEGMENT, 0, 10) == [ONE]


async def test_a_write_lands_after_the_epoch_was_raised_by_another_host() -> None:
    inner, faults, store = await _stores("a")
    other = FaultyStore(inner, faults, "b")
    faults.arm("append", Fault.RAISED)
    with pytest.raises(OutcomeUnknown):
        await store.log.append(SEGMENT, 1, ONE)
    for _ in range(100):
        await other.log.read_header(SEGMENT)
    assert faults.held == 1
    assert (await other.log.link(SEGMENT, 1, 0, SegmentId("shard", 2, 0), 2)).applied
    assert faults.held == 1
    assert await other.log.read_groups(SEGMENT, 0, 10) == []
    assert faults.held == 0


async def test_a_torn_checkpoint_has_a_snapshot_only_over_all_other_rows() -> None:
    inner, faults, store = await _stores()
    left = set()
    for number in range(20):
        faults.arm("write", Fault.TORN)
        keys = [chain(f"w{number}-{n}") for n in range(20)]
        rows = [Snapshot(key, "run", 1, b"s") for key in keys]
        nodes = [Node(f"branch {number}", n, n + 1, b"n") for n in range(1, 21)]
        with pytest.raises(OutcomeUnknown):
            await store.checkpoints.write(checkpoint(5, *rows, *nodes))
        snapshots = [key for key in keys if await inner.checkpoints.read_snapshot(key, "run") is not None]
        found = await inner.checkpoints.read_nodes(f"branch {number}", 1, 21, 1 << 20)
        assert len(found) == 20 or not snapshots
        left.add((0 < len(snapshots) < 20, 0 < len(found) < 20))
    assert left >= {(True, False), (False, True)}


async def test_a_slow_operation_is_overtaken() -> None:
    inner, faults, store = await _stores()
    faults.plan = FaultPlan(slow_s_max=0.001)
    faults.arm("read_header", *[Fault.SLOW] * 8)
    order: list[str] = []

    async def call(name: str, do: object) -> None:
        await do  # type: ignore[misc]  # an awaitable of either interface
        order.append(name)

    slow = [call("slow", store.log.read_header(SEGMENT)) for _ in range(8)]
    await asyncio.gather(*slow, call("quick", inner.log.read_header(SEGMENT)))
    assert order[0] == "quick"
    assert faults.fired == Counter({Fault.SLOW: 8})


async def test_a_host_that_is_cut_off_reaches_nothing_until_it_is_mended() -> None:
    _, faults, store = await _stores("a")
    faults.cut("a")
    with pytest.raises(OutcomeUnknown):
        await store.log.append(SEGMENT, 1, ONE)
    faults.mend("a")
    assert await _last(store) == 0


async def _run(seed: int) -> tuple[list[str], Counter[Fault]]:
    """What 300 operations met."""
    faults = Faults(SeededEntropy(seed), EVERY)
    store = FaultyStore(MemoryStore(), faults)
    met: list[str] = []
    for n in range(100):
        for call in (
            store.log.open_segment(SegmentId("shard", 1, n), SegmentHeader(1, 0, 0)),
            store.log.link(SegmentId("shard", 1, n), 1, 0, SEGMENT, 2),
            store.checkpoints.write(checkpoint(n, Snapshot(chain("w", "ns"), "run", n, b"s"))),
        ):
            try:
                met.append(repr(await call))
            except (StoreUnavailable, OutcomeUnknown) as error:
                met.append(repr(error))
    return met, faults.fired


async def test_one_seed_is_one_run_and_every_fault_fires() -> None:
    one, again, other = await _run(1), await _run(1), await _run(2)
    assert one == again
    assert one[0] != other[0]
    drawn = {Fault.REFUSED, Fault.LOST, Fault.DONE, Fault.LATE, Fault.RAISED, Fault.TORN, Fault.SLOW}
    assert set(one[1]) == drawn


async def test_healed_it_meets_no_fault_but_what_is_on_its_way_still_lands() -> None:
    inner, faults, store = await _stores()
    faults.plan = FaultPlan(refused=1.0)
    faults.arm("append", Fault.LATE)
    with pytest.raises(OutcomeUnknown):
        await store.log.append(SEGMENT, 1, ONE)
    faults.heal()
    for _ in range(50):
        await store.shards.list_shards()
    assert await _last(inner) == 1
    assert faults.fired == Counter({Fault.LATE: 1})


@pytest.mark.parametrize("seed", range(6))
async def test_an_unfinished_write_is_settled_by_the_next_serial_operation_and_seen_by_no_other(seed: int) -> None:
    inner, faults = MemoryStore(), Faults(SeededEntropy(seed))
    await inner.log.open_segment(SEGMENT, SegmentHeader(1, 0, 0))
    store = FaultyStore(inner, faults)
    faults.arm("append", Fault.UNFINISHED)
    with pytest.raises(OutcomeUnknown):
        await store.log.append(SEGMENT, 1, ONE)
    assert await store.log.read_groups(SEGMENT, 0, 9) == []
    assert faults.held == 1
    settled = await _last(store)
    assert faults.held == 0
    assert len(await store.log.read_groups(SEGMENT, 0, 9)) == settled
    # Once it was given up it never comes.
    await faults.land()
    assert await _last(store) == settled


async def test_unfinished_writes_end_both_ways() -> None:
    ends = set()
    for seed in range(12):
        inner, faults = MemoryStore(), Faults(SeededEntropy(seed))
        await inner.log.open_segment(SEGMENT, SegmentHeader(1, 0, 0))
        store = FaultyStore(inner, faults)
        faults.arm("append", Fault.UNFINISHED)
        with pytest.raises(OutcomeUnknown):
            await store.log.append(SEGMENT, 1, ONE)
        ends.add(await _last(store))
    assert ends == {0, 1}
