"""Shard rows and small documents in SQLite: both change by compare-and-set on a version, in the one writer."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.store.contract import Document, ShardMap, ShardRow
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.statements import CONDITIONAL, FINAL, READ
from perdure.store.sqlite.writer import Writer

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ShardRow)

# Where the map's version is, among the documents.
_MAP = ("shards", "map")


class SqliteShards:
    """`perdure.store.contract.ShardStore`. The rows are the map: reshaping is one transaction, in which those of
    retired shards go. The map's version is a document's, of a kind of its own.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def list_shards(self) -> list[ShardRow]:
        return await self._writer.run(_rows)

    async def initialise(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        values = [_values(row) for row in rows]

        def initialise(connection: sqlite3.Connection) -> list[ShardRow]:
            standing = _rows(connection)
            if standing:
                return standing
            connection.executemany(CONDITIONAL["initialise_shard"], values)
            return _rows(connection)

        return await self._writer.run(initialise)

    async def read_shard(self, shard: str) -> ShardRow | None:
        def read(connection: sqlite3.Connection) -> ShardRow | None:
            row = connection.execute(READ["shard"], (shard,)).fetchone()
            return None if row is None else _decoder.decode(row[0])

        return await self._writer.run(read)

    async def replace_shard(self, row: ShardRow) -> bool:
        values = _values(row)
        return await self._writer.run(
            lambda connection: connection.execute(CONDITIONAL["replace_shard"], values).rowcount == 1
        )

    async def read_map(self) -> ShardMap | None:
        def read(connection: sqlite3.Connection) -> ShardMap | None:
            rows = _rows(connection)
            if not rows:
                return None
            return ShardMap(_map_version(connection), tuple((row.slots.first, row.shard) for row in rows))

        return await self._writer.run(read)

    async def reshape(self, at: int, retired: Sequence[str], created: Sequence[ShardRow]) -> bool:
        values = [_values(row) for row in created]
        document = {"kind": _MAP[0], "key": _MAP[1], "version": at + 1, "body": b""}

        def reshape(connection: sqlite3.Connection) -> bool:
            if _map_version(connection) != at or not _rows(connection):
                return False
            found = connection.execute(READ["document"], _MAP).fetchone()
            connection.execute(CONDITIONAL["create_document" if found is None else "replace_document"], document)
            connection.executemany(FINAL["drop_shard"], [(shard,) for shard in retired])
            connection.executemany(CONDITIONAL["initialise_shard"], values)
            return True

        return await self._writer.run(reshape)

    async def list_unnamed(self) -> list[ShardRow]:
        return []

    async def remove_shard(self, shard: str, version: int) -> bool:
        return False


def _map_version(connection: sqlite3.Connection) -> int:
    """0 until something was reshaped."""
    found = connection.execute(READ["document"], _MAP).fetchone()
    return 0 if found is None else Document(*found).version


def _values(row: ShardRow) -> dict[str, Any]:
    return {
        "shard": row.shard,
        "first_slot": row.slots.first,
        "version": row.version,
        "body": _encoder.encode(row),
    }


def _rows(connection: sqlite3.Connection) -> list[ShardRow]:
    return [_decoder.decode(body) for (body,) in connection.execute(READ["shards"])]


class SqliteDocuments:
    """`perdure.store.contract.Documents`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read_document(self, kind: str, key: str) -> Document | None:
        def read(connection: sqlite3.Connection) -> Document | None:
            row = connection.execute(READ["document"], (kind, key)).fetchone()
            return None if row is None else Document(*row)

        return await self._readers.run(read)

    async def list_documents(self, kind: str) -> list[Document]:
        return await self._readers.run(
            lambda connection: [Document(*row) for row in connection.execute(READ["documents"], (kind,))]
        )

    async def replace_document(self, document: Document) -> bool:
        values = {
            "kind": document.kind,
            "key": document.key,
            "version": document.version,
            "body": document.body,
        }
        statement = CONDITIONAL["replace_document" if document.version else "create_document"]
        return await self._writer.run(
            lambda connection: connection.execute(statement, values).rowcount == 1, len(document.body)
        )
