"""What only lists in Cassandra promise: thousands over hours, rare ones, work that is bounded, spans that empty."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
import pytest

from perdure.base.clock import SECOND_NS, AdvancingClock, SystemClock
from perdure.base.errors import StoreUnavailable
from perdure.store.cassandra import CassandraOptions, walks
from perdure.store.cassandra import overdue as overdue_runs
from perdure.store.cassandra.connecting import connected
from perdure.store.cassandra.schema import SchemaStore
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.settings import use_keyspace
from perdure.store.cassandra.spans import FORGET_NS, NOTE_NS, SPAN_NS, Spans, span_of
from perdure.store.cassandra.statements import Statement
from perdure.store.cassandra.visibility import CassandraVisibility
from perdure.testing.store_contract.suite import fresh
from perdure.testing.store_contract.visibility import payload
from perdure.visibility.evaluate import matches
from perdure.visibility.rows import VisibilityQuery, VisibilityRow
from perdure.visibility.tree import And, Equals, Filter
from tests.cassandra.fixtures import Keyspace

T0 = 1_700_000_000 * SECOND_NS
RUNS = 5_000
RUNNING, COMPLETED, FAILED, TERMINATED = 1, 2, 3, 5


def _options(keyspace: Keyspace) -> CassandraOptions:
    return CassandraOptions(
        contact_points=(keyspace.contact.host,),
        port=keyspace.contact.port,
        keyspace=keyspace.name,
        replication=1,
        simple_strategy=True,
    )


class Watched(Session):
    """A session that remembers what it was asked."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.asked: list[Statement] = []
        self.rows = 0

    async def run(
        self,
        statement: Statement,
        values: Sequence[object] = (),
        *,
        page: bytes | None = None,
        fetch: int | None = None,
    ) -> Rows:
        return self._seen(statement, await self._inner.run(statement, values, page=page, fetch=fetch))

    async def all(self, work: Iterable[tuple[Statement, Sequence[object]]]) -> list[Rows]:
        work = list(work)
        found = await self._inner.all(work)
        return [self._seen(statement, rows) for (statement, _), rows in zip(work, found, strict=True)]

    def _seen(self, statement: Statement, rows: Rows) -> Rows:
        self.asked.append(statement)
        self.rows += len(rows)
        return rows

    def forget(self) -> None:
        """What was asked until now."""
        self.asked = []
        self.rows = 0


class Lists:
    """Lists on a watched session, and their clock."""

    def __init__(self, session: Session) -> None:
        self.session = Watched(session)
        self.clock = AdvancingClock(SystemClock())
        self.store = CassandraVisibility(self.session, self.clock)

    def restarted(self) -> CassandraVisibility:
        """Another process's."""
        return CassandraVisibility(self.session, self.clock)

    async def write(self, rows: Sequence[VisibilityRow]) -> None:
        """Write them as the pumps do: so many at a time."""
        for at in range(0, len(rows), 100):
            await self.store.upsert(rows[at : at + 100])

    async def pages(self, namespace_id: str, condition: Filter | None, limit: int) -> list[list[str]]:
        """The run ids of all pages."""
        found: list[list[str]] = []
        token = b""
        while not found or token:
            page = await self.store.list(VisibilityQuery(namespace_id, condition, limit, token))
            found.append([row.run_id for row in page.rows])
            token = page.token
        return found

    async def runs(self, namespace_id: str, condition: Filter | None = None) -> list[str]:
        """The run ids of all pages together."""
        return [run for page in await self.pages(namespace_id, condition, 100) for run in page]


@pytest.fixture(name="lists")
async def _lists(keyspace: Keyspace) -> AsyncIterator[Lists]:
    clock = SystemClock()
    session = await connected(_options(keyspace), clock)
    try:
        await use_keyspace(session, _options(keyspace), dev=True)
        await SchemaStore(session, keyspace.name, clock).apply()
        yield Lists(session)
    finally:
        await session.close()


def run_at(namespace_id: str, number: int, of: int = RUNS, hours: int = 5, **fields: object) -> VisibilityRow:
    """The run `number`, of so many that start evenly within some hours; every fourth starts when the one before did."""
    step_ns = hours * 3600 * SECOND_NS // of
    row = VisibilityRow(
        namespace_id,
        f"w-{number % 1000}",
        f"{number:06}",
        1,
        workflow_type="Rare" if number % 1250 == 7 else "Common",
        status=RUNNING,
        start_time_ns=T0 + step_ns * (number - (number % 4 == 3)),
        search_attributes={"Tenant": payload(f"t{number % 500}", "Keyword"), "Shape": payload("round", "Keyword")},
    )
    return msgspec.structs.replace(row, **fields)


def closed(row: VisibilityRow, status: int) -> VisibilityRow:
    """The row once the run is closed."""
    return msgspec.structs.replace(
        row, version=row.version + 4, status=status, close_time_ns=row.start_time_ns + SECOND_NS, history_length=11
    )


def deleted(row: VisibilityRow) -> VisibilityRow:
    """The deletion of the run."""
    return VisibilityRow(
        row.namespace_id, row.workflow_id, row.run_id, 1 << 62, deleted=True, start_time_ns=row.start_time_ns
    )


def in_order(rows: list[VisibilityRow]) -> list[str]:
    """The run ids in the order of lists."""
    return [row.run_id for row in sorted(rows, key=lambda row: (row.start_time_ns, row.run_id), reverse=True)]


CONDITIONS: list[Filter | None] = [
    None,
    Equals("ExecutionStatus", RUNNING),
    Equals("ExecutionStatus", FAILED),
    Equals("ExecutionStatus", TERMINATED),
    Equals("WorkflowType", "Common"),
    Equals("WorkflowType", "Rare"),
    Equals("WorkflowType", "None"),
    Equals("WorkflowId", "w-77"),
    Equals("Tenant", "t33"),
    Equals("Shape", "round"),
    Equals("HistoryLength", 11),
    Equals("StartTime", T0 + 3600 * SECOND_NS * 5 // RUNS * 2502),
    And((Equals("WorkflowType", "Rare"), Equals("ExecutionStatus", COMPLETED))),
    And((Equals("Shape", "round"), Equals("HistoryLength", 11), Equals("Tenant", "t34"))),
    And((Equals("ExecutionStatus", RUNNING), Equals("WorkflowId", "w-78"))),
]


async def test_thousands_over_hours_are_paged_and_counted_exactly_once_each_by_every_filter(lists: Lists) -> None:
    namespace_id = fresh()
    rows = {row.run_id: row for row in (run_at(namespace_id, number) for number in range(RUNS))}
    await lists.write(list(rows.values()))
    await lists.write([run_at(fresh(), number) for number in range(0, RUNS, 250)])
    ends = [
        closed(row, FAILED if number % 1000 == 5 else COMPLETED)
        for number, row in enumerate(rows.values())
        if number % 10
    ]
    await lists.write(ends)
    await lists.write([rows[row.run_id] for row in ends[::7]])  # late, and of lower versions
    gone = [deleted(row) for row in ends[::20]]
    await lists.write(gone)
    await lists.write([rows[row.run_id] for row in gone[::2]])
    rows |= {row.run_id: row for row in ends}
    for row in gone:
        del rows[row.run_id]
    assert await _disagreeing(lists, namespace_id, list(rows.values())) == []


async def _disagreeing(lists: Lists, namespace_id: str, rows: list[VisibilityRow]) -> list[object]:
    """The conditions by which the store finds, or counts, other runs than there are."""
    wrong: list[object] = []
    for condition in CONDITIONS:
        expected = [row for row in rows if matches(condition, row)]
        found = await lists.pages(namespace_id, condition, 700)
        query = VisibilityQuery(namespace_id, condition)
        if (
            [run for page in found for run in page] != in_order(expected)
            or any(len(page) < 700 for page in found[:-1])
            or await lists.store.count(query) != len(expected)
            or await lists.store.count_by_status(query) != Counter(row.status for row in expected)
        ):
            wrong.append(condition)
    return wrong


async def test_a_rare_match_is_found_without_looking_at_the_others(lists: Lists) -> None:
    namespace_id = fresh()
    await lists.write([run_at(namespace_id, number, 2_000, hours=40) for number in range(2_000)])
    for condition, runs in (
        (Equals("WorkflowId", "w-77"), 2),
        (Equals("RunId", "000300"), 1),
        (Equals("Tenant", "t7"), 4),
        (Equals("WorkflowType", "Rare"), 2),
        (Equals("WorkflowType", "None"), 0),
        (Equals("ExecutionStatus", TERMINATED), 0),
        (And((Equals("ExecutionStatus", RUNNING), Equals("Tenant", "t7"))), 4),
        (Equals("StartTime", run_at(namespace_id, 1_000, 2_000, hours=40).start_time_ns), 1),
    ):
        lists.session.forget()
        assert len(await lists.runs(namespace_id, condition)) == runs, condition
        assert len(lists.session.asked) <= 12, condition
        lists.session.forget()
        assert await lists.store.count(VisibilityQuery(namespace_id, condition)) == runs, condition
        assert len(lists.session.asked) <= 12, condition


async def test_the_newest_page_reads_little_more_than_it_shows_however_dense_the_spans(lists: Lists) -> None:
    for hours in (1, 40):
        namespace_id = fresh()
        rows = [run_at(namespace_id, number, 2_000, hours=hours) for number in range(2_000)]
        await lists.write(rows)
        lists.session.forget()
        page = await lists.store.list(VisibilityQuery(namespace_id, None, 50))
        assert [row.run_id for row in page.rows] == in_order(rows)[:50]
        assert lists.session.rows <= 1_000


async def test_a_search_that_gets_far_gives_what_it_has_and_goes_on_later(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "SPANS_OF_A_PAGE", 20)
    namespace_id = fresh()
    rows = [run_at(namespace_id, number, 300, hours=100) for number in range(300)]
    rows = [msgspec.structs.replace(row, history_length=int(row.run_id in ("000010", "000250"))) for row in rows]
    await lists.write(rows)
    pages = await lists.pages(namespace_id, Equals("HistoryLength", 1), 10)
    assert [run for page in pages for run in page] == ["000250", "000010"]
    assert ["000250"] in pages
    assert [] in pages


async def test_a_term_that_many_have_is_walked_for(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "FEW", 3)
    namespace_id = fresh()
    rows = [msgspec.structs.replace(run_at(namespace_id, n, 200, 30), workflow_id=f"w{n % 2}") for n in range(200)]
    await lists.write(rows)
    for limit in (1, 7, 100):
        found = await lists.pages(namespace_id, Equals("WorkflowId", "w1"), limit)
        assert [run for page in found for run in page] == in_order(rows[1::2])
    assert await lists.store.count(VisibilityQuery(namespace_id, Equals("WorkflowId", "w1"))) == 100


async def test_counts_load_neither_memos_nor_attributes(lists: Lists) -> None:
    namespace_id = fresh()
    await lists.write([msgspec.structs.replace(run_at(namespace_id, n), memo=b"m" * 5_000) for n in range(50)])
    lists.session.forget()
    for condition in CONDITIONS:
        await lists.store.count_by_status(VisibilityQuery(namespace_id, condition))
    assert not [statement for statement in lists.session.asked if "rest" in statement.cql]
    lists.session.forget()
    assert len((await lists.store.list(VisibilityQuery(namespace_id, None, 5))).rows[0].memo) == 5_000
    assert len([statement for statement in lists.session.asked if statement.table == "run_rest"]) <= 6


async def test_a_hundred_runs_that_start_and_close_together_are_a_few_writes(lists: Lists) -> None:
    namespace_id = fresh()
    rows = [run_at(namespace_id, number, 100_000) for number in range(100)]
    await lists.store.upsert([both for row in rows for both in (row, closed(row, COMPLETED))])
    writes = [statement for statement in lists.session.asked if not statement.is_read]
    assert Counter(statement.table for statement in writes) == {"run_span": 1, "run": 7}
    assert await lists.store.count_by_status(VisibilityQuery(namespace_id)) == {COMPLETED: 100}


async def test_a_deletion_before_the_row_hides_it(lists: Lists) -> None:
    namespace_id = fresh()
    row = run_at(namespace_id, 1)
    await lists.store.upsert([deleted(row)])
    await lists.restarted().upsert([row, closed(run_at(namespace_id, 2), FAILED)])
    assert await lists.runs(namespace_id) == ["000002"]
    assert await lists.runs(namespace_id, Equals("Shape", "round")) == ["000002"]


async def test_an_emptied_span_leaves_the_directory_and_comes_back_with_a_late_row(lists: Lists) -> None:
    namespace_id = fresh()
    rows = [run_at(namespace_id, number, 10, hours=5) for number in range(10)]
    await lists.write(rows)
    await lists.write([deleted(row) for row in rows[:9]])
    spans = Spans(lists.session, lists.clock)
    newest = span_of(rows[-1].start_time_ns)
    assert await lists.runs(namespace_id) == ["000009"]
    known = {span_of(row.start_time_ns) for row in rows}
    # Noted just now: somebody may be about to write.
    assert {span for span, _ in await spans.read(namespace_id, newest, 100)} == known
    lists.clock.advance_to(lists.clock.now_ns() + 2 * FORGET_NS)
    assert await lists.runs(namespace_id) == ["000009"]
    assert [span for span, _ in await spans.read(namespace_id, newest, 100)] == [newest]
    late = msgspec.structs.replace(rows[2], run_id="late")
    await lists.store.upsert([late])
    assert await lists.runs(namespace_id) == ["000009", "late"]


async def overdue(lists: Lists, namespace_id: str, limit: int) -> list[list[str]]:
    """The run ids of all pages of a walk. None takes more than bounded work."""
    found: list[list[str]] = []
    place = b""
    while not found or place:
        lists.session.forget()
        rows, place = await lists.store.overdue(namespace_id, T0 + 100_000 * SECOND_NS, place, limit)
        assert len([statement for statement in lists.session.asked if statement.is_read]) <= 17
        assert not [statement for statement in lists.session.asked if "rest" in statement.cql]
        found.append([row.run_id for row in rows])
    return found


async def test_looking_for_overdue_runs_is_bounded_and_forgets_spans_that_are_empty(lists: Lists) -> None:
    namespace_id = fresh()
    rows = [run_at(namespace_id, number, 400, hours=5) for number in range(400)]
    rows = [row if span_of(row.start_time_ns) % 5 == 0 else closed(row, COMPLETED) for row in rows]
    await lists.write(rows)
    gone = [row for row in rows if span_of(row.start_time_ns) % 5 == 1]
    await lists.write([deleted(row) for row in gone])
    await lists.write([msgspec.structs.replace(rows[0], run_id="now", start_time_ns=T0 + 10**6 * SECOND_NS)])
    expected = in_order([row for row in rows if row.close_time_ns and row not in gone])[::-1]
    pages = await overdue(lists, namespace_id, 10)
    assert [run for page in pages for run in page] == expected
    assert max(map(len, pages)) == 10
    assert len(await overdue(lists, namespace_id, 1000)) == 2
    spans, oldest = {span_of(row.start_time_ns) for row in rows}, Spans(lists.session, lists.clock).oldest
    assert {span for span, _ in await oldest(namespace_id, 0, max(spans), 99)} == spans
    lists.clock.advance_to(lists.clock.now_ns() + 2 * FORGET_NS)
    assert [run for page in await overdue(lists, namespace_id, 3) for run in page] == expected
    emptied = {span_of(row.start_time_ns) for row in gone}
    assert [span for span, _ in await oldest(namespace_id, 0, max(spans), 99)] == sorted(spans - emptied)


async def test_overdue_runs_are_found_among_more_deletions_than_can_be_read(lists: Lists) -> None:
    namespace_id = fresh()
    rows = [closed(run_at(namespace_id, number, 300, hours=2), COMPLETED) for number in range(300)]
    await lists.write(rows)
    lists.store = CassandraVisibility(Grave(lists.session), lists.clock)
    for limit in (7, 1000):
        found = [run for page in await overdue(lists, namespace_id, limit) for run in page]
        assert found == in_order(rows)[::-1]


class Grave(Watched):
    """A session on which a read of a longer time than `passable_ns` would pass too many deletions."""

    passable_ns = SPAN_NS // 7

    async def run(
        self,
        statement: Statement,
        values: Sequence[object] = (),
        *,
        page: bytes | None = None,
        fetch: int | None = None,
    ) -> Rows:
        self._check(statement, values)
        return await super().run(statement, values, page=page, fetch=fetch)

    async def all(self, work: Iterable[tuple[Statement, Sequence[object]]]) -> list[Rows]:
        work = list(work)
        for statement, values in work:
            self._check(statement, values)
        return await super().all(work)

    def _check(self, statement: Statement, values: Sequence[object]) -> None:
        if statement is overdue_runs.ABOVE:
            _, _, start_ns, _, until_ns, _ = values
            assert isinstance(start_ns, int)
            assert isinstance(until_ns, int)
            if until_ns - start_ns > self.passable_ns:
                raise StoreUnavailable("Cassandra could not read run: READ_TOO_MANY_TOMBSTONES from /127.0.0.1:7000.")
        if statement in (walks.WHOLE.below, walks.STATUS.below):
            _, span, start_ns, _, low_ns, _ = values
            assert isinstance(span, int)
            assert isinstance(start_ns, int)
            assert isinstance(low_ns, int)
            if min((span + 1) * SPAN_NS, start_ns) - low_ns > self.passable_ns:
                raise StoreUnavailable("Cassandra could not read run: READ_TOO_MANY_TOMBSTONES from /127.0.0.1:7000.")


async def test_open_runs_of_now_are_found_among_many_that_closed(lists: Lists) -> None:
    namespace_id = fresh()
    now_ns = lists.clock.now_ns()
    rows = [
        msgspec.structs.replace(run_at(namespace_id, number), start_time_ns=now_ns - number * 20 * SECOND_NS)
        for number in range(1_000)
    ]
    await lists.write(rows)
    await lists.write([closed(row, COMPLETED) for row in rows if row.run_id[-2:] != "10"])
    is_open = Equals("ExecutionStatus", RUNNING)
    left = in_order([row for row in rows if row.run_id[-2:] == "10"])
    for limit in (1, 3, 100):
        found = await lists.pages(namespace_id, is_open, limit)
        assert [run for page in found for run in page] == left
    assert await lists.store.count(VisibilityQuery(namespace_id, is_open)) == len(left) == 10
    assert await lists.runs(namespace_id, And((is_open, Equals("Tenant", "t10")))) == ["000510", "000010"][::-1]
    assert await lists.runs(namespace_id, And((is_open, Equals("HistoryLength", 0)))) == left


async def test_a_span_with_too_many_deletions_is_read_piece_by_piece(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace_id = fresh()
    rows = [run_at(namespace_id, number, 300, hours=2) for number in range(300)]
    await lists.write(rows)
    await lists.write([deleted(row) for row in rows if span_of(row.start_time_ns) % 2])
    kept = [row for row in rows if not span_of(row.start_time_ns) % 2]
    lists.clock.advance_to(lists.clock.now_ns() + 2 * FORGET_NS)
    lists.store = CassandraVisibility(Grave(lists.session), lists.clock)
    assert await lists.runs(namespace_id) == in_order(kept)
    assert await lists.store.count(VisibilityQuery(namespace_id)) == len(kept)
    known = await Spans(lists.session, lists.clock).read(namespace_id, span_of(rows[-1].start_time_ns), 100)
    assert {span for span, _ in known} == {span_of(row.start_time_ns) for row in kept}
    monkeypatch.setattr(Grave, "passable_ns", 0)
    with pytest.raises(StoreUnavailable, match="TOMBSTONES"):
        await lists.runs(namespace_id)


async def test_a_span_noted_anew_outlives_who_saw_it_empty(lists: Lists) -> None:
    namespace_id = fresh()
    span = span_of(T0)
    spans, other = Spans(lists.session, lists.clock), Spans(lists.session, lists.clock)
    await spans.note([(namespace_id, span)])
    lists.clock.advance_to(lists.clock.now_ns() + 2 * FORGET_NS)
    seen = await spans.read(namespace_id, span, 10)
    await other.note([(namespace_id, span)])
    await spans.forget(namespace_id, seen)
    assert [found for found, _ in await spans.read(namespace_id, span, 10)] == [span]
    assert await spans.read(namespace_id, span - 1, 10) == []


async def test_a_note_is_written_once_in_a_while_and_again_by_who_was_held_up(lists: Lists) -> None:
    clock = SlowClock()
    spans = Spans(lists.session, clock)
    place = (fresh(), span_of(T0))

    async def notes(*, used: bool = False) -> int:
        lists.session.forget()
        await (spans.used([place]) if used else spans.note([place]))
        return len(lists.session.asked)

    assert [await notes(), await notes(), await notes(used=True)] == [1, 0, 0]
    clock.now += NOTE_NS
    assert [await notes(), await notes()] == [1, 0]
    clock.now += FORGET_NS // 2
    assert [await notes(used=True), await notes(used=True)] == [1, 0]


class SlowClock:
    """Stands still between two steps."""

    def __init__(self) -> None:
        self.now = T0

    def now_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        return self.now
