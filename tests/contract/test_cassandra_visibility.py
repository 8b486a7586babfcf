"""Lists in Cassandra: the contract, and what only they promise: thousands of runs over hours, rare ones, space freed."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest

from perdure.base.clock import AdvancingClock, SystemClock
from perdure.store.cassandra import CassandraOptions, CassandraStore
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.spans import FORGET_NS, SPAN_NS
from perdure.store.cassandra.statements import Statement
from perdure.store.cassandra.walks import FEW, SPANS_OF_A_PAGE
from perdure.store.contract import Store
from perdure.testing import store_contract
from perdure.testing.store_contract.suite import fresh
from perdure.testing.store_contract.visibility import payload
from perdure.visibility.evaluate import matches
from perdure.visibility.rows import VisibilityQuery, VisibilityRow
from perdure.visibility.token import position_of
from perdure.visibility.tree import And, Equals, Filter
from tests.cassandra.fixtures import Keyspace

SECOND_NS = 1_000_000_000
T0 = 1_700_000_000 * SECOND_NS
RUNS = 5_000
RUNNING, COMPLETED, FAILED, TERMINATED = 1, 2, 3, 5


@asynccontextmanager
async def opened(keyspace: Keyspace) -> AsyncIterator[tuple[CassandraStore, AdvancingClock]]:
    """A store, and its clock."""
    options = CassandraOptions(
        contact_points=(keyspace.contact.host,),
        port=keyspace.contact.port,
        keyspace=keyspace.name,
        replication=1,
        simple_strategy=True,
    )
    clock = AdvancingClock(SystemClock())
    store = await CassandraStore.open(options, clock=clock, dev=True)
    try:
        yield store, clock
    finally:
        await store.close()


class TestVisibility(store_contract.VisibilityContract):
    """The contract."""

    _keyspace: Keyspace

    @pytest.fixture(autouse=True)
    def _on(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace

    def opened(self, *, empty: bool = False) -> AbstractAsyncContextManager[Store]:
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Store]:
        async with opened(self._keyspace) as (store, _):
            yield store


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


async def pages(store: CassandraStore, namespace_id: str, condition: Filter | None, limit: int) -> list[list[str]]:
    """The run ids of all pages."""
    found: list[list[str]] = []
    token = b""
    while not found or token:
        page = await store.visibility.list(VisibilityQuery(namespace_id, condition, limit, token))
        found.append([row.run_id for row in page.rows])
        token = page.token
    return found


def in_order(rows: list[VisibilityRow]) -> list[str]:
    """The run ids in the order of lists."""
    return [row.run_id for row in sorted(rows, key=lambda row: (row.start_time_ns, row.run_id), reverse=True)]


async def write(store: CassandraStore, rows: list[VisibilityRow]) -> None:
    """Write them as the pumps do: so many at a time."""
    for at in range(0, len(rows), 100):
        await store.visibility.upsert(rows[at : at + 100])


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


async def test_thousands_over_hours_are_paged_and_counted_exactly_once_each_by_every_filter(keyspace: Keyspace) -> None:
    async with opened(keyspace) as (store, _):
        namespace_id = fresh()
        rows = {row.run_id: row for row in (run_at(namespace_id, number) for number in range(RUNS))}
        await write(store, list(rows.values()))
        await write(store, [run_at(fresh(), number) for number in range(0, RUNS, 50)])
        ends = [
            closed(row, FAILED if number % 1000 == 5 else COMPLETED)
            for number, row in enumerate(rows.values())
            if number % 10
        ]
        await write(store, ends)
        await write(store, [rows[row.run_id] for row in ends[::7]])  # late, and of lower versions
        gone = [msgspec.structs.replace(row, version=1 << 62, deleted=True) for row in ends[::20]]
        await write(store, gone)
        await write(store, [rows[row.run_id] for row in gone[::2]])
        rows |= {row.run_id: row for row in ends}
        for row in gone:
            del rows[row.run_id]
        assert await _disagreeing(store, namespace_id, list(rows.values())) == []


async def _disagreeing(store: CassandraStore, namespace_id: str, rows: list[VisibilityRow]) -> list[object]:
    """The conditions by which the store finds, or counts, other runs than there are."""
    wrong: list[object] = []
    for condition in CONDITIONS:
        expected = [row for row in rows if matches(condition, row)]
        found = await pages(store, namespace_id, condition, 700)
        query = VisibilityQuery(namespace_id, condition)
        counts: dict[int, int] = {}
        for row in expected:
            counts[row.status] = counts.get(row.status, 0) + 1
        if (
            [run for page in found for run in page] != in_order(expected)
            or any(len(page) < 700 for page in found[:-1])
            or await store.visibility.count(query) != len(expected)
            or await store.visibility.count_by_status(query) != counts
        ):
            wrong.append(condition)
    return wrong
