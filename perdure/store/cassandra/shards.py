"""Shards in Cassandra: a row each, and the one map that says which of them there are.

Invariant: the map is one cell, so that shards come, and can later be split, all at once or not at all. A shard's row is
written before the map names it; a row that the map does not name is of a process that came second, and means nothing.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from perdure.base.errors import Bug
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.statements import Statement, conditional, read, settled_read
from perdure.store.contract import ShardMap, ShardRow

# There is one map, under one key.
_MAP = "shards"
# Rows that are written at once while a store is new.
_TOGETHER_MAX = 64
# A walk over all rows, those that the map does not name too: from here, so many at a time.
_FIRST_TOKEN = -(1 << 63)
_PAGE = 200

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ShardRow)

_CREATE = conditional("INSERT INTO shard (shard, version, body) VALUES (?, ?, ?) IF NOT EXISTS")
_REPLACE = conditional("UPDATE shard SET version = ?, body = ? WHERE shard = ? IF version = ?")
_REMOVE = conditional("DELETE FROM shard WHERE shard = ? IF version = ?")
_READ_SETTLED = settled_read("SELECT body FROM shard WHERE shard = ?")
_READ = read("SELECT body FROM shard WHERE shard = ?")
_WALK = read("SELECT body, token(shard) FROM shard WHERE token(shard) > ? LIMIT ?")
_CREATE_MAP = conditional("INSERT INTO shard_map (map, version, shards) VALUES (?, 0, ?) IF NOT EXISTS")
_REPLACE_MAP = conditional("UPDATE shard_map SET version = ?, shards = ? WHERE map = ? IF version = ?")
_READ_MAP = read("SELECT version, shards FROM shard_map WHERE map = ?")
_READ_MAP_SETTLED = settled_read("SELECT version, shards FROM shard_map WHERE map = ?")


class CassandraShards:
    """`perdure.store.contract.ShardStore`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def list_shards(self) -> list[ShardRow]:
        names: Sequence[str] | None = None
        while True:
            before, names = names, [shard for _, shard in _entries(await self._session.run(_READ_MAP, (_MAP,)))]
            found = await self._session.all((_READ, (shard,)) for shard in names)
            missing = [shard for shard, rows in zip(names, found, strict=True) if not rows]
            if not missing:
                return [_decoder.decode(rows[0][0]) for rows in found]
            # A row goes only after the map has forgotten it.
            if names == before:
                raise Bug(f"The map names the shard {missing[0]}, which has no row.")

    async def initialise(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        standing = await self.list_shards()
        if standing:
            return standing
        # What an earlier attempt has written is not written again, so that attempts of limited time come to an end.
        found = await self._session.all((_READ, (row.shard,)) for row in rows)
        missing = [row for row, there in zip(rows, found, strict=True) if not there]
        await self._compare_all((_CREATE, (row.shard, row.version, _encoder.encode(row))) for row in missing)
        applied, _ = await self._session.compare(_CREATE_MAP, (_MAP, {row.slots.first: row.shard for row in rows}))
        if applied:
            return sorted(rows, key=lambda row: row.slots)
        standing = await self.list_shards()
        kept = {row.shard for row in standing}
        await self._compare_all((_REMOVE, (row.shard, row.version)) for row in rows if row.shard not in kept)
        return standing

    async def read_shard(self, shard: str) -> ShardRow | None:
        rows = await self._session.run(_READ_SETTLED, (shard,))
        return _decoder.decode(rows[0][0]) if rows else None

    async def replace_shard(self, row: ShardRow) -> bool:
        values = (row.version, _encoder.encode(row), row.shard, row.version - 1)
        applied, _ = await self._session.compare(_REPLACE, values)
        return applied

    async def read_map(self) -> ShardMap | None:
        rows = await self._session.run(_READ_MAP_SETTLED, (_MAP,))
        return ShardMap(rows[0][0], tuple(_entries(rows))) if rows else None

    async def reshape(self, at: int, retired: Sequence[str], created: Sequence[ShardRow]) -> bool:
        standing = await self.read_map()
        if standing is None or standing.version != at:
            return False
        await self._compare_all((_CREATE, (row.shard, row.version, _encoder.encode(row))) for row in created)
        shards = {first: shard for first, shard in standing.shards if shard not in retired}
        shards |= {row.slots.first: row.shard for row in created}
        applied, _ = await self._session.compare(_REPLACE_MAP, (at + 1, shards, _MAP, at))
        return applied

    async def list_unnamed(self) -> list[ShardRow]:
        # The rows first: of those that were there then, one that is not named later is not going to be, or not yet.
        rows: list[ShardRow] = []
        token, page = _FIRST_TOKEN, _PAGE
        while page == _PAGE:
            found = await self._session.run(_WALK, (token, _PAGE))
            rows += [_decoder.decode(row[0]) for row in found]
            token, page = found[-1][1] if found else token, len(found)
        names = {shard for _, shard in _entries(await self._session.run(_READ_MAP_SETTLED, (_MAP,)))}
        return [row for row in rows if row.shard not in names]

    async def remove_shard(self, shard: str, version: int) -> bool:
        applied, _ = await self._session.compare(_REMOVE, (shard, version))
        return applied

    async def _compare_all(self, work: Iterable[tuple[Statement, Sequence[object]]]) -> None:
        """Conditional writes of which each may be refused, some at a time. The first error, once all have ended."""
        room = asyncio.Semaphore(_TOGETHER_MAX)

        async def compare(statement: Statement, values: Sequence[object]) -> None:
            async with room:
                await self._session.compare(statement, values)

        calls = (compare(statement, values) for statement, values in work)
        for error in await asyncio.gather(*calls, return_exceptions=True):
            if error is not None:
                raise error


def _entries(rows: Rows) -> list[tuple[int, str]]:
    """The map's entries, by first slot."""
    return sorted(rows[0][1].items()) if rows else []
