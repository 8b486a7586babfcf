"""Splitting and merging: whatever step is the last, or in doubt, each slot has one shard with all its work."""

import asyncio
from collections.abc import Callable

import pytest

from perdure.base.errors import FailedPrecondition, InvalidArgument, PerdureError, ShardElsewhere
from perdure.base.slots import ChainKey, SlotRange
from perdure.shards.claim import Claim, ShardRetired
from perdure.shards.reshaping import parts_of, whole_of
from perdure.shards.retired import remove_retired
from perdure.store.contract import Home, ShardRow
from perdure.store.memory import MemoryStore
from perdure.testing.loop import running_loop
from perdure.workflow.tasks import Task
from tests.unit.shards.fakes import QUEUE, key, memory, offer, passes, timer, virtual
from tests.unit.shards.keepers import Keeper, heirs_of, shared

CHAINS = [f"wf{number}" for number in range(12)]
NEVER = 10**18 * 5


async def _begun(store: MemoryStore, inherit_interval_s: float = 0.05) -> Keeper:
    """A host with work in all of its shards, some of it checkpointed."""
    keeper = Keeper(store, "first", {}, inherit_interval_s)
    await keeper.take_all()
    for number, name in enumerate(CHAINS):
        await keeper.add(key(name), number + 1, offer(1, name, time_ns=number + 1), timer(NEVER + number, name))
        if number == 8:
            await passes(0.5)
    return keeper


async def _offers(keeper: Keeper) -> list[str]:
    """The workflow ids of all offers, as matching would read them."""
    found = []
    for shard in keeper.owned.values():
        page, backlog = await shard.read_offers(QUEUE, None, 1_000)
        assert backlog.count == len(page) or shard.offers.is_uncertain
        found += [one.key.workflow_id for one in page]
    return sorted(found)


async def _all_there(keeper: Keeper) -> None:
    await keeper.verify()
    assert await _offers(keeper) == sorted(CHAINS)
    for number, name in enumerate(CHAINS):
        assert await keeper.of(key(name)).timers.holds(timer(NEVER + number, name))


@pytest.mark.parametrize("make", [memory, shared])
@pytest.mark.parametrize("parts", [2, 5])
def test_a_shard_is_split_and_its_parts_have_all_its_work(make: Callable[[], MemoryStore], parts: int) -> None:
    async def work() -> None:
        keeper = await _begun(make())
        first = next(shard for shard in keeper.owned.values() if shard.slots.first == 0)
        epoch, ceiling_us = first.epoch, first.log.ceiling_us
        await keeper.split(first, parts)
        children = [shard for shard in keeper.owned.values() if shard.slots.end <= first.slots.end]
        assert len(children) == parts
        assert all(child.epoch > epoch and child.claim.row.after_us >= ceiling_us for child in children)
        await _all_there(keeper)
        for name in CHAINS:
            await keeper.add(key(name), 100)
        await keeper.settle()
        await _all_there(keeper)
        await keeper.stop()
        heir = await heirs_of(keeper.store, keeper)
        await _all_there(heir)
        await heir.stop()

    virtual(work())


@pytest.mark.parametrize("make", [memory, shared])
def test_shards_are_merged_and_split_again_and_nothing_is_left_of_them(make: Callable[[], MemoryStore]) -> None:
    async def work() -> None:
        store = make()
        keeper = await _begun(store)
        former = ""
        for parts in (3, 4, 2):
            await keeper.merge(list(keeper.owned.values()))
            [whole] = keeper.owned.values()
            former = whole.shard_id
            assert whole.slots == SlotRange()
            await _all_there(keeper)
            await keeper.settle()
            await keeper.split(whole, parts)
            await keeper.settle()
        await _all_there(keeper)
        await remove_retired(keeper.world)
        assert await store.shards.list_unnamed() == []
        await _all_there(keeper)
        assert await store.checkpoints.count_offers(Home(former, SlotRange())) == [] or (
            store.checkpoints.index_by_slot
        )
        await keeper.stop()

    virtual(work())


def test_an_index_that_somebody_inherits_stays() -> None:
    async def work() -> None:
        store = shared()
        keeper = await _begun(store)
        first = next(iter(keeper.owned.values()))
        await keeper.split(first, 2)
        assert await remove_retired(keeper.world) == 0
        await _all_there(keeper)
        await keeper.settle()
        assert await remove_retired(keeper.world) == 1
        await _all_there(keeper)
        await keeper.stop()

    virtual(work())


@pytest.mark.parametrize("inherit_interval_s", [0.01, 0.3, 2.0])
def test_what_ends_while_rows_are_inherited_does_not_come_back(inherit_interval_s: float) -> None:
    async def work() -> None:
        store = shared()
        keeper = await _begun(store, inherit_interval_s)
        await passes(1)
        await keeper.merge(list(keeper.owned.values()))
        for number, name in enumerate(CHAINS[:6]):
            ended: list[Task] = [offer(1, name, time_ns=number + 1), timer(NEVER + number, name)]
            await keeper.end(key(name), 50 + number, ended)
            if number % 2:
                await passes(0.3)
        assert await _offers(keeper) == sorted(CHAINS[6:])
        await passes(0.9)
        assert await _offers(keeper) == sorted(CHAINS[6:])
        await keeper.settle()
        assert await _offers(keeper) == sorted(CHAINS[6:])
        await passes(1)
        await keeper.stop()
        heir = await heirs_of(store, keeper)
        assert await _offers(heir) == sorted(CHAINS[6:])
        assert not await heir.of(key(CHAINS[0])).timers.holds(timer(NEVER, CHAINS[0]))
        await heir.stop()

    virtual(work())


def test_a_backlog_of_thousands_is_counted_right_at_every_step() -> None:
    async def work() -> None:
        store = shared()
        keeper = Keeper(store, "first", {})
        await keeper.take_all()
        names = [f"many{number}" for number in range(250)]
        for number, name in enumerate(names):
            offers = [offer(event, name, time_ns=1_000 * event + number) for event in range(1, 21)]
            await keeper.add(key(name), 1, *offers)

        def counted() -> int:
            return sum(shard.backlog(QUEUE).count for shard in keeper.owned.values())

        assert counted() == 5_000
        await keeper.split(next(iter(keeper.owned.values())), 4)
        assert counted() == 5_000
        await keeper.settle()
        assert counted() == 5_000
        await keeper.merge(list(keeper.owned.values()))
        assert counted() == 5_000
        await passes(0.12)  # some of the pages were written anew
        [whole] = keeper.owned.values()
        assert whole.claim.row.inherits
        await keeper.stop()
        heir = await heirs_of(store, keeper)
        [whole] = heir.owned.values()
        assert whole.backlog(QUEUE).count == 5_000
        await heir.settle()
        await passes(1)
        assert whole.backlog(QUEUE).count == 5_000
        page, _ = await whole.read_offers(QUEUE, None, 6_000)
        assert len({(one.key, one.order) for one in page}) == len(page) == 5_000
        await heir.stop()

    virtual(work())


async def _steps() -> int:
    """How many operations a split takes."""
    keeper = await _begun(shared())
    keeper.faults.arm(0, "")
    await keeper.split(next(iter(keeper.owned.values())), 3)
    steps = keeper.faults.count
    await keeper.stop()
    return steps


def _number_of_steps() -> int:
    found: list[int] = []

    async def work() -> None:
        found.append(await _steps())

    virtual(work())
    return found[0]


@pytest.mark.parametrize("kind", ["split", "merge"])
@pytest.mark.parametrize("deed", ["die", "die after", "lost", "done", "refused"])
def test_whatever_befalls_a_step_each_slot_has_one_shard_with_all_its_work(kind: str, deed: str) -> None:
    steps = _number_of_steps()
    assert steps > 15
    ends: set[int] = set()

    async def work(at: int) -> None:
        store = shared()
        keeper = await _begun(store)
        keeper.faults.arm(at, deed)
        try:
            async with asyncio.timeout(30):
                if kind == "split":
                    await keeper.split(next(iter(keeper.owned.values())), 3)
                else:
                    await keeper.merge(list(keeper.owned.values()))
        except (PerdureError, TimeoutError):
            pass
        standing = await store.shards.read_map()
        assert standing is not None
        ends.add(len(standing.shards))
        heir = await heirs_of(store, keeper)
        await _all_there(heir)
        await keeper.stop()
        await heir.settle()
        await remove_retired(heir.world)
        assert await store.shards.list_unnamed() == []
        await _all_there(heir)
        await heir.stop()

    for at in range(1, steps + 1):
        virtual(work(at), seed=at)
    # Some came to nothing, some did not, unless every step is only repeated.
    assert ends == {2, 4 if kind == "split" else 1} or deed in ("lost", "done")


@pytest.mark.parametrize("halt", ["stop", "stop after"])
@pytest.mark.parametrize("deed", ["take", "reshape"])
def test_who_stood_still_anywhere_changes_nothing_after_another_took_the_shards(deed: str, halt: str) -> None:
    async def work(at: int) -> None:
        store = shared()
        keeper = await _begun(store)
        keeper.faults.arm(at, halt)
        splitting = running_loop().create_task(keeper.split(next(iter(keeper.owned.values())), 3))
        await asyncio.wait([splitting, running_loop().create_task(keeper.faults.stopped.wait())],
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        heir = await heirs_of(store, keeper)
        before = await store.shards.read_map()
        for name in CHAINS:
            await heir.add(key(name), 1_000)
        if deed == "reshape":
            await heir.settle()
            await heir.merge(list(heir.owned.values()))
            before = await store.shards.read_map()
        keeper.faults.go.set()
        await asyncio.wait([splitting])
        error = splitting.exception() if not splitting.cancelled() else None
        assert error is None or isinstance(error, PerdureError), error
        if error is not None:
            # It came too late, and the map is the heir's.
            after = await store.shards.read_map()
            assert before is not None
            assert after is not None
            assert after.shards == before.shards
        for name in CHAINS:
            if error is None:
                break
            await heir.add(key(name), 2_000)
        await heir.stop()
        await keeper.stop()
        last = await heirs_of(store, heir)
        await _all_there(last)
        await last.stop()

    for at in range(1, _number_of_steps() + 1):
        virtual(work(at), seed=at)


def test_of_two_reshapings_at_once_both_are_done_or_one_is() -> None:
    async def work(seed: int) -> None:
        store = shared()
        keeper = await _begun(store)
        one, other = keeper.owned.values()
        await asyncio.gather(keeper.split(one, 2), keeper.split(other, 3), return_exceptions=True)
        heir = await heirs_of(store, keeper)
        assert len(heir.owned) == 5
        await _all_there(heir)
        await heir.stop()
        await keeper.stop()

    for seed in range(5):
        virtual(work(seed), seed)


def test_a_shard_is_reshaped_once_at_a_time() -> None:
    async def work() -> None:
        keeper = await _begun(shared())
        first = next(iter(keeper.owned.values()))
        outcomes = await asyncio.gather(keeper.split(first, 2), keeper.split(first, 2), return_exceptions=True)
        assert sum(outcome is None for outcome in outcomes) == 1
        await _all_there(await heirs_of(keeper.store, keeper))

    virtual(work())


def test_a_shard_that_still_inherits_is_not_reshaped_and_goes_on() -> None:
    async def work() -> None:
        keeper = await _begun(shared())
        await keeper.split(next(iter(keeper.owned.values())), 2)
        child = next(shard for shard in keeper.owned.values() if shard.claim.row.inherits)
        with pytest.raises(FailedPrecondition, match="index"):
            await keeper.split(child, 2)
        await _all_there(keeper)
        await keeper.add(key(CHAINS[0]), 5)
        await keeper.stop()

    virtual(work())


def test_a_shard_that_inherits_is_given_up_when_an_epoch_was_drawn_and_nobody_came() -> None:
    async def work() -> None:
        store = shared()
        keeper = await _begun(store)
        await keeper.split(next(iter(keeper.owned.values())), 2)
        child = next(shard for shard in keeper.owned.values() if shard.claim.row.inherits)
        await Claim.draw(Keeper(store, "second", {}).world, child.shard_id)
        await passes(keeper.world.options.overtaken_s / 2)
        assert child.shard_id in keeper.owned
        await passes(keeper.world.options.overtaken_s)
        assert child.shard_id not in keeper.owned
        await keeper.take(child.shard_id)
        await keeper.settle()
        await _all_there(keeper)
        await keeper.stop()

    virtual(work())


def test_a_shard_that_another_draws_for_is_not_reshaped_and_whoever_asks_may_ask_again() -> None:
    async def work() -> None:
        store = shared()
        keeper = await _begun(store)
        before = await store.shards.read_map()
        shard = next(iter(keeper.owned.values()))
        await Claim.draw(Keeper(store, "second", {}).world, shard.shard_id)
        with pytest.raises(ShardElsewhere, match="ask again"):
            await keeper.split(shard, 2)
        assert await store.shards.read_map() == before
        heir = await heirs_of(store, keeper)
        await heir.split(heir.owned[shard.shard_id], 2)
        await _all_there(heir)
        await heir.stop()
        await keeper.stop()

    virtual(work())


def test_a_shard_with_a_chain_that_cannot_be_written_is_not_reshaped_and_goes_on() -> None:
    async def work() -> None:
        keeper = await _begun(shared())
        broken: ChainKey = key(CHAINS[0])
        keeper.role.broken.add(broken)
        await keeper.add(broken, 7)
        with pytest.raises(FailedPrecondition, match=CHAINS[0]):
            await keeper.split(keeper.of(broken), 2)
        await keeper.add(broken, 8)
        await keeper.stop()

    virtual(work())


def test_whoever_draws_for_a_retired_shard_is_told_and_for_one_that_was_never_made_too() -> None:
    async def work() -> None:
        store = shared()
        keeper = await _begun(store)
        first = next(iter(keeper.owned.values()))
        standing = await store.shards.read_map()
        assert standing is not None
        never = ShardRow("never", first.slots, 9, None, reshaping=standing.version)
        await store.shards.reshape(-1, (), [never])
        await keeper.split(first, 2)
        for gone in (first.shard_id, "never", "unknown"):
            with pytest.raises(ShardRetired):
                await keeper.take(gone)
        await keeper.stop()

    virtual(work())


def test_the_children_of_a_reshaping_that_is_under_way_are_left_alone_until_nothing_can_come_of_it() -> None:
    async def work() -> None:
        store = shared()
        keeper = await _begun(store)
        standing = await store.shards.read_map()
        assert standing is not None
        await store.shards.reshape(-1, (), [ShardRow("child", SlotRange(0, 9), 9, None, reshaping=standing.version)])
        assert await remove_retired(keeper.world) == 0
        await store.shards.reshape(standing.version, (), ())
        assert await remove_retired(keeper.world) == 1
        assert await store.shards.list_unnamed() == []
        await _all_there(keeper)
        await keeper.stop()

    virtual(work())


def test_time_and_stamps_go_on_in_the_children() -> None:
    async def work() -> None:
        keeper = await _begun(shared())
        first = next(iter(keeper.owned.values()))
        now_ns = first.now_ns()
        await keeper.split(first, 2)
        rows = [shard.claim.row for shard in keeper.owned.values() if shard.slots.end <= first.slots.end]
        assert all(row.time_ns >= now_ns for row in rows)
        for shard in keeper.owned.values():
            assert await shard.log.stamp_us() > first.log.ceiling_us or shard.slots.first >= first.slots.end
        await keeper.stop()

    virtual(work())


@pytest.mark.parametrize("parts", [-1, 0, 1, 65])
def test_a_shard_is_split_into_two_to_sixty_four_parts(parts: int) -> None:
    with pytest.raises(InvalidArgument, match="2 to 64"):
        parts_of(SlotRange(), parts)


def test_parts_have_a_slot_each_and_cover_the_whole() -> None:
    with pytest.raises(InvalidArgument, match="3 slots"):
        parts_of(SlotRange(5, 8), 4)
    assert parts_of(SlotRange(5, 8), 3) == [SlotRange(5, 6), SlotRange(6, 7), SlotRange(7, 8)]
    assert whole_of(parts_of(SlotRange(3, 70), 7)[::-1]) == SlotRange(3, 70)


def test_only_neighbours_are_merged() -> None:
    with pytest.raises(InvalidArgument, match="slot 2"):
        whole_of([SlotRange(0, 2), SlotRange(3, 5)])
    with pytest.raises(InvalidArgument, match="2 to 64"):
        whole_of([SlotRange(0, 2)])
