"""Index rows of offers and timers: in order, by partition and by slot, paged; removals that hold."""

import itertools

from perdure.base.slots import SLOTS, ChainKey, SlotRange
from perdure.store.contract import Home, QueueCount, Store
from perdure.testing.store_contract.suite import (
    HOME,
    StoreSuite,
    chain,
    checkpoint,
    fresh,
    offer_of,
    queue_of,
    timer_of,
)
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer, TimerKind, partition_of


async def _offers(store: Store, queue: QueueKey, home: Home = HOME) -> list[Offer]:
    return await store.checkpoints.read_offers(home, queue, None, 1000)


async def _timers(store: Store, namespace_id: str, home: Home = HOME) -> list[Timer]:
    """All timers of a namespace, read in small pages."""
    found: list[Timer] = []
    after: Timer | None = None
    while page := await store.checkpoints.read_timers(home, after, 7):
        assert len(page) <= 7
        found += page
        after = page[-1]
    return [timer for timer in found if timer.key.namespace_id == namespace_id]


def _two_homes() -> tuple[tuple[ChainKey, Home], tuple[ChainKey, Home]]:
    """Keys of one namespace, the first in a lower slot than the second, with the homes of the shards they live in."""
    namespace_id = fresh()
    found = sorted((chain(f"w{n}", namespace_id) for n in range(20)), key=lambda key: key.slot)
    low, high = found[0], found[-1]
    return (low, Home(fresh(), SlotRange(0, high.slot))), (high, Home(fresh(), SlotRange(high.slot, SLOTS)))


class IndexContract(StoreSuite):
    """`Checkpoints`: offers and timers."""

    async def test_offers_are_read_in_order_and_whole(self) -> None:
        async with self.opened() as store:
            key = chain()
            queue = queue_of(key)
            ordered = [
                Offer(key, "run", queue, 9, 3, 2, 500, priority=1, fairness_key="f", fairness_weight=2.5),
                Offer(key, "a", queue, 5, 1, 0, 100, schedule_to_start_ns=77),
                Offer(key, "b", queue, 4, 9, 9, 100),
                Offer(key, "b", queue, 5, 1, 0, 100),
                Offer(key, "b", queue, 5, 1, 1, 100),
                Offer(key, "b", queue, 5, 2, 0, 100),
                Offer(key, "a", queue, 1, 1, 0, 101),
                Offer(key, "a", queue, 1, 1, 0, 50, priority=4),
            ]
            assert ordered == sorted(ordered, key=lambda offer: offer.order)
            await store.checkpoints.write(checkpoint(10, *ordered[::-1]))
            assert await _offers(store, queue) == ordered

    async def test_offers_are_paged_beyond_after(self) -> None:
        async with self.opened() as store:
            key = chain()
            offers = [offer_of(key, 100 + n) for n in range(10)]
            await store.checkpoints.write(checkpoint(10, *offers))
            first = await store.checkpoints.read_offers(HOME, queue_of(key), None, 4)
            assert first == offers[:4]
            rest = await store.checkpoints.read_offers(HOME, queue_of(key), first[-1], 100)
            assert rest == offers[4:]
            gone = offer_of(key, 104, event=1)
            assert await store.checkpoints.read_offers(HOME, queue_of(key), gone, 1) == [offers[4]]

    async def test_partitions_differ_by_namespace_name_kind_and_version(self) -> None:
        async with self.opened() as store:
            key = chain()
            queue = queue_of(key)
            others = [
                QueueKey(fresh(), queue.name, queue.kind),
                QueueKey(queue.namespace_id, "other", queue.kind),
                QueueKey(queue.namespace_id, queue.name, QueueKind.WORKFLOW),
                QueueKey(queue.namespace_id, queue.name, queue.kind, "build"),
            ]
            offers = [Offer(key, "run", each, 5, 1, 0, 100) for each in (queue, *others)]
            await store.checkpoints.write(checkpoint(10, *offers))
            for offer in offers:
                assert await _offers(store, offer.queue) == [offer]

    async def test_an_offer_with_a_sticky_queue_is_in_that_partition_only(self) -> None:
        async with self.opened() as store:
            offer = offer_of(chain(), 100, sticky="worker-1")
            await store.checkpoints.write(checkpoint(10, offer))
            assert await _offers(store, partition_of(offer)) == [offer]
            assert await _offers(store, offer.queue) == []

    async def test_offers_are_read_under_their_home_only(self) -> None:
        async with self.opened() as store:
            homes = _two_homes()
            offers = [offer_of(key, 100 + n) for n, (key, _) in enumerate(homes)]
            for offer, (_, home) in zip(offers, homes, strict=True):
                await store.checkpoints.write(checkpoint(10, offer, home=home))
            for offer, (_, home) in zip(offers, homes, strict=True):
                assert await _offers(store, offer.queue, home) == [offer]
            await store.checkpoints.write(checkpoint(20, removed=offers[:1], home=homes[0][1]))
            assert await _offers(store, offers[0].queue, homes[0][1]) == []
            assert await _offers(store, offers[1].queue, homes[1][1]) == offers[1:]

    async def test_counts_name_each_partition_its_rows_and_the_oldest(self) -> None:
        async with self.opened() as store:
            (low, home), (high, other) = _two_homes()
            sticky = offer_of(low, 70, sticky="worker")
            rows = [offer_of(low, 300, priority=1), offer_of(low, 200), sticky]
            await store.checkpoints.write(checkpoint(10, *rows, home=home))
            await store.checkpoints.write(checkpoint(10, offer_of(high, 100), home=other))
            queue = queue_of(low)
            assert await self._counts(store, low, home) == [
                QueueCount(queue, 2, 200),
                QueueCount(partition_of(sticky), 1, 70),
            ]
            assert await self._counts(store, low, other) == [QueueCount(queue, 1, 100)]
            await store.checkpoints.write(checkpoint(20, removed=rows, home=home))
            assert await self._counts(store, low, home) == []
            assert await self._counts(store, low, other) == [QueueCount(queue, 1, 100)]

    async def _counts(self, store: Store, key: ChainKey, home: Home) -> list[QueueCount]:
        counts = await store.checkpoints.count_offers(home)
        assert counts == sorted(counts, key=lambda count: count.queue)
        return [count for count in counts if count.queue.namespace_id == key.namespace_id]

    async def test_timers_are_read_in_order_and_whole(self) -> None:
        async with self.opened() as store:
            key = chain("a")
            later = chain("b", key.namespace_id)
            ordered = [
                Timer(50, later, "z", TimerKind.RETENTION, 9, 9, 9),
                Timer(100, key, "r1", TimerKind.USER, 5),
                Timer(100, key, "r1", TimerKind.ACTIVITY_RETRY, 4),
                Timer(100, key, "r1", TimerKind.ACTIVITY_RETRY, 5, 1, 0),
                Timer(100, key, "r1", TimerKind.ACTIVITY_RETRY, 5, 1, 1),
                Timer(100, key, "r1", TimerKind.ACTIVITY_RETRY, 5, 2, 0),
                Timer(100, key, "r2", TimerKind.USER, 5),
                Timer(100, later, "r1", TimerKind.USER, 5),
                Timer(1_800_000_000_000_000_000, key, "r1", TimerKind.USER, 5),
            ]
            await store.checkpoints.write(checkpoint(10, *ordered[::-1]))
            assert await _timers(store, key.namespace_id) == ordered

    async def test_a_timer_due_beyond_64_bits_comes_last_and_whole(self) -> None:
        async with self.opened() as store:
            key = chain()
            near, far = timer_of(key, (1 << 63) - 1, event=1), timer_of(key, 1 << 63, event=2)
            await store.checkpoints.write(checkpoint(10, far, near))
            assert await _timers(store, key.namespace_id) == [near, far]
            await store.checkpoints.write(checkpoint(20, removed=[far]))
            assert await _timers(store, key.namespace_id) == [near]

    async def test_timers_are_read_under_their_home_only(self) -> None:
        async with self.opened() as store:
            for key, home in _two_homes():
                timers = [timer_of(key, 90), timer_of(key, 100)]
                await store.checkpoints.write(checkpoint(10, *timers, home=home))
                assert await _timers(store, key.namespace_id, home) == timers

    async def test_removed_rows_are_gone_and_their_neighbours_stay(self) -> None:
        async with self.opened() as store:
            key = chain()
            offers = [offer_of(key, 100 + n) for n in range(3)]
            timers = [timer_of(key, 100 + n) for n in range(3)]
            await store.checkpoints.write(checkpoint(10, *offers, *timers))
            await store.checkpoints.write(checkpoint(20, removed=[offers[1], timers[1]]))
            assert await _offers(store, queue_of(key)) == [offers[0], offers[2]]
            assert await _timers(store, key.namespace_id) == [timers[0], timers[2]]

    async def test_the_highest_stamp_decides_between_adding_and_removing(self) -> None:
        async with self.opened() as store:
            for added_first, added, removed, stands in (
                (True, 10, 20, False),
                (False, 10, 20, False),
                (True, 20, 10, True),
                (False, 20, 10, True),
                (True, 10, 10, False),
                (False, 10, 10, False),
            ):
                key = chain()
                offer, timer = offer_of(key, 100), timer_of(key, 200)
                writes = [checkpoint(added, offer, timer), checkpoint(removed, removed=[offer, timer])]
                for write in writes if added_first else writes[::-1]:
                    await store.checkpoints.write(write)
                assert await _offers(store, queue_of(key)) == ([offer] if stands else [])
                assert await _timers(store, key.namespace_id) == ([timer] if stands else [])

    async def test_added_removed_and_added_again_stands_in_every_order_of_arrival(self) -> None:
        async with self.opened() as store:
            for order in itertools.permutations(range(3)):
                key = chain()
                offer, timer = offer_of(key, 100), timer_of(key, 200)
                writes = [
                    checkpoint(10, offer, timer),
                    checkpoint(20, removed=[offer, timer]),
                    checkpoint(30, offer, timer),
                ]
                for at in order:
                    await store.checkpoints.write(writes[at])
                assert await _offers(store, queue_of(key)) == [offer]
                assert await _timers(store, key.namespace_id) == [timer]

    async def test_what_one_checkpoint_both_removes_and_adds_stands_as_added(self) -> None:
        async with self.opened() as store:
            key = chain()
            old, new = offer_of(key, 100), Offer(key, "run", queue_of(key), 5, 1, 0, 100, fairness_key="changed")
            timer = timer_of(key, 200)
            await store.checkpoints.write(checkpoint(10, old, timer))
            await store.checkpoints.write(checkpoint(20, new, timer, removed=[old, timer]))
            assert await _offers(store, queue_of(key)) == [new]
            assert await _timers(store, key.namespace_id) == [timer]

    async def test_of_one_offer_row_the_highest_stamp_wins(self) -> None:
        async with self.opened() as store:
            key = chain()
            offers = {
                stamp: Offer(key, "run", queue_of(key), 5, 1, 0, 100, fairness_key=str(stamp)) for stamp in (10, 20, 30)
            }
            for stamp in (20, 30, 10):
                await store.checkpoints.write(checkpoint(stamp, offers[stamp]))
            assert await _offers(store, queue_of(key)) == [offers[30]]

    async def test_removing_what_was_never_added_is_fine(self) -> None:
        async with self.opened() as store:
            key = chain()
            await store.checkpoints.write(checkpoint(10, removed=[offer_of(key, 1), timer_of(key, 1)]))
            assert await _offers(store, queue_of(key)) == []
            assert await _timers(store, key.namespace_id) == []
