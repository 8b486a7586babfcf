"""The overlays against a plain set, with checkpoints in any order in between."""

from collections.abc import Sequence

import msgspec
import pytest

from perdure.base.slots import SlotRange
from perdure.shards.homes import Homes
from perdure.shards.index import OfferIndex
from perdure.shards.timers import NEVER_NS, TimerIndex
from perdure.store.contract import Checkpoint, Home
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import VirtualClock, running_loop
from perdure.workflow.tasks import EVERY_LANE, Offer, Timer, lane_key, lane_of
from tests.unit.shards.fakes import QUEUE, offer, timer, virtual

ALL = Home("shard", SlotRange())


Offers = tuple[list[Offer], list[Offer]]
Timers = tuple[list[Timer], list[Timer]]


def rows(stamp: int, *, offers: Offers = ([], []), timers: Timers = ([], [])) -> Checkpoint:
    return Checkpoint(stamp, ALL, [], [], [], [], offers[0], offers[1], timers[0], timers[1])


class Bench:
    """Indexes over a memory store, the set that they should equal, and what the store is known to hold."""

    def __init__(self, seed: int) -> None:
        self.checkpoints = MemoryCheckpoints(VirtualClock(running_loop()))
        self.offers = OfferIndex(Homes(self.checkpoints, ALL), 1)
        self.timers = TimerIndex(Homes(self.checkpoints, ALL), page=3)
        self.chance = SeededEntropy(seed)
        self.stamp = 0
        self.wanted_offers: set[Offer] = set()
        self.wanted_timers: set[Timer] = set()
        self.stored: tuple[set[Offer], set[Timer]] = (set(), set())

    def change(self) -> None:
        number = self.chance.below(40)
        one = offer(number, time_ns=1 + number % 7, priority=1 + number % 5)
        other = timer(number % 11, number=number)
        if one in self.wanted_offers:
            self.wanted_offers.discard(one)
            self.offers.remove(one)
        else:
            self.wanted_offers.add(one)
            self.offers.add(one)
        if other in self.wanted_timers:
            self.wanted_timers.discard(other)
            self.timers.remove(other)
        else:
            self.wanted_timers.add(other)
            self.timers.add(other)

    async def checkpoint(self) -> None:
        """The role's rows as of now; some changes happen while they are written."""
        wanted = (set(self.wanted_offers), set(self.wanted_timers))
        added = sorted(wanted[0] - self.stored[0], key=repr), sorted(wanted[1] - self.stored[1], key=repr)
        removed = sorted(self.stored[0] - wanted[0], key=repr), sorted(self.stored[1] - wanted[1], key=repr)
        self.stored = wanted
        self.offers.begin(added[0], removed[0])
        self.timers.begin(added[1], removed[1])
        for _ in range(self.chance.below(3)):
            self.change()
        self.stamp += 1
        await self.checkpoints.write(rows(self.stamp, offers=(added[0], removed[0]), timers=(added[1], removed[1])))
        for _ in range(self.chance.below(3)):
            self.change()
        self.offers.written(added[0], removed[0])
        self.timers.written(added[1], removed[1])

    async def write(self, added: Sequence[Offer] = (), removed: Sequence[Offer] = ()) -> None:
        """A checkpoint of these offers."""
        self.offers.begin(added, removed)
        self.stamp += 1
        await self.checkpoints.write(rows(self.stamp, offers=(list(added), list(removed))))
        self.offers.written(added, removed)

    async def listed(self, limit: int) -> list[Offer]:
        found: list[Offer] = []
        while True:
            page, _ = await self.offers.page(QUEUE, found[-1] if found else None, limit)
            if not page:
                return found
            found += page


def test_each_lane_is_a_partition_and_who_looks_sees_them_all() -> None:
    async def work() -> None:
        bench = Bench(1)
        lanes = [lane_key(QUEUE, lane_of(key)) for key in ("", "a", "b")]
        offers = [msgspec.structs.replace(offer(n, time_ns=1 + n), queue=lanes[n % 3]) for n in range(12)]
        for one in offers:
            bench.offers.add(one)
        await bench.write(added=offers[:7])
        for one in offers[3:5]:
            bench.offers.remove(one)
        outstanding = offers[:3] + offers[5:]
        for lane in lanes:
            page, backlog = await bench.offers.page(lane, None, 10)
            assert page == [one for one in outstanding if one.queue == lane]
            assert (backlog.count, backlog.oldest_ns) == (len(page), page[0].scheduled_time_ns)
        page, backlog = await bench.offers.page(lane_key(QUEUE, EVERY_LANE), None, 8)
        assert page == outstanding[:8]
        assert (backlog.count, backlog.oldest_ns) == (10, 1)
        rest, _ = await bench.offers.page(lane_key(QUEUE, EVERY_LANE), page[-1], 8)
        assert rest == outstanding[8:]

    virtual(work())


@pytest.mark.parametrize("seed", range(20))
def test_pages_are_what_is_outstanding_in_order(seed: int) -> None:
    async def work() -> None:
        bench = Bench(seed)
        for turn in range(60):
            bench.change()
            if bench.chance.below(4) == 0:
                await bench.checkpoint()
            found = await bench.listed(1 + turn % 5)
            assert found == sorted(bench.wanted_offers, key=lambda one: one.order)
            assert bench.offers.backlog(QUEUE).count == len(bench.wanted_offers)
            oldest = min((one.scheduled_time_ns for one in bench.wanted_offers), default=0)
            assert bench.offers.backlog(QUEUE).oldest_ns <= oldest

    virtual(work())


@pytest.mark.parametrize("seed", range(20))
def test_timers_become_due_once_and_in_time(seed: int) -> None:
    async def work() -> None:
        bench = Bench(seed)
        for _ in range(60):
            bench.change()
            if bench.chance.below(4) == 0:
                await bench.checkpoint()
        for until in range(1, 12):
            if bench.timers.far_ns <= until:
                await bench.timers.extend(until, 4)
            while bench.timers.far_ns <= until:
                await bench.timers.extend(until, 4)
            due = [one for one in bench.timers.due(until) if bench.timers.is_armed(one)]
            assert set(due) == {one for one in bench.wanted_timers if one.due_ns <= until}
            for one in due:
                bench.wanted_timers.discard(one)
                bench.timers.remove(one)
        assert bench.timers.next_ns() == NEVER_NS

    virtual(work())


def test_what_a_restart_finds_in_the_store_is_counted_once() -> None:
    async def work() -> None:
        bench = Bench(1)
        await bench.checkpoints.write(rows(1, offers=([offer(1), offer(2)], [])))
        await bench.offers.count()
        bench.offers.recover([offer(2), offer(3)])
        assert bench.offers.is_uncertain
        assert (await bench.listed(10)) == [offer(1), offer(2), offer(3)]
        bench.offers.begin([offer(2), offer(3)], [])
        await bench.checkpoints.write(rows(2, offers=([offer(2), offer(3)], [])))
        bench.offers.written([offer(2), offer(3)], [])
        await bench.offers.count()
        assert bench.offers.backlog(QUEUE).count == 3
        assert not bench.offers.is_uncertain

    virtual(work())


def test_the_oldest_is_found_in_any_priority() -> None:
    async def work() -> None:
        bench = Bench(1)
        bench.offers.add(offer(1, time_ns=50, priority=1))
        bench.offers.add(offer(2, time_ns=20, priority=4))
        bench.offers.add(offer(3, time_ns=30, priority=4))
        assert bench.offers.backlog(QUEUE).oldest_ns == 20

    virtual(work())


def test_an_offer_that_a_checkpoint_moves_while_a_page_is_read_is_not_missed() -> None:
    async def work() -> None:
        bench = Bench(1)
        await bench.checkpoints.write(rows(1, offers=([offer(1)], [])))
        await bench.offers.count()
        bench.offers.add(offer(2))
        read = bench.checkpoints.read_offers

        async def read_and_move(*args: object) -> list[Offer]:
            found = await read(*args)  # type: ignore[arg-type]  # passes on what it was called with
            if bench.offers.is_fresh(offer(2)):
                bench.offers.begin([offer(2)], [])
                await bench.checkpoints.write(rows(2, offers=([offer(2)], [])))
                bench.offers.written([offer(2)], [])
            return found

        bench.checkpoints.read_offers = read_and_move  # type: ignore[method-assign, assignment]  # a read with something in between
        assert (await bench.listed(10)) == [offer(1), offer(2)]

    virtual(work())


def test_more_timers_at_one_instant_than_are_loaded_at_once() -> None:
    async def work() -> None:
        bench = Bench(1)
        timers = [timer(5, number=number) for number in range(20)]
        await bench.checkpoints.write(rows(1, timers=(timers, [])))
        found: list[Timer] = []
        bench.timers.far_ns = 0
        while bench.timers.far_ns <= 10:
            await bench.timers.extend(10, 6)
            assert bench.timers.armed <= 9
            for one in bench.timers.due(10):
                found.append(one)
                bench.timers.remove(one)
        assert sorted(found, key=lambda one: one.event_id) == timers

    virtual(work())


def test_a_timer_is_held_by_its_row_until_the_rows_up_to_the_bound_were_read() -> None:
    async def work() -> None:
        bench = Bench(1)
        await bench.checkpoints.write(rows(1, timers=([timer(5)], [])))
        read = bench.checkpoints.read_timers
        held: list[bool] = []

        async def ask_and_read(*args: object) -> list[Timer]:
            if not held:
                held.append(True)
                held.append(await bench.timers.holds(timer(5)))
            return await read(*args)  # type: ignore[arg-type]  # passes on what it was called with

        bench.checkpoints.read_timers = ask_and_read  # type: ignore[method-assign, assignment]  # a question in between
        await bench.timers.extend(10, 100)
        assert held == [True, True]
        assert await bench.timers.holds(timer(5))
        bench.timers.remove(timer(5))
        assert not await bench.timers.holds(timer(5))

    virtual(work())


def test_an_offer_that_never_had_a_row_takes_none_away_with_it() -> None:
    async def work() -> None:
        bench = Bench(0)
        one, two = offer(1, time_ns=1), offer(2, time_ns=2)
        await bench.offers.count()
        bench.offers.recover([one, two])
        await bench.write(added=[one])
        assert bench.offers.is_uncertain
        await bench.offers.count()
        bench.offers.remove(two)
        assert bench.offers.partitions() == [QUEUE]
        await bench.write(removed=[two])
        if bench.offers.is_uncertain:
            await bench.offers.count()
        assert bench.offers.partitions() == [QUEUE]
        assert bench.offers.backlog(QUEUE).count == 1
        assert await bench.listed(10) == [one]

    virtual(work())
