"""Reading runs: newest first through a namespace's spans, or by a term that few have.

Invariants: rows come in the order of lists, each once; what is held at a time is bounded by what was asked for, however
dense the spans are. A walk reads several spans at once, more of them the emptier they are; each read is of one
partition, from a position downwards.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from perdure.base.errors import StoreUnavailable
from perdure.store.cassandra.runs import INDEXED, has_term, row_of, term
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.spans import SPAN_NS, Spans, span_of
from perdure.store.cassandra.statements import Statement, read
from perdure.visibility.evaluate import predicate
from perdure.visibility.rows import VisibilityQuery, VisibilityRow
from perdure.visibility.token import position_of
from perdure.visibility.tree import And, Equals

# Of a term that more runs have than this, the newest are found by walking.
FEW = 2_000
# How far a walk goes for one page: so many spans or rows, and so many times as far if nothing was found yet.
SPANS_OF_A_PAGE = 1_000
ROWS_OF_A_PAGE = 20_000
FOR_THE_FIRST = 5
_SPANS_AT_ONCE = 16
_DIRECTORY_PAGE = 256
_ROWS_AT_LEAST = 16
_ROWS_AT_MOST = 2_000
_YOUNG_SPANS = 36
# Terms of one filter that are looked up, if those before are not rare.
_LOOK_UPS = 4
_RUNNING = 1
TOO_MANY = "READ_TOO_MANY_TOMBSTONES"  # what Cassandra says of a read that would pass too many deletions
_INT64_MAX = (1 << 63) - 1
# Those that hardly more than a page of runs share: they are looked up before anything else.
_TELLING = frozenset({"RunId", "WorkflowId", "ParentWorkflowId", "RootWorkflowId"})

Position = tuple[int, str]  # start in ns, run id
Found = tuple[Any, ...]  # start_ns, run_id, and the columns of the Columns it was read with

_KEY = "namespace_id = ? AND span = ? AND start_ns = ? AND run_id = ?"
_BELOW = "namespace_id = ? AND span = ? AND (start_ns, run_id) < (?, ?) AND (start_ns) >= (?)"
_LOOK_UP = read("SELECT start_ns, run_id FROM run WHERE terms CONTAINS ? LIMIT ?")


class Columns:
    """What is read of each run behind its start and id, and the statements for it. To filter, facts have to be the
    first and terms the last.
    """

    __slots__ = ("at", "below", "below_of_status", "below_of_term")

    def __init__(self, names: str) -> None:
        self.at = read(f"SELECT start_ns, run_id, {names} FROM run WHERE {_KEY}")
        self.below = read(f"SELECT start_ns, run_id, {names} FROM run WHERE {_BELOW} LIMIT ?")
        self.below_of_term = read(
            f"SELECT start_ns, run_id, {names} FROM run WHERE {_BELOW} AND terms CONTAINS ? LIMIT ?"
        )
        # Within one partition.
        self.below_of_status = read(
            f"SELECT start_ns, run_id, {names} FROM run WHERE {_BELOW} AND status = ? LIMIT ? ALLOW FILTERING"
        )


STATUS = Columns("status")
STATUS_FILTERED = Columns("facts, status, terms")
WHOLE = Columns("facts, rest")
WHOLE_FILTERED = Columns("facts, rest, terms")


class Question(msgspec.Struct, frozen=True):
    """A list's or count's filter, taken apart: `terms`, those that fewer runs are expected to have first, and `plain`
    for each row.

    `below`: rows behind this position. `last`: the oldest span that may have any. `is_telling`: few share the first
    term. `lasting`: terms that a run which had them has still, so that the index knows no more runs by them than there
    are. `is_passing`: the first term is none of these.
    """

    namespace_id: str
    below: Position
    last: int
    terms: tuple[str, ...]
    lasting: tuple[str, ...]
    is_telling: bool
    is_passing: bool
    plain: Callable[[VisibilityRow], bool] | None

    @property
    def filters(self) -> bool:
        """Whether rows have to be looked at: the index is asked for one term at a time."""
        return len(self.terms) > 1 or self.plain is not None

    def keeps(self, rows: Iterable[Found]) -> list[Found]:
        """Those of the rows that match."""
        return [row for row in rows if self._keeps(row)] if self.filters else list(rows)

    def _keeps(self, row: Found) -> bool:
        if self.terms and not (row[-1] or _NONE).issuperset(self.terms):
            return False
        return self.plain is None or self.plain(row_of(self.namespace_id, row[0], row[1], row[2], b""))


_NONE: frozenset[str] = frozenset()


def question_of(query: VisibilityQuery) -> Question:
    """The query, taken apart. Raises InvalidArgument for a strange token."""
    below = position_of(query.token) or (_INT64_MAX, "")
    condition = query.filter
    parts = () if condition is None else condition.parts if isinstance(condition, And) else (condition,)
    termed = sorted((part for part in parts if has_term(part)), key=_rank)
    plain = tuple(part for part in parts if not has_term(part))
    last = span_of(-_INT64_MAX)
    for part in plain:
        if part.attribute == "StartTime" and type(part.value) is int and abs(part.value) < _INT64_MAX:
            below = min(below, (part.value + 1, ""))
            last = max(last, span_of(part.value))
    return Question(
        query.namespace_id,
        below,
        last,
        tuple(term(query.namespace_id, part) for part in termed),
        tuple(term(query.namespace_id, part) for part in termed if not _is_passing(part))[:_LOOK_UPS],
        bool(termed) and termed[0].attribute in _TELLING,
        bool(termed) and _is_passing(termed[0]),
        predicate(And(plain)) if plain else None,
    )


def _rank(part: Equals) -> float:
    """The lower, the fewer runs are expected to have it. A custom attribute: before type and status."""
    return INDEXED.index(part.attribute) if part.attribute in INDEXED else INDEXED.index("WorkflowType") - 0.5


def _is_passing(part: Equals) -> bool:
    """Whether nearly all runs had it once."""
    return part.attribute == "ExecutionStatus" and part.value == _RUNNING


class _Stretch:
    """A span from where the walk is down to `low_ns`. `rows`: its newest, which are still to be handed out, None = to
    be read; `more`: older ones may follow.
    """

    __slots__ = ("low_ns", "more", "rows", "span")

    def __init__(self, span: int, low_ns: int) -> None:
        self.span = span
        self.low_ns = low_ns
        self.rows: Rows | None = None
        self.more = False


class Walk:
    """Down a namespace's spans. `below`: all rows before this position were handed out. `spans`, `rows`: so many
    were read.
    """

    def __init__(self, session: Session, spans: Spans, question: Question, columns: Columns, wanted: int) -> None:
        self.session = session
        self._spans = spans
        self.question = question
        self.columns = columns
        self.wanted = wanted
        self._directory: deque[tuple[int, int]] = deque()
        self._directory_ended = False
        # What was begun of spans, newest first; and of spans that are read whole, their notes, until a run shows up.
        self._begun: deque[_Stretch] = deque()
        self._unused: dict[int, int] = {}
        # Until Cassandra has compacted what was written, its index knows every run as open that ever was, and looks at
        # each of them: in young spans it is quicker to look at all rows in their order.
        self._settled = spans.youngest() - _YOUNG_SPANS
        self._width = 1
        self._chunk = wanted
        self.below = question.below
        self.spans = 0
        self.rows = 0

    @property
    def is_between(self) -> bool:
        """Whether all rows of the spans that were begun were handed out."""
        return not self._begun

    async def next(self) -> list[Found] | None:
        """More rows, none perhaps; None at the end."""
        if not self._begun and not await self._begin():
            return None
        stretch = self._begun.popleft()
        rows = stretch.rows
        if rows is None:
            try:
                rows = await self.session.run(*self._read(stretch, limit := self._chunk))
            except StoreUnavailable as error:
                self._begun.extendleft(self._halves(stretch, error))
                return []
            stretch.more = len(rows) == limit
        if rows:
            self._unused.pop(stretch.span, None)
        if stretch.more:
            self.below = (rows[-1][0], rows[-1][1])
            self._begun.appendleft(_Stretch(stretch.span, stretch.low_ns))
        else:
            self.below = min(self.below, (stretch.low_ns, ""))
            if stretch.low_ns == stretch.span * SPAN_NS and stretch.span in self._unused:
                seen = (stretch.span, self._unused.pop(stretch.span))
                await self._spans.forget(self.question.namespace_id, [seen])
        kept = self.question.keeps(rows)
        self.rows += len(rows)
        if len(kept) * 2 < len(rows):
            self._chunk = max(self.wanted, min(self._chunk * 2, _ROWS_AT_MOST))
        return kept

    async def _begin(self) -> bool:
        """Read the first rows of the next spans; False if there is none."""
        if not self._directory:
            await self._read_directory()
        spans = [self._directory.popleft() for _ in range(min(self._width, len(self._directory)))]
        if not spans:
            return False
        limit = max(_ROWS_AT_LEAST, 2 * self._chunk // len(spans))
        self._begun.extend(_Stretch(span, span * SPAN_NS) for span, _ in spans)
        if not self.question.terms:
            self._unused |= {
                span: noted_us for span, noted_us in spans if (span + 1) * SPAN_NS <= self.question.below[0]
            }
        try:
            found = await self.session.all([self._read(stretch, limit) for stretch in self._begun])
        except StoreUnavailable as error:
            if TOO_MANY not in str(error):
                raise
        else:
            for stretch, rows in zip(self._begun, found, strict=True):
                stretch.rows, stretch.more = rows, len(rows) == limit
        self.spans += len(spans)
        self._width = min(_SPANS_AT_ONCE, self._width * 4)
        return True

    def _halves(self, stretch: "_Stretch", error: StoreUnavailable) -> tuple["_Stretch", "_Stretch"]:
        """The stretch in two, the older first: so many runs in it were deleted that Cassandra does not read it at once.

        Raises `error` if it is another, or nothing is left to halve.
        """
        high_ns = min(self.below[0], (stretch.span + 1) * SPAN_NS)
        middle_ns = (stretch.low_ns + high_ns) // 2
        if TOO_MANY not in str(error) or middle_ns == stretch.low_ns:
            raise error
        return _Stretch(stretch.span, stretch.low_ns), _Stretch(stretch.span, middle_ns)

    async def _read_directory(self) -> None:
        if self._directory_ended:
            return
        question = self.question
        start_ns, run_id = self.below
        newest = span_of(start_ns if run_id else start_ns - 1)
        found = await self._spans.read(question.namespace_id, newest, _DIRECTORY_PAGE)
        self._directory_ended = len(found) < _DIRECTORY_PAGE or found[-1][0] < question.last
        self._directory.extend(at for at in found if at[0] >= question.last)

    def _read(self, stretch: "_Stretch", limit: int) -> tuple[Statement, tuple[Any, ...]]:
        question, columns = self.question, self.columns
        at = (question.namespace_id, stretch.span, *self.below, stretch.low_ns)
        if not question.terms:
            return columns.below, (*at, limit)
        if question.is_passing and stretch.span >= self._settled:
            return columns.below_of_status, (*at, _RUNNING, limit)
        return columns.below_of_term, (*at, question.terms[0], limit)


class Search:
    """What a question finds, in the order of lists. Where a walk finds little, the index is asked for all runs that
    have a term; if they are few, they are the answer. `spans_first`: how far to walk before.
    """

    def __init__(self, walk: Walk, spans_first: int) -> None:
        self._walk = walk
        self._spans_first = 0 if walk.question.is_telling else spans_first
        self._keys: deque[Found] | None = None
        self._asks = bool(walk.question.lasting)

    def reached(self, found: int) -> Position | None:
        """If that was far enough for a page with so many rows: the position that nothing before is missing of."""
        walk, times = self._walk, 1 if found else FOR_THE_FIRST
        far = walk.spans >= SPANS_OF_A_PAGE * times or walk.rows >= ROWS_OF_A_PAGE * times
        return walk.below if far and self._keys is None else None

    async def next(self) -> list[Found] | None:
        """More rows, none perhaps; None at the end."""
        if self._asks and self._walk.is_between and self._walk.spans >= self._spans_first:
            self._asks = False
            await self._look_up()
        if self._keys is None:
            return await self._walk.next()
        return await self._fetch() if self._keys else None

    async def _look_up(self) -> None:
        walk = self._walk
        for asked in walk.question.lasting:
            rows = await walk.session.run(_LOOK_UP, (asked, FEW + 1))
            if len(rows) <= FEW:
                self._keys = deque(sorted((row for row in rows if (row[0], row[1]) < walk.below), reverse=True))
                return

    async def _fetch(self) -> list[Found]:
        """The runs of the next keys, as many as are wanted, without those that don't match."""
        walk, keys = self._walk, self._keys or deque()
        question = walk.question
        some = [keys.popleft() for _ in range(min(len(keys), walk.wanted))]
        reads = [(walk.columns.at, (question.namespace_id, span_of(start), start, run)) for start, run in some]
        return question.keeps(row for answer in await walk.session.all(reads) for row in answer)
