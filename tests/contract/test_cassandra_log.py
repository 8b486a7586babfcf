"""The rules of the shard log that a fact of Cassandra could break, each on a real node. Rules: docs/decisions, 0010."""

import asyncio
import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

import pytest

import perdure.store.cassandra
from perdure.base.clock import SystemClock
from perdure.base.entropy import SystemEntropy
from perdure.base.errors import StoreUnavailable
from perdure.base.framing import CorruptFrame
from perdure.base.slots import ChainKey, even_ranges
from perdure.shards.controller import Shards
from perdure.shards.options import ShardOptions
from perdure.store.cassandra import CassandraStore
from perdure.store.cassandra.log import FINAL_US, INLINE_BYTES_MAX, PIECE_BYTES, CassandraLog
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.statements import REGISTRY, Kind, Statement
from perdure.store.contract import GROUP_BYTES_MAX, Group, OutcomeUnknown, SegmentHeader, SegmentId, ShardRow, Written
from perdure.testing.store_contract.suite import fresh, new_segment
from tests.cassandra import cql
from tests.cassandra.fixtures import Keyspace
from tests.cassandra.proxy import Fate, Faults
from tests.contract.cassandra_stores import behind_a_proxy, opened, settled
from tests.unit.shards.fakes import AddingRole


def _plainly(keyspace: Keyspace, statement: str) -> list[tuple[object, ...]]:
    """A statement that the store never makes."""
    contact = keyspace.contact
    return cql.rows(contact.host, statement.replace("KS", keyspace.name), port=contact.port)


def _where(segment: SegmentId) -> str:
    return f"shard = '{segment.shard}' AND opened_epoch = {segment.epoch} AND number = {segment.number}"


# ---------------------------------------------------------------- L2, L3: one number, one group


_FAULTS = {
    Fate.LOST: Faults(lost=1.0),
    Fate.DROPPED: Faults(dropped=1.0),
    Fate.CUT: Faults(cut=1.0),
    Fate.DELAYED: Faults(delayed=1.0, delay_seconds=0.7),
}


@pytest.mark.parametrize("fate", _FAULTS)
async def test_an_append_in_doubt_is_settled_by_the_same_bytes(keyspace: Keyspace, fate: Fate) -> None:
    async with behind_a_proxy(keyspace) as (store, proxy):
        segment = await new_segment(store)
        groups = [Group(1, b"first", 11), Group(2, b"second", 12)]
        assert (await store.log.append(segment, 1, groups[0])).applied
        proxy.faults = _FAULTS[fate]
        with pytest.raises(OutcomeUnknown):
            await store.log.append(segment, 1, groups[1])
        assert proxy.met(fate, conditional=True) == 1, "the driver must repeat nothing by itself"
        proxy.faults = Faults()
        written = await settled(lambda: store.log.append(segment, 1, groups[1]))
        assert written == Written(fate is Fate.LOST, SegmentHeader(1, 2, 12))
        assert await store.log.read_groups(segment, 0, 10) == groups


async def test_the_header_is_read_after_a_write_in_doubt(keyspace: Keyspace) -> None:
    async with behind_a_proxy(keyspace) as (store, proxy):
        segment = await new_segment(store)
        proxy.faults = Faults(dropped=1.0)
        with pytest.raises(OutcomeUnknown):
            await store.log.append(segment, 1, Group(1, b"in doubt", 5))
        proxy.faults = Faults()
        assert await store.log.read_header(segment) == SegmentHeader(1, 1, 5)


async def test_a_late_attempt_of_a_group_changes_nothing(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        group = Group(1, b"group", 5)
        written = await asyncio.gather(*(store.log.append(segment, 1, group) for _ in range(5)))
        assert sorted(answer.applied for answer in written) == [False] * 4 + [True]
        assert {answer.header for answer in written} == {SegmentHeader(1, 1, 5)}
        assert (await store.log.append(segment, 1, Group(2, b"next", 6))).applied
        for late in (group, Group(1, b"with other bytes", 99)):
            assert await store.log.append(segment, 1, late) == Written(False, SegmentHeader(1, 2, 6))
        assert await store.log.read_groups(segment, 0, 10) == [group, Group(2, b"next", 6)]


# ---------------------------------------------------------------- L4: conditions, or stamps


def test_no_table_takes_both_conditional_and_plain_writes_but_for_the_drop_of_a_segment() -> None:
    for module in pkgutil.iter_modules(perdure.store.cassandra.__path__):
        importlib.import_module(f"perdure.store.cassandra.{module.name}")
    conditional = {statement.table for statement in REGISTRY if statement.kind is Kind.CONDITIONAL}
    plain = {
        statement.cql for statement in REGISTRY if statement.kind is Kind.STAMPED and statement.table in conditional
    }
    assert plain == {
        f"DELETE FROM log_segment USING TIMESTAMP {FINAL_US} WHERE shard = ? AND opened_epoch = ? AND number = ?"
    }
    assert {"log_segment", "shard", "shard_map", "host_lease", "document"} <= conditional


# ---------------------------------------------------------------- L5: what was dropped stays dropped


async def test_nothing_late_brings_a_dropped_segment_back(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        assert (await store.log.append(segment, 1, Group(1, b"group", 5))).applied
        await store.log.drop_segment(segment)
        absent = Written(False, None)
        assert await store.log.append(segment, 1, Group(1, b"group", 5)) == absent
        assert await store.log.append(segment, 1, Group(2, b"next", 6)) == absent
        assert await store.log.link(segment, 1, 1, SegmentId(segment.shard, 2, 0), 2) == absent
        # Cassandra says that a late opening is done; it lies below the drop, and nobody can use it.
        assert (await store.log.open_segment(segment, SegmentHeader(1, 0, 0))).applied
        assert await store.log.append(segment, 1, Group(1, b"group", 5)) == absent
        assert await store.log.read_header(segment) is None
        assert await store.log.read_groups(segment, 0, 10) == []


async def test_an_opening_in_doubt_that_was_dropped_first_is_never_there(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = SegmentId(fresh(), 1, 0)
        await store.log.drop_segment(segment)
        await store.log.open_segment(segment, SegmentHeader(1, 0, 0))
        assert await store.log.read_header(segment) is None
        assert not (await store.log.append(segment, 1, Group(1, b"group", 5))).applied


# ---------------------------------------------------------------- L1, M5: one end


async def test_of_sealers_at_once_one_has_the_end_and_the_others_see_it(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        group = Group(1, b"group", 5)
        assert (await store.log.append(segment, 1, group)).applied
        epochs = range(2, 6)
        written = await asyncio.gather(
            *(store.log.link(segment, 1, 1, SegmentId(segment.shard, epoch, 0), epoch) for epoch in epochs),
            store.log.append(segment, 1, group),
        )
        winners = [epoch for epoch, answer in zip(epochs, written, strict=False) if answer.applied]
        assert len(winners) == 1
        sealed = SegmentHeader(winners[0], 1, 5, SegmentId(segment.shard, winners[0], 0), 1)
        assert await store.log.read_header(segment) == sealed
        assert {answer.header for answer in written[:-1]} == {sealed}
        for slow in (1, *epochs):
            again = await store.log.link(segment, slow, 1, SegmentId(segment.shard, 9, 0), 9)
            assert again == Written(False, sealed)


async def test_a_seal_in_doubt_is_settled_by_the_same_seal(keyspace: Keyspace) -> None:
    async with behind_a_proxy(keyspace) as (store, proxy):
        segment = await new_segment(store)
        following = SegmentId(segment.shard, 2, 0)
        proxy.faults = Faults(dropped=1.0)
        with pytest.raises(OutcomeUnknown):
            await store.log.link(segment, 1, 0, following, 2)
        proxy.faults = Faults()
        written = await settled(lambda: store.log.link(segment, 1, 0, following, 2))
        assert written == Written(False, SegmentHeader(2, 0, 0, following, 0))


class _Unreadable(Session):
    """Writes are applied, nothing can be read."""

    def __init__(self) -> None:
        pass

    async def compare(self, statement: Statement, values: Sequence[object] = ()) -> tuple[bool, dict[str, Any] | None]:
        return True, None

    async def run(
        self,
        statement: Statement,
        values: Sequence[object] = (),
        *,
        page: bytes | None = None,
        fetch: int | None = None,
    ) -> Rows:
        raise StoreUnavailable("Nothing can be read.")


async def test_a_link_is_not_called_undone_because_its_header_could_not_be_read() -> None:
    segment = SegmentId(fresh(), 1, 0)
    with pytest.raises(OutcomeUnknown):
        await CassandraLog(_Unreadable()).link(segment, 1, 0, SegmentId(segment.shard, 1, 1), 1)


async def test_a_group_beyond_the_end_is_not_read(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        for n in (1, 2):
            assert (await store.log.append(segment, 1, Group(n, b"%d" % n, n))).applied
        assert (await store.log.link(segment, 1, 2, SegmentId(segment.shard, 2, 0), 2)).applied
        # What Cassandra may do with an accepted proposal once the state of its conditional writes has expired.
        _plainly(
            keyspace,
            "INSERT INTO KS.log_segment (shard, opened_epoch, number, n, group_ceiling_us, body)"
            f" VALUES ('{segment.shard}', {segment.epoch}, {segment.number}, 3, 3, 0x33)",
        )
        assert [group.n for group in await store.log.read_groups(segment, 0, 10)] == [1, 2]
        assert await store.log.read_groups(segment, 2, 10) == []


# ---------------------------------------------------------------- L12: large groups


def _pieces(keyspace: Keyspace, segment: SegmentId) -> list[tuple[object, ...]]:
    return _plainly(keyspace, f"SELECT n, digest, piece FROM KS.log_body WHERE {_where(segment)}")


async def test_bodies_of_every_size_are_read_as_they_were_written(keyspace: Keyspace) -> None:
    sizes = (INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES - 1, GROUP_BYTES_MAX)
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        groups = [Group(n, bytes([n]) * size, n) for n, size in enumerate(sizes, 1)]
        for group in groups:
            assert (await store.log.append(segment, 1, group)).applied
        assert await store.log.read_groups(segment, 0, 100) == groups
        assert await store.log.read_groups(segment, 2, 2) == groups[2:4]
        pieces = [row[0] for row in _pieces(keyspace, segment)]
        assert [pieces.count(n) for n in range(1, len(sizes) + 1)] == [0, 1, 1, 2, 5, 24]


async def test_many_groups_are_read_over_several_pages(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        groups = [Group(n, b"%d" % n, n) for n in range(1, 41)]
        for group in groups:
            assert (await store.log.append(segment, 1, group)).applied
        assert await store.log.read_groups(segment, 0, 100) == groups
        assert await store.log.read_groups(segment, 3, 20) == groups[3:23]


async def test_a_group_is_not_there_before_its_body_is(keyspace: Keyspace) -> None:
    async with behind_a_proxy(keyspace) as (store, proxy):
        segment = await new_segment(store)
        group = Group(1, bytes(INLINE_BYTES_MAX + 1), 5)
        proxy.faults = Faults(dropped=1.0, only_conditional=False)
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(store.log.append(segment, 1, group), 20)
        assert proxy.met(Fate.DROPPED, conditional=True) == 0
        proxy.faults = Faults()
        assert await store.log.read_header(segment) == SegmentHeader(1, 0, 0)
        assert (await settled(lambda: store.log.append(segment, 1, group))).applied
        assert await store.log.read_groups(segment, 0, 10) == [group]


async def test_a_refused_large_group_leaves_the_one_that_stands(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        group = Group(1, b"a" * (INLINE_BYTES_MAX + 1), 5)
        assert (await store.log.append(segment, 1, group)).applied
        other = Group(1, b"b" * (INLINE_BYTES_MAX + 1), 9)
        assert await store.log.append(segment, 1, other) == Written(False, SegmentHeader(1, 1, 5))
        assert await store.log.read_groups(segment, 0, 10) == [group]


async def test_a_dropped_segment_leaves_no_bodies(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        group = Group(1, bytes(INLINE_BYTES_MAX + 1), 5)
        assert (await store.log.append(segment, 1, group)).applied
        await store.log.drop_segment(segment)
        assert not (await store.log.append(segment, 1, group)).applied
        assert _pieces(keyspace, segment) == []


async def test_a_body_that_is_away_or_damaged_is_never_given_out(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        assert (await store.log.append(segment, 1, Group(1, bytes(PIECE_BYTES + 1), 5))).applied
        [(_, digest, _), _] = _pieces(keyspace, segment)
        assert isinstance(digest, bytes)
        last = f"{_where(segment)} AND n = 1 AND digest = 0x{digest.hex()} AND piece = 1"
        _plainly(keyspace, f"UPDATE KS.log_body SET body = 0xff WHERE {last}")
        with pytest.raises(CorruptFrame, match="group 1"):
            await store.log.read_groups(segment, 0, 10)
        _plainly(keyspace, f"DELETE FROM KS.log_body WHERE {last}")
        with pytest.raises(StoreUnavailable, match="524288 of them"):
            await store.log.read_groups(segment, 0, 10)


# ---------------------------------------------------------------- what a node forgets


async def test_a_statement_that_a_node_has_forgotten_is_prepared_anew_and_done_once(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        segment = await new_segment(store)
        for n in (1, 2):
            # A node forgets what was prepared for a table that has changed.
            _plainly(keyspace, f"ALTER TABLE KS.log_segment ADD extra_{n} int")
            assert await store.log.append(segment, 1, Group(n, b"%d" % n, n)) == Written(True, SegmentHeader(1, n, n))
        assert await store.log.read_groups(segment, 0, 10) == [Group(1, b"1", 1), Group(2, b"2", 2)]


# ---------------------------------------------------------------- orphans


async def test_a_walk_meets_segments_of_which_only_bodies_are_there(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        alone = SegmentId(fresh(), 3, 1)
        _plainly(
            keyspace,
            "INSERT INTO KS.log_body (shard, opened_epoch, number, n, digest, piece, body)"
            f" VALUES ('{alone.shard}', 3, 1, 7, 0x00, 0, 0xff) USING TIMESTAMP 1",
        )
        assert alone in await _met(store)
        await store.log.drop_segment(alone)
        assert alone not in await _met(store)


async def _met(store: CassandraStore) -> list[SegmentId]:
    """What a walk over the log meets; as many queries as the ring has slices, and a few."""
    met, place = await store.log.list_segments(b"", 100)
    pages = 1
    while place:
        found, place = await store.log.list_segments(place, 100)
        met += found
        pages += 1
    assert pages <= 32 + len(met) / 100
    return met


async def test_an_owner_drops_what_nothing_leads_to_and_keeps_its_log(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        role = AddingRole(store)
        options = ShardOptions(segment_bytes=1, sweep_interval_s=0.02, checkpoint_age_s=600.0)
        shards = Shards(store, role, SystemClock(), SystemEntropy(), options)
        own, others = (ShardRow(fresh(), slots, 0, None) for slots in even_ranges(2))
        await store.shards.initialise([own, others])
        shards.assign({own.shard}, 0)
        await shards.start()
        shard = shards.by_slot(0)
        large = Group(1, bytes(INLINE_BYTES_MAX + 1), 5)
        orphans = [SegmentId(shard.shard_id, shard.epoch - 1, number) for number in range(20, 23)]
        orphans.append(SegmentId(fresh(), 1, 0))  # of a shard that the map does not name
        for segment in orphans:
            await store.log.open_segment(segment, SegmentHeader(segment.epoch, 0, 0))
            await store.log.append(segment, segment.epoch, large)
        other = SegmentId(others.shard, 1, 0)
        await store.log.open_segment(other, SegmentHeader(1, 0, 0))
        name = ChainKey("ns", "wf")
        for value in range(5):
            await shard.durable(role.put(shard, name, value))
        async with asyncio.timeout(60):
            while set(orphans) & set(await _met(store)):
                pass
        chain = [stretch.segment for stretch in shard.log.segments]
        assert len(chain) == 5
        assert {*chain, other} <= set(await _met(store))
        for segment in orphans:
            await store.log.open_segment(segment, SegmentHeader(segment.epoch, 0, 0))  # late
            assert await store.log.read_header(segment) is None
            assert _pieces(keyspace, segment) == []
        await shards.stop()
