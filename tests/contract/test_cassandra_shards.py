"""Shards come all at once, whoever else makes them and whatever is lost on the way; on a real node."""

import asyncio

import pytest

from perdure.base.slots import even_ranges
from perdure.store.contract import OutcomeUnknown, ShardRow
from perdure.testing.store_contract.suite import fresh
from tests.cassandra import cql
from tests.cassandra.fixtures import Keyspace
from tests.cassandra.proxy import Faults
from tests.contract.cassandra_stores import behind_a_proxy, opened, settled


def _rows(count: int) -> list[ShardRow]:
    return [ShardRow(fresh(), slots, 1, None) for slots in even_ranges(count)]


def _stored(keyspace: Keyspace) -> set[str]:
    contact = keyspace.contact
    return {
        str(row[0]) for row in cql.rows(contact.host, f"SELECT shard FROM {keyspace.name}.shard", port=contact.port)
    }


async def test_who_comes_second_leaves_no_rows(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        keyspace.empty()
        ours, theirs = _rows(3), _rows(5)
        stand = await asyncio.gather(store.shards.initialise(ours), store.shards.initialise(theirs))
        assert stand[0] == stand[1]
        assert stand[0] in (ours, theirs)
        assert _stored(keyspace) == {row.shard for row in stand[0]}


async def test_shards_whose_making_is_in_doubt_are_made_once(keyspace: Keyspace) -> None:
    async with behind_a_proxy(keyspace) as (store, proxy):
        keyspace.empty()
        rows = _rows(4)
        proxy.faults = Faults(dropped=0.4)
        stand = await settled(lambda: store.shards.initialise(rows))
        proxy.faults = Faults()
        assert stand == rows == await store.shards.list_shards()
        assert _stored(keyspace) == {row.shard for row in rows}


async def test_an_epoch_whose_drawing_is_in_doubt_is_seen_by_the_next_read(keyspace: Keyspace) -> None:
    async with behind_a_proxy(keyspace) as (store, proxy):
        keyspace.empty()
        [row] = await store.shards.initialise(_rows(1))
        drawn = ShardRow(row.shard, row.slots, 2, None, version=1)
        proxy.faults = Faults(dropped=1.0)
        with pytest.raises(OutcomeUnknown):
            await store.shards.replace_shard(drawn)
        proxy.faults = Faults()
        assert await store.shards.read_shard(row.shard) == drawn
