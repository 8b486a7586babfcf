"""The map of shards: changed as a whole, by compare-and-set on its version; and what a retired shard leaves."""

import asyncio
from itertools import pairwise

from perdure.base.slots import SlotRange, even_ranges
from perdure.store.contract import Home, ShardMap, ShardRow, Store
from perdure.testing.store_contract.suite import (
    StoreSuite,
    chain,
    checkpoint,
    fresh,
    offer_of,
    queue_of,
    timer_of,
)
from perdure.workflow.tasks import Offer, Timer


def _rows(count: int) -> list[ShardRow]:
    return [ShardRow(fresh(), slots, 1, None) for slots in even_ranges(count)]


class ReshapeContract(StoreSuite):
    """`ShardStore.reshape`, and what it leaves."""

    async def test_the_map_names_the_shards_in_order(self) -> None:
        async with self.opened(empty=True) as store:
            assert await store.shards.read_map() is None
            rows = _rows(3)
            await store.shards.initialise(rows[::-1])
            assert await store.shards.read_map() == ShardMap(0, tuple((row.slots.first, row.shard) for row in rows))

    async def test_a_reshape_names_the_new_shards_in_place_of_the_retired(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise(_rows(3))
            parts = _parts(rows[1], 3)
            assert await store.shards.reshape(0, [rows[1].shard], parts)
            assert await store.shards.list_shards() == [rows[0], *parts, rows[2]]
            named = await store.shards.read_map()
            assert named is not None
            assert named.version == 1
            assert [shard for _, shard in named.shards] == [row.shard for row in (rows[0], *parts, rows[2])]
            [whole] = _parts(rows[0], 1, slots=SlotRange(0, parts[1].slots.end))
            assert await store.shards.reshape(1, [rows[0].shard, parts[0].shard, parts[1].shard], [whole])
            assert await store.shards.list_shards() == [whole, parts[2], rows[2]]

    async def test_at_another_version_nothing_comes_of_it(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise(_rows(2))
            assert await store.shards.reshape(0, [], [])
            before = await store.shards.read_map()
            assert before == ShardMap(1, tuple((row.slots.first, row.shard) for row in rows))
            for version in (0, 2):
                assert not await store.shards.reshape(version, [rows[0].shard], _parts(rows[0], 2))
            assert await store.shards.read_map() == before
            assert await store.shards.list_shards() == rows

    async def test_a_store_without_a_map_is_not_reshaped(self) -> None:
        async with self.opened(empty=True) as store:
            assert not await store.shards.reshape(0, [], _rows(2))
            assert await store.shards.read_map() is None
            assert await store.shards.list_shards() == []

    async def test_a_reshape_that_is_repeated_after_it_was_done_is_refused(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise(_rows(1))
            parts = _parts(rows[0], 2)
            assert await store.shards.reshape(0, [rows[0].shard], parts)
            assert not await store.shards.reshape(0, [rows[0].shard], parts)
            assert await store.shards.list_shards() == parts

    async def test_of_many_reshapes_at_once_one_is_done(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise(_rows(2))
            wanted = [_parts(rows[at % 2], 2) for at in range(6)]
            calls = (store.shards.reshape(0, [rows[at % 2].shard], parts) for at, parts in enumerate(wanted))
            done = await asyncio.gather(*calls)
            assert sum(done) == 1
            at = done.index(True)
            kept = rows[1 - at % 2]
            assert await store.shards.list_shards() == sorted([*wanted[at], kept], key=lambda row: row.slots)
            names = {row.shard for row in (*wanted[at], kept)}
            assert names.isdisjoint(row.shard for row in await store.shards.list_unnamed())

    async def test_what_the_map_does_not_name_can_be_found_and_removed(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise(_rows(2))
            parts = _parts(rows[0], 2)
            await store.shards.reshape(0, [rows[0].shard], parts)
            left = await store.shards.list_unnamed()
            assert left in ([], [rows[0]])
            for row in left:
                assert not await store.shards.remove_shard(row.shard, row.version + 1)
                assert await store.shards.remove_shard(row.shard, row.version)
            assert await store.shards.list_unnamed() == []
            assert await store.shards.read_shard(rows[0].shard) is None
            assert not await store.shards.remove_shard(rows[0].shard, 0)
            assert not await store.shards.replace_shard(ShardRow(rows[0].shard, rows[0].slots, 9, None, version=1))
            assert await store.shards.list_shards() == [*parts, rows[1]]

    async def test_a_dropped_index_is_empty_where_it_is_kept_by_the_shard(self) -> None:
        async with self.opened() as store:
            key = chain()
            home, other = Home(fresh(), SlotRange()), Home(fresh(), SlotRange(key.slot, key.slot + 1))
            rows: list[Offer | Timer] = [offer_of(key, 5), timer_of(key, 7), timer_of(key, 8 * 3600 * 10**9)]
            await store.checkpoints.write(checkpoint(10, *rows, home=home))
            await store.checkpoints.write(checkpoint(11, offer_of(key, 6), home=other))
            await store.checkpoints.drop_index(home, 10)
            await store.checkpoints.drop_index(home, 10)
            offers = await store.checkpoints.read_offers(home, queue_of(key), None, 10)
            timers = await store.checkpoints.read_timers(home, None, 1_000)
            if store.checkpoints.index_by_slot:
                assert rows[0] in offers
                assert {rows[1], rows[2]} <= set(timers)
            else:
                assert (offers, timers) == ([], [])
                assert await store.checkpoints.count_offers(home) == []
            assert offer_of(key, 6) in await store.checkpoints.read_offers(other, queue_of(key), None, 10)

    async def test_a_home_of_some_slots_reads_at_least_the_rows_of_those(self) -> None:
        async with self.opened() as store:
            keys = [chain(f"w{number}") for number in range(8)]
            home = Home(fresh(), SlotRange())
            rows: list[Offer | Timer] = [
                row for at, key in enumerate(keys) for row in (offer_of(key, 5), timer_of(key, 60 + at))
            ]
            await store.checkpoints.write(checkpoint(10, *rows, home=home))
            for key in keys:
                part = Home(home.shard, SlotRange(key.slot, key.slot + 1))
                assert offer_of(key, 5) in await store.checkpoints.read_offers(part, queue_of(key), None, 10)
                own = {row for row in rows if row.key == key and isinstance(row, Timer)}
                assert own <= set(await _timers(store, part))


async def _timers(store: Store, home: Home) -> list[Timer]:
    found: list[Timer] = []
    while page := await store.checkpoints.read_timers(home, found[-1] if found else None, 100):
        found += page
    return found


def _parts(row: ShardRow, count: int, slots: SlotRange | None = None) -> list[ShardRow]:
    """Rows of fresh shards over the slots of `row`."""
    slots = slots or row.slots
    bounds = [slots.first + (slots.end - slots.first) * at // count for at in range(count + 1)]
    return [ShardRow(fresh(), SlotRange(*pair), 5, None, reshaping=0, after_us=7) for pair in pairwise(bounds)]
