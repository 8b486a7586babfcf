"""List rows in Cassandra: a run is one row in the partition of its namespace and the ten minutes of its start.

Invariants: a row's stamp is its version, so the highest version wins in any order of arrival, and a deletion hides
all up to its own for two days. A run's start never changes, so neither does its partition; one that is made anew under
its id has another start, and so another row. Rows of one partition are written together. Nothing is read before it is
written.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from perdure.base.clock import SECOND_NS, Clock
from perdure.store.cassandra.overdue import OverduePage
from perdure.store.cassandra.runs import REST_INLINE_MAX, encode_facts, encode_rest, row_of, term, terms_of
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.spans import Place, Spans, span_of
from perdure.store.cassandra.statements import Statement, read, stamped
from perdure.store.cassandra.walks import STATUS, STATUS_FILTERED, WHOLE, WHOLE_FILTERED, Search, Walk, question_of
from perdure.visibility.rows import PAGE_BYTES_MAX, VisibilityPage, VisibilityQuery, VisibilityRow
from perdure.visibility.token import before, page_of, weight
from perdure.visibility.tree import Equals

# So many spans are looked at before the index is asked.
_SPANS_FIRST = 5
_COUNTED_AT_ONCE = 5_000
_VERSION_MAX = 1 << 61
# Of a rest's stamp: below them is the run's version, above its start in seconds.
_VERSION_BITS = 28
_INSERT = (
    "INSERT INTO run (namespace_id, span, start_ns, run_id, status, facts, rest, terms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
)
# By how many rows they write: a set of rows is cut into these.
_WRITES = {
    size: stamped(_INSERT if size == 1 else "BEGIN UNLOGGED BATCH " + f"{_INSERT}; " * size + "APPLY BATCH")
    for size in (16, 8, 4, 2, 1)
}
_DELETE = stamped(
    "DELETE FROM run USING TIMESTAMP ? WHERE namespace_id = ? AND span = ? AND start_ns = ? AND run_id = ?"
)
_WRITE_REST = stamped("INSERT INTO run_rest (namespace_id, run_id, rest) VALUES (?, ?, ?) USING TIMESTAMP ?")
_DELETE_REST = stamped("DELETE FROM run_rest USING TIMESTAMP ? WHERE namespace_id = ? AND run_id = ?")
_READ_REST = read("SELECT rest FROM run_rest WHERE namespace_id = ? AND run_id = ?")
_FIND_RUN = read("SELECT start_ns, run_id FROM run WHERE terms CONTAINS ?")

Work = tuple[Statement, Sequence[object]]


class CassandraVisibility:
    """`perdure.store.contract.VisibilityStore`."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._spans = Spans(session, clock)

    async def upsert(self, rows: Sequence[VisibilityRow]) -> None:
        newest: dict[tuple[str, str, int], VisibilityRow] = {}
        for row in rows:
            at = (row.namespace_id, row.run_id, row.start_time_ns)
            known = newest.get(at)
            if known is None or (row.version, row.deleted) >= (known.version, known.deleted):
                newest[at] = row
        places: dict[Place, list[tuple[object, ...]]] = {}
        large: list[Work] = []
        work: list[Work] = []
        for row in newest.values():
            if row.deleted:
                work += await self._deletion(row)
                continue
            rest = encode_rest(row)
            if len(rest) > REST_INLINE_MAX:
                large.append((_WRITE_REST, (row.namespace_id, row.run_id, rest, _rest_stamp(row, row.start_time_ns))))
                rest = b""
            places.setdefault((row.namespace_id, span_of(row.start_time_ns)), []).append(_columns(row, rest))
        # A row that can be found has its rest, and a span that has rows is in the directory.
        if large:
            await self._session.all(large)
        await self._spans.note(places)
        await self._session.all([*work, *(part for written in places.values() for part in _batches(written))])
        await self._spans.used(places)

    async def list(self, query: VisibilityQuery) -> VisibilityPage:
        question = question_of(query)
        columns = WHOLE_FILTERED if question.filters else WHOLE
        search = Search(Walk(self._session, self._spans, question, columns, query.limit + 1), _SPANS_FIRST)
        page: list[VisibilityRow] = []
        size = 0
        while (found := await search.next()) is not None:
            for start_ns, run_id, facts, inline, *_ in found:
                rest = inline or await self._large_rest(query.namespace_id, run_id)
                if rest is None:
                    continue  # deleted meanwhile
                page.append(row_of(query.namespace_id, start_ns, run_id, facts, rest))
                size += weight(page[-1])
                if len(page) > query.limit or (len(page) > 1 and size > PAGE_BYTES_MAX):
                    break
            else:
                if len(page) < query.limit and (position := search.reached(len(page))):
                    return VisibilityPage(page, before(position))
                continue
            break
        return page_of(page, query.limit)

    async def count(self, query: VisibilityQuery) -> int:
        return (await self._count(query)).total()

    async def count_by_status(self, query: VisibilityQuery) -> dict[int, int]:
        return dict(await self._count(query))

    async def _count(self, query: VisibilityQuery) -> Counter[int]:
        question = question_of(VisibilityQuery(query.namespace_id, query.filter))
        columns, status = (STATUS_FILTERED, 3) if question.filters else (STATUS, 2)
        search = Search(Walk(self._session, self._spans, question, columns, _COUNTED_AT_ONCE), 0)
        counts = Counter[int]()
        while (found := await search.next()) is not None:
            counts.update(row[status] for row in found)
        return counts

    async def overdue(
        self, namespace_id: str, closed_before_ns: int, place: bytes, limit: int
    ) -> tuple[Sequence[VisibilityRow], bytes]:
        page = OverduePage(self._session, self._spans, namespace_id, closed_before_ns, limit)
        return await page.read(place)

    async def _large_rest(self, namespace_id: str, run_id: str) -> bytes | None:
        for (rest,) in await self._session.run(_READ_REST, (namespace_id, run_id)):
            return bytes(rest)
        return None

    async def _deletion(self, row: VisibilityRow) -> Sequence[Work]:
        """What deletes the run. One whose start isn't known is looked for, and can't be hidden before it is there."""
        starts = {row.start_time_ns}
        if not row.start_time_ns:
            asked = term(row.namespace_id, Equals("RunId", row.run_id))
            starts |= {start_ns for start_ns, run_id in await self._session.run(_FIND_RUN, (asked,))}
        stamp = _stamp(row)
        work: list[Work] = [
            (_DELETE, (stamp, row.namespace_id, span_of(start_ns), start_ns, row.run_id)) for start_ns in starts
        ]
        return [*work, (_DELETE_REST, (_rest_stamp(row, max(starts)), row.namespace_id, row.run_id))]


def _stamp(row: VisibilityRow) -> int:
    """Two apart: what is written at a stamp first clears the terms at the one before."""
    return (min(row.version, _VERSION_MAX) + 1) * 2


def _rest_stamp(row: VisibilityRow, start_ns: int) -> int:
    """Of a run that was made anew under its id above any of the former one: their rests lie in one place."""
    return (start_ns // SECOND_NS << _VERSION_BITS) + min(row.version, (1 << _VERSION_BITS) - 1)


def _columns(row: VisibilityRow, rest: bytes) -> tuple[object, ...]:
    return (
        row.namespace_id,
        span_of(row.start_time_ns),
        row.start_time_ns,
        row.run_id,
        row.status,
        encode_facts(row),
        rest,
        terms_of(row),
        _stamp(row),
    )


def _batches(rows: list[tuple[object, ...]]) -> Iterator[Work]:
    """Rows of one partition, in as few writes as there are statements for."""
    at = 0
    while at < len(rows):
        size = next(size for size in _WRITES if size <= len(rows) - at)
        yield _WRITES[size], [value for row in rows[at : at + size] for value in row]
        at += size
