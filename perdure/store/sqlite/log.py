"""Log segments in SQLite. Writes and the serial read of a header are jobs of the one writer, so each sees all before
it.
"""

import sqlite3
from typing import Any

import msgspec

from perdure.base.errors import StoreUnavailable
from perdure.store.contract import GROUP_BYTES_MAX, Group, SegmentHeader, SegmentId, Written
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.statements import CONDITIONAL, FINAL, READ
from perdure.store.sqlite.writer import Writer

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SegmentId)


class SqliteLog:
    """`perdure.store.contract.LogStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Written:
        values = _key(segment) | {
            "epoch": header.epoch,
            "last": header.last,
            "ceiling_us": header.ceiling_us,
            "next": None if header.next is None else _encoder.encode(header.next),
            "end_n": header.end,
        }

        def open_segment(connection: sqlite3.Connection) -> Written:
            if connection.execute(CONDITIONAL["open_segment"], values).rowcount == 1:
                return Written(True, header)
            return Written(False, _header(connection, values))

        return await self._writer.run(open_segment)

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        if len(group.body) > GROUP_BYTES_MAX:
            raise StoreUnavailable(f"A group of {len(group.body)} bytes is over the limit of {GROUP_BYTES_MAX}.")
        values = _key(segment) | {
            "epoch": epoch,
            "last": group.n - 1,
            "n": group.n,
            "ceiling_us": group.ceiling_us,
            "body": group.body,
        }

        def append(connection: sqlite3.Connection) -> Written:
            if connection.execute(CONDITIONAL["append_group"], values).rowcount != 1:
                return Written(False, _header(connection, values))
            connection.execute(CONDITIONAL["append_header"], values)
            return Written(True, SegmentHeader(epoch, group.n, group.ceiling_us))

        return await self._writer.run(append, len(group.body))

    async def link(self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int) -> Written:
        values = _key(segment) | {
            "epoch": epoch,
            "last": last,
            "next": _encoder.encode(following),
            "new_epoch": new_epoch,
        }

        def link(connection: sqlite3.Connection) -> Written:
            applied = connection.execute(CONDITIONAL["link"], values).rowcount == 1
            return Written(applied, _header(connection, values))

        return await self._writer.run(link)

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        values = _key(segment)
        return await self._writer.run(lambda connection: _header(connection, values))

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        values = _key(segment) | {"after": after, "limit": limit}

        def read(connection: sqlite3.Connection) -> list[Group]:
            rows = connection.execute(READ["groups"], values)
            return [Group(n, body, ceiling_us) for n, body, ceiling_us in rows]

        return await self._readers.run(read)

    async def drop_segment(self, segment: SegmentId) -> None:
        values = _key(segment)

        def drop(connection: sqlite3.Connection) -> None:
            connection.execute(FINAL["drop_header"], values)
            connection.execute(FINAL["drop_groups"], values)

        await self._writer.run(drop)

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        # Groups have a header beside them: both are dropped in one transaction.
        name = "segments" if place else "segments_from_start"
        values = (_key(_decoder.decode(place)) if place else {}) | {"limit": limit}

        def read(connection: sqlite3.Connection) -> list[SegmentId]:
            return [SegmentId(*row) for row in connection.execute(READ[name], values)]

        found = await self._readers.run(read)
        return found, _encoder.encode(found[-1]) if len(found) == limit else b""


def _key(segment: SegmentId) -> dict[str, Any]:
    return {"shard": segment.shard, "opened_epoch": segment.epoch, "number": segment.number}


def _header(connection: sqlite3.Connection, key: dict[str, Any]) -> SegmentHeader | None:
    row = connection.execute(READ["header"], key).fetchone()
    if row is None:
        return None
    epoch, last, ceiling_us, following, end = row
    return SegmentHeader(epoch, last, ceiling_us, None if following is None else _decoder.decode(following), end)
