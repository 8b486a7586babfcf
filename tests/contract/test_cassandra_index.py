"""Offers and timers on a real node: what is dropped when, what a former owner's late writes do, and how many deletions
a read goes over.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perdure.base.clock import SystemClock
from perdure.base.slots import ChainKey, SlotRange
from perdure.store.cassandra import CassandraOptions, CassandraStore
from perdure.store.cassandra.buckets import FIRST_LOOK_US
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.statements import Statement
from perdure.store.cassandra.tables import OFFERS, TIMERS
from perdure.store.contract import Checkpoint, Home, Node, QueueCount, Snapshot
from perdure.testing.store_contract.suite import checkpoint, fresh
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer, TimerKind
from tests.cassandra import cql
from tests.cassandra.fixtures import Keyspace

MINUTE_NS = 60_000_000_000
QUEUE = QueueKey("namespace", "queue", QueueKind.ACTIVITY)
Task = Offer | Timer


@asynccontextmanager
async def opened(keyspace: Keyspace) -> AsyncIterator[CassandraStore]:
    contact = keyspace.contact
    options = CassandraOptions(
        contact_points=(contact.host,),
        port=contact.port,
        keyspace=keyspace.name,
        conditional_timeout_s=10.0,
        request_timeout_s=20.0,
    )
    store = await CassandraStore.open(options, clock=SystemClock(), dev=True)
    try:
        yield store
    finally:
        await store.close()


def home() -> Home:
    return Home(fresh(), SlotRange())


def offers(count: int, minute: int = 0) -> list[Offer]:
    key = ChainKey("namespace", "w")
    return [Offer(key, f"run {n}", QUEUE, 5, 1, 0, minute * MINUTE_NS + n) for n in range(count)]


def timers(count: int, minute: int = 0) -> list[Timer]:
    key = ChainKey("namespace", "w")
    return [Timer(minute * MINUTE_NS + n, key, f"run {n}", TimerKind.USER, 5) for n in range(count)]


def both(count: int, minute: int = 0) -> list[Task]:
    return [*offers(count, minute), *timers(count, minute)]


async def write(
    store: CassandraStore, at: Home, stamp_us: int, added: Sequence[Task] = (), removed: Sequence[Task] = ()
) -> Checkpoint:
    written = checkpoint(stamp_us, *added, removed=removed, home=at)
    await store.checkpoints.write(written)
    return written


def rows(keyspace: Keyspace, table: str, at: Home) -> int:
    """How many rows of a table a home has, whatever the store thinks."""
    contact = keyspace.contact
    text = f"SELECT count(*) FROM {keyspace.name}.{table} WHERE shard = '{at.shard}' ALLOW FILTERING"
    return int(str(cql.rows(contact.host, text, port=contact.port)[0][0]))


async def read_all(store: CassandraStore, at: Home) -> list[Task]:
    found: list[Task] = []
    found += await store.checkpoints.read_offers(at, QUEUE, None, 10_000)
    found += await store.checkpoints.read_timers(at, None, 10_000)
    return found


async def test_a_minute_that_has_nothing_left_is_dropped_with_its_directory_row(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        at = home()
        gone = both(5)
        stay = both(1, minute=3)
        await write(store, at, 10, [*gone, *stay])
        assert rows(keyspace, "offer_bucket", at) == rows(keyspace, "timer_bucket", at) == 2
        await write(store, at, 20, removed=gone)
        await write(store, at, 20 + FIRST_LOOK_US - 1)
        assert rows(keyspace, "offer_bucket", at) == rows(keyspace, "timer_bucket", at) == 2
        await write(store, at, 20 + FIRST_LOOK_US)
        assert rows(keyspace, "offer_bucket", at) == rows(keyspace, "timer_bucket", at) == 1
        assert await read_all(store, at) == stay
        await write(store, at, 21 + FIRST_LOOK_US, gone)
        assert rows(keyspace, "offer_bucket", at) == rows(keyspace, "timer_bucket", at) == 2
        assert sorted(map(repr, await read_all(store, at))) == sorted(map(repr, [*gone, *stay]))


async def test_a_minute_that_the_checkpoint_adds_to_is_not_dropped(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        at = home()
        gone = both(5)
        await write(store, at, 10, gone)
        await write(store, at, 20, removed=gone)
        await write(store, at, 20 + FIRST_LOOK_US, gone[:1])
        assert await read_all(store, at) == gone[:1]


async def test_a_former_owners_late_drop_hides_nothing_that_was_added_since(keyspace: Keyspace) -> None:
    async with opened(keyspace) as former, opened(keyspace) as present:
        at = home()
        gone = both(5)
        await write(former, at, 10, gone)
        await write(former, at, 20, removed=gone)
        dropping = 20 + FIRST_LOOK_US
        # The present owner's stamps are higher, and it is done before the former owner's drop arrives.
        present.checkpoints.adopt(at)
        assert await present.checkpoints.count_offers(at) == []
        added = both(2)
        former_index = former.checkpoints._index.begin(checkpoint(dropping, home=at))
        await former_index.find_empty()
        await write(present, at, dropping + 1, added)
        await former.checkpoints._session.all(former_index.statements())
        former_index.end(is_durable=True)
        assert await read_all(present, at) == added
        async with opened(keyspace) as another:
            assert await another.checkpoints.count_offers(at) == [QueueCount(QUEUE, 2, 0)]
            assert await read_all(another, at) == added


async def test_a_shard_that_moves_away_and_back_is_read_as_its_other_owner_left_it(keyspace: Keyspace) -> None:
    async with opened(keyspace) as here, opened(keyspace) as there:
        at = home()
        first = both(3)
        await write(here, at, 10, first)
        assert await read_all(here, at) == first
        there.checkpoints.adopt(at)
        await write(there, at, 20, both(1, minute=2), removed=first)
        await write(there, at, 20 + FIRST_LOOK_US)
        left: list[Task] = both(1, minute=2)
        assert rows(keyspace, "offer_bucket", at) == 1
        here.checkpoints.adopt(at)
        # Whatever comes first: neither counts on the other.
        timers, counts = await asyncio.gather(
            here.checkpoints.read_timers(at, None, 10), here.checkpoints.count_offers(at)
        )
        assert timers == [task for task in left if isinstance(task, Timer)]
        assert counts == [QueueCount(QUEUE, 1, 2 * MINUTE_NS)]
        assert await read_all(here, at) == left
        # What it adds to a minute that it had entered long ago, and the other has dropped, is found by the next owner.
        await write(here, at, 30 + FIRST_LOOK_US, first[:1])
        there.checkpoints.adopt(at)
        assert [count.count for count in await there.checkpoints.count_offers(at)] == [2]
        assert await read_all(there, at) == [first[0], *left]


async def test_what_a_count_finds_empty_is_dropped_later(keyspace: Keyspace) -> None:
    async with opened(keyspace) as former, opened(keyspace) as present:
        at = home()
        await write(former, at, 10, offers(3))
        await write(former, at, 20, removed=offers(3))
        assert await present.checkpoints.count_offers(at) == []
        await write(present, at, 30)
        assert rows(keyspace, "offer_bucket", at) == 1
        await write(present, at, 30 + FIRST_LOOK_US)
        assert rows(keyspace, "offer_bucket", at) == 0


async def test_pages_run_on_over_minutes_priorities_and_what_is_gone(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        at = home()
        key = ChainKey("namespace", "w")
        backlog = [
            Offer(key, f"run {n % 7}", QUEUE, 5, 1, n, n % 40 * MINUTE_NS // 4, priority=1 + n % 3) for n in range(300)
        ]
        await write(store, at, 10, backlog)
        await write(store, at, 20, removed=backlog[::4])
        left = sorted((offer for n, offer in enumerate(backlog) if n % 4), key=lambda offer: offer.order)
        for limit in (1, 7, 1_000):
            found: list[Offer] = []
            while page := await store.checkpoints.read_offers(at, QUEUE, found[-1] if found else None, limit):
                assert len(page) == limit or len(found) + len(page) == len(left)
                found += page
            assert found == left


@pytest.mark.parametrize("table", ["offer", "timer"])
async def test_reads_do_not_go_over_what_has_come_and_gone(
    keyspace: Keyspace, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Statement, Sequence[object]]] = []

    async def noting(self: Session, statement: Statement, values: Sequence[object] = (), **rest: Any) -> Rows:
        asked.append((statement, values))
        return await run(self, statement, values, **rest)

    run = Session.run
    async with opened(keyspace) as store:
        at = home()
        every: Sequence[Task] = offers(1_000) if table == "offer" else timers(1_000)
        await write(store, at, 10, every)
        await write(store, at, 20, removed=every[:-1])
        monkeypatch.setattr(Session, "run", noting)
        assert await read_all(store, at) == every[-1:]
        # Who knows nothing yet goes over all of them, once.
        assert passed(keyspace, [read for read in asked if read[0].table == table]) == [999]
        asked.clear()
        assert await read_all(store, at) == every[-1:]
        assert passed(keyspace, [read for read in asked if read[0].table == table]) == [0]
        await write(store, at, 30, removed=every[-1:])
        assert await read_all(store, at) == []
        asked.clear()
        assert await read_all(store, at) == []
        assert asked == []
        await write(store, at, 30 + FIRST_LOOK_US)
        assert rows(keyspace, f"{table}_bucket", at) == 0


async def test_a_next_owner_does_not_go_over_all_that_a_busy_minute_has_seen(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        at = home()
        every = offers(3_000)
        await write(store, at, 10, every)
        for n in range(0, 2_900, 100):
            await write(store, at, 20 + n, removed=every[n : n + 100])
        over = passed(keyspace, [OFFERS.count(at.shard, OFFERS.bucket(every[0]))])
        assert 0 < over[0] < 800
        assert await read_all(store, at) == every[2_900:]


async def test_the_directory_is_read_without_going_over_the_minutes_that_were_dropped(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        at = home()
        every = [task for minute in range(100) for task in both(1, minute)]
        await write(store, at, 10, every)
        assert await read_all(store, at) == [*every[::2], *every[1::2]]
        await write(store, at, 20, removed=every[:-2])
        for n in range(5):
            await write(store, at, 20 + FIRST_LOOK_US + n)
        assert rows(keyspace, "offer_bucket", at) == rows(keyspace, "timer_bucket", at) == 1
        over = passed(keyspace, [OFFERS.read_scopes(at.shard), TIMERS.read_places(at.shard, (), None, 1_000)])
        assert max(over) <= 2
        assert await store.checkpoints.count_offers(at) == [QueueCount(QUEUE, 1, 99 * MINUTE_NS)]
        assert await read_all(store, at) == every[-2:]


def passed(keyspace: Keyspace, reads: Sequence[tuple[Statement, Sequence[object]]]) -> list[int]:
    """How many deletions each of these reads goes over, by Cassandra's own tracing."""
    found = []
    with cql.session(keyspace.contact.host, keyspace.contact.port) as session:
        session.set_keyspace(keyspace.name)
        for statement, values in reads:
            trace = session.execute(session.prepare(statement.cql), values, trace=True).get_query_trace(30)
            told = " ".join(event.description for event in trace.events)
            found += [int(number) for number in re.findall(r"live rows? and (\d+) tombstone", told)]
    return found


async def test_a_checkpoint_of_many_rows_goes_in_few_statements_and_some_bytes_at_a_time(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[list[tuple[Statement, Sequence[object]]]] = []

    async def noting(self: Session, work: Iterable[tuple[Statement, Sequence[object]]]) -> list[Rows]:
        together.append(list(work))
        return await send(self, together[-1])

    send = Session.all
    async with opened(keyspace) as store:
        monkeypatch.setattr(Session, "all", noting)
        at, branch = home(), fresh()
        nodes = [Node(branch, n, n + 1, bytes([n % 251]) * 60_000) for n in range(1, 200)]
        small = [Node(fresh(), 1, 2, b"n") for _ in range(7)]
        snapshots = [Snapshot(ChainKey(fresh(), "w"), "run", 1, b"s" * 100_000) for _ in range(60)]
        await store.checkpoints.write(checkpoint(10, *nodes, *small, *snapshots, *timers(512), home=at))
        sizes = [sum(len(v) for _, values in round_ for v in values if isinstance(v, bytes)) for round_ in together]
        assert max(sizes) < 4_500_000 < sum(sizes)
        tables = Counter(statement.table for round_ in together for statement, _ in round_)
        assert tables == {"node": 100 + 7, "snapshot": 60, "timer": 32, "timer_bucket": 1}
        read = await store.checkpoints.read_nodes(branch, 1, 300, 3_000_000)
        assert read == nodes[: len(read)]
        assert 3_000_000 < sum(len(node.body) for node in read) <= 3_060_000
        assert await store.checkpoints.read_nodes_back(branch, 100, 300, 1 << 30) == nodes[:98:-1]
