"""Runs that closed long ago, oldest starts first, for whoever looks after what should be deleted by now.

Invariant: work is bounded, whatever lies at the old end: some spans of the directory, a read of each or a few where
so many runs were deleted that Cassandra doesn't read a span at once. What was not come to is behind the place returned.
"""

from perdure.base.errors import StoreUnavailable
from perdure.store.cassandra.runs import row_of
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.spans import SPAN_NS, Spans, span_of
from perdure.store.cassandra.statements import read
from perdure.store.cassandra.walks import TOO_MANY
from perdure.visibility.rows import VisibilityRow
from perdure.visibility.token import before, position_of

# Of one page: reads of spans, and rows of a read.
_READS = 16
_ROWS = 1_000
_FIRST_NS = -(1 << 63)
# Without the rest: memos would make it heavy, and nobody looks at them here.
ABOVE = read(
    "SELECT start_ns, run_id, facts FROM run WHERE namespace_id = ? AND span = ? AND (start_ns, run_id) > (?, ?) "
    "AND (start_ns) < (?) ORDER BY start_ns ASC, run_id ASC LIMIT ?"
)


class OverduePage:
    """One page. `above`: all rows up to this position were looked at."""

    def __init__(self, session: Session, spans: Spans, namespace_id: str, closed_before_ns: int, limit: int) -> None:
        self._session = session
        self._spans = spans
        self._namespace_id = namespace_id
        self._closed_before_ns = closed_before_ns
        self._limit = limit
        self._reads_left = _READS
        self._above = (_FIRST_NS, "")
        self._found: list[VisibilityRow] = []

    async def read(self, place: bytes) -> tuple[list[VisibilityRow], bytes]:
        """The rows behind the place, and the next place."""
        self._above = position_of(place) or self._above
        last = span_of(self._closed_before_ns - 1)
        spans = await self._spans.oldest(self._namespace_id, span_of(self._above[0]), last, _READS)
        for span, noted_us in spans:
            begun = (span * SPAN_NS, "")
            is_whole = self._above <= begun
            self._above = max(self._above, begun)
            looked_at = await self._read_span(span)
            if looked_at is None:
                return self._found, before(self._above)
            if is_whole and not looked_at and (span + 1) * SPAN_NS <= self._closed_before_ns:
                await self._spans.forget(self._namespace_id, [(span, noted_us)])
        return self._found, before(self._above) if len(spans) == _READS else b""

    async def _read_span(self, span: int) -> int | None:
        """Read a span on to its end; how many rows it had, None if the page ends before."""
        end_ns = min((span + 1) * SPAN_NS, self._closed_before_ns)
        until_ns, looked_at = end_ns, 0
        while self._above[0] < end_ns:
            if not self._reads_left:
                return None
            self._reads_left -= 1
            rows = await self._rows(span, until_ns)
            width_ns = until_ns - self._above[0]
            if rows is None:
                until_ns -= width_ns // 2
                continue
            looked_at += len(rows)
            for start_ns, run_id, facts in rows:
                self._above = (start_ns, run_id)
                row = row_of(self._namespace_id, start_ns, run_id, facts, b"")
                if 0 < row.close_time_ns < self._closed_before_ns:
                    self._found.append(row)
                    if len(self._found) == self._limit:
                        return None
            if len(rows) < _ROWS:
                self._above = max(self._above, (until_ns, ""))
                until_ns = min(end_ns, until_ns + 2 * width_ns)
        return looked_at

    async def _rows(self, span: int, until_ns: int) -> Rows | None:
        """Some rows behind the position that started before; None if too many runs that did were deleted."""
        values = (self._namespace_id, span, *self._above, until_ns, _ROWS)
        try:
            return await self._session.run(ABOVE, values)
        except StoreUnavailable as error:
            if TOO_MANY not in str(error) or until_ns - self._above[0] <= 1:
                raise
            return None
