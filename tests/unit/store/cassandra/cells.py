"""Index tables as Cassandra keeps them, by the text of the statements: the highest stamp wins, and a deletion wins over
a write of its stamp. A write may be lost, or land at any later time, while its sender is told that nobody knows.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Any

from perdure.base.errors import StoreUnavailable
from perdure.store.cassandra.session import Rows
from perdure.store.cassandra.statements import Statement
from perdure.store.contract import OutcomeUnknown
from perdure.testing.entropy import SeededEntropy
from tests.unit.shards.fakes import passes

_KEYS = {"offer": 8, "timer": 2}  # columns of a partition's key
_ORDERS = {"offer": 5, "timer": 8}
_TABLE = re.compile(r"(?:FROM|INTO|UPDATE) ([a-z_]+) ")

Key = tuple[Any, ...]


class _Partition:
    """Rows by their order: (stamp, body); body None = deleted."""

    def __init__(self) -> None:
        self.rows: dict[Key, tuple[int, bytes | None]] = {}
        self.dropped_us = -1
        self.trims: list[tuple[int, int]] = []  # (first part of the order, stamp): a deletion of all before it

    def write(self, order: Key, stamp: int, body: bytes | None) -> None:
        before = self.rows.get(order)
        if before is None or (stamp, body is None) >= (before[0], before[1] is None):
            self.rows[order] = stamp, body

    def live(self) -> list[tuple[Key, bytes]]:
        return [
            (order, body)
            for order, (stamp, body) in sorted(self.rows.items())
            if body is not None
            and stamp > self.dropped_us
            and not any(order[0] < low and stamp <= trim_us for low, trim_us in self.trims)
        ]


class Cells:
    """A stand-in for `Session` over four tables. `passed`: deletions that the last read went over."""

    def __init__(self, chance: SeededEntropy) -> None:
        self._chance = chance
        self._partitions: dict[tuple[str, Key], _Partition] = {}
        self._late: list[tuple[str, Sequence[Any]]] = []
        self._ranges: list[tuple[str, Any, Key, int]] = []  # deletions of directory rows up to one
        self.is_faulty = False
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.passed = 0

    async def run(
        self, statement: Statement, values: Sequence[Any] = (), *, page: bytes | None = None, fetch: int | None = None
    ) -> Rows:
        await passes(self._chance.below(4) * 0.001)
        if not statement.is_read:
            await self._write(statement.cql, values)
            return Rows()
        if self.is_faulty and not self._chance.below(30):
            raise StoreUnavailable("no answer")
        self.reads.append(statement.cql)
        rows = self._read(statement.cql, values)
        await passes(self._chance.below(8) * 0.001)  # meanwhile the rows may change
        begin = 0 if page is None else int(page)
        end = len(rows) if fetch is None else begin + fetch
        return Rows(rows[begin:end], (), str(end).encode() if end < len(rows) else None)

    async def all(self, work: Iterable[tuple[Statement, Sequence[Any]]]) -> list[Rows]:
        sent = [self.run(statement, values) for statement, values in work]
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Rows)]

    def land(self, every: bool = False) -> None:
        """Some of the writes that nobody heard of any more are done now."""
        for late in list(self._late):
            if every or not self._chance.below(4):
                self._late.remove(late)
                self._apply(*late)

    async def _write(self, cql: str, values: Sequence[Any]) -> None:
        fate = self._chance.below(12) if self.is_faulty else 11
        if fate > 1:
            self._apply(cql, values)
            self.writes.append(cql)
        elif fate == 1:
            self._late.append((cql, values))
        if fate <= 2:
            raise OutcomeUnknown("no answer")

    def _partition(self, table: str, key: Key) -> _Partition:
        return self._partitions.setdefault((table, key), _Partition())

    def _apply(self, cql: str, values: Sequence[Any]) -> None:
        found = _TABLE.search(cql)
        assert found is not None
        table = found.group(1)
        if table.endswith("_bucket"):
            self._apply_to_directory(table, cql, values)
            return
        key_size, size = _KEYS[table], _ORDERS[table]
        stamp, rest = values[0], values[1:]
        if cql.startswith("DELETE"):
            partition = self._partition(table, tuple(rest[:key_size]))
            if cql.endswith(" < ?"):
                partition.trims.append((rest[-1], stamp))
            elif cql.endswith(" IN ?"):
                for order in rest[key_size]:
                    partition.write(tuple(order), stamp, None)
            else:
                partition.dropped_us = max(partition.dropped_us, stamp)
            return
        for at in range(0, len(rest), 1 + key_size + size):
            body, *row = rest[at : at + 1 + key_size + size]
            self._partition(table, tuple(row[:key_size])).write(tuple(row[key_size:]), stamp, body)

    def _apply_to_directory(self, table: str, cql: str, values: Sequence[Any]) -> None:
        is_added = cql.startswith("INSERT")
        stamp, shard, place = (values[-1], values[0], values[1:-1]) if is_added else (values[0], values[1], values[2:])
        partition = self._partition(table, (shard,))
        rows = [tuple(place)]
        if " <= ?" in cql:
            self._ranges.append((table, shard, tuple(place), stamp))
            rows = [row for row in partition.rows if row[:-1] == rows[0][:-1] and row <= rows[0]]
        for row in rows:
            partition.write(row, stamp, b"" if is_added else None)
            for name, at, last, range_us in self._ranges:
                if (name, at, last[:-1]) == (table, shard, row[:-1]) and row <= last:
                    partition.write(row, range_us, None)

    def _read(self, cql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        found = _TABLE.search(cql)
        assert found is not None
        table = found.group(1)
        if table.endswith("_bucket"):
            rows = [order for order, _ in self._partition(table, (values[0],)).live()]
            if "LIMIT" not in cql:
                return rows
            size = len(rows[0]) if rows else 0
            places = 3 if size > 1 else 1
            scope, after = tuple(values[1 : -1 - places]), tuple(values[-1 - places : -1])
            return [row[-places:] for row in rows if row[:-places] == scope and row[-places:] > after][: values[-1]]
        key_size = _KEYS[table]
        partition = self._partition(table, tuple(values[:key_size]))
        live = partition.live()
        if "count(*)" in cql:
            return [(len(live), live[0][0][0] if live else None)]
        rest, limit = values[key_size:-1], values[-1]
        begin = () if not rest else tuple(rest)
        chosen = [(*order, body) for order, body in live if (order > begin if len(rest) > 1 else order[:1] >= begin)]
        chosen = chosen[:limit]
        self._pass(partition, begin, chosen[-1][:-1] if len(chosen) == limit else None)
        return chosen

    def _pass(self, partition: _Partition, begin: Key, end: Key | None) -> None:
        self.passed = sum(
            body is None and stamp > partition.dropped_us and order >= begin and (end is None or order < end)
            for order, (stamp, body) in partition.rows.items()
        )
