"""List rows in SQLite: one row per run, the highest version wins; custom search attributes in a table beside it.

A deleted run stays as an empty row for a day, so that a late write does not bring it back.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec

from perdure.base.clock import SECOND_NS, Clock
from perdure.store.contract import VISIBILITY_DELETION_NS
from perdure.store.sqlite.filters import where
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.statements import ATTRIBUTES, STAMPED, SWEEP
from perdure.store.sqlite.writer import Writer
from perdure.visibility.evaluate import custom_values, kind_of
from perdure.visibility.rows import VisibilityPage, VisibilityQuery, VisibilityRow
from perdure.visibility.token import after_row, page_of, position_of

_SWEEP_EVERY_NS = 600 * SECOND_NS
_OVERDUE = (
    "SELECT body FROM run WHERE namespace_id = ? AND body IS NOT NULL AND (start_ns, run_id) > (?, ?) "
    "AND start_ns < ? AND close_ns > 0 AND close_ns < ? ORDER BY start_ns, run_id LIMIT ?"
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(VisibilityRow)


class SqliteVisibility:
    """`perdure.store.contract.VisibilityStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._swept_ns = clock.monotonic_ns()

    async def upsert(self, rows: Sequence[VisibilityRow]) -> None:
        now_us = self._clock.now_ns() // 1000
        bodies = [b"" if row.deleted else _encoder.encode(row) for row in rows]
        sweep = self._clock.monotonic_ns() - self._swept_ns >= _SWEEP_EVERY_NS
        if sweep:
            self._swept_ns = self._clock.monotonic_ns()

        def upsert(connection: sqlite3.Connection) -> None:
            for row, body in zip(rows, bodies, strict=True):
                _upsert(connection, row, body, now_us)
            if sweep:
                connection.execute(SWEEP["run"], (now_us - VISIBILITY_DELETION_NS // 1000,))

        await self._writer.run(upsert, sum(len(body) + 512 for body in bodies))

    async def list(self, query: VisibilityQuery) -> VisibilityPage:
        condition, values = where(query.filter)
        position = position_of(query.token)
        below = "" if position is None else "AND (start_ns, run_id) < (?, ?) "
        statement = (
            f"SELECT body FROM run WHERE namespace_id = ? AND body IS NOT NULL AND {condition} {below}"
            "ORDER BY start_ns DESC, run_id DESC LIMIT ?"
        )
        values = [query.namespace_id, *values, *(position or ()), query.limit + 1]

        def read(connection: sqlite3.Connection) -> VisibilityPage:
            with closing(connection.execute(statement, values)) as found:
                return page_of((_decoder.decode(body) for (body,) in found), query.limit)

        return await self._readers.run(read)

    async def count(self, query: VisibilityQuery) -> int:
        condition, values = where(query.filter)
        statement = f"SELECT count(*) FROM run WHERE namespace_id = ? AND body IS NOT NULL AND {condition}"

        def read(connection: sqlite3.Connection) -> int:
            return int(connection.execute(statement, [query.namespace_id, *values]).fetchone()[0])

        return await self._readers.run(read)

    async def count_by_status(self, query: VisibilityQuery) -> dict[int, int]:
        condition, values = where(query.filter)
        statement = (
            f"SELECT status, count(*) FROM run WHERE namespace_id = ? AND body IS NOT NULL AND {condition} "
            "GROUP BY status"
        )

        def read(connection: sqlite3.Connection) -> dict[int, int]:
            return dict(connection.execute(statement, [query.namespace_id, *values]).fetchall())

        return await self._readers.run(read)

    async def overdue(
        self, namespace_id: str, closed_before_ns: int, place: bytes, limit: int
    ) -> tuple[Sequence[VisibilityRow], bytes]:
        start_ns, run_id = position_of(place) or (-1 << 63, "")
        values = (namespace_id, start_ns, run_id, closed_before_ns, closed_before_ns, limit)

        def read(connection: sqlite3.Connection) -> list[VisibilityRow]:
            with closing(connection.execute(_OVERDUE, values)) as found:
                return [_decoder.decode(body) for (body,) in found]

        rows = await self._readers.run(read)
        return rows, after_row(rows[-1]) if len(rows) == limit else b""


def _upsert(connection: sqlite3.Connection, row: VisibilityRow, body: bytes, now_us: int) -> None:
    won = connection.execute(STAMPED["run"], _columns(row, body, now_us)).fetchone()
    if won is None:
        return
    connection.execute(ATTRIBUTES["clear"], won)
    if not row.deleted:
        connection.executemany(
            ATTRIBUTES["add"],
            [
                (won[0], name, kind_of(value), value)
                for name, values in custom_values(row.search_attributes).items()
                for value in values
            ],
        )


def _columns(row: VisibilityRow, body: bytes, now_us: int) -> tuple[Any, ...]:
    return (
        row.namespace_id,
        row.run_id,
        row.version,
        now_us if row.deleted else None,
        row.workflow_id,
        row.workflow_type,
        row.task_queue,
        row.status,
        row.start_time_ns,
        row.execution_time_ns or None,
        row.close_time_ns or None,
        row.history_length,
        row.history_bytes,
        row.state_transitions,
        row.parent_workflow_id or None,
        row.parent_run_id or None,
        row.root_workflow_id or None,
        row.root_run_id or None,
        None if row.deleted else body,
    )
