"""List rows in memory, per namespace sorted by (start time, run id). Invariant: per run the highest version stands."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sortedcontainers import SortedDict

from perdure.base.clock import Clock
from perdure.store.contract import VISIBILITY_DELETION_NS
from perdure.store.memory.tombstones import Tombstones
from perdure.visibility.evaluate import predicate, workflow_id
from perdure.visibility.rows import VisibilityPage, VisibilityQuery, VisibilityRow
from perdure.visibility.token import before, page_of, position_of

# What a page of overdue runs looks at: nothing else runs meanwhile.
_LOOKED_AT_MAX = 10_000


class MemoryVisibility:
    """`perdure.store.contract.VisibilityStore` in sorted dicts."""

    def __init__(self, clock: Clock) -> None:
        self._runs: dict[tuple[str, str], VisibilityRow] = {}
        # namespace id -> (start time, run id) -> row
        self._sorted: dict[str, Any] = {}
        # (namespace id, workflow id) -> the same, unsorted: a list of one workflow id's runs is the commonest.
        self._by_workflow: dict[tuple[str, str], dict[tuple[int, str], VisibilityRow]] = {}
        self._dead = Tombstones(clock, VISIBILITY_DELETION_NS)

    async def upsert(self, rows: Sequence[VisibilityRow]) -> None:
        for row in rows:
            at = (row.namespace_id, row.run_id)
            found = self._runs.get(at)
            start_ns = row.start_time_ns or (found.start_time_ns if found is not None else 0)
            if self._dead.get((*at, start_ns)) >= row.version:
                continue
            if row.deleted:
                self._dead.add((*at, start_ns), row.version)
            if found is not None and (found.start_time_ns, found.version) > (start_ns, row.version):
                continue
            if found is not None:
                self._remove(found)
            if not row.deleted:
                self._add(row)
        self._dead.sweep()

    def _add(self, row: VisibilityRow) -> None:
        position = (row.start_time_ns, row.run_id)
        self._runs[row.namespace_id, row.run_id] = row
        newest = self._sorted.get(row.namespace_id)
        if newest is None:
            newest = self._sorted[row.namespace_id] = SortedDict()
        newest[position] = row
        self._by_workflow.setdefault((row.namespace_id, row.workflow_id), {})[position] = row

    def _remove(self, row: VisibilityRow) -> None:
        del self._runs[row.namespace_id, row.run_id]
        del self._sorted[row.namespace_id][row.start_time_ns, row.run_id]
        runs = self._by_workflow[row.namespace_id, row.workflow_id]
        del runs[row.start_time_ns, row.run_id]
        if not runs:
            del self._by_workflow[row.namespace_id, row.workflow_id]

    async def list(self, query: VisibilityQuery) -> VisibilityPage:
        return page_of(self._newest_first(query), query.limit)

    async def count(self, query: VisibilityQuery) -> int:
        if query.filter is None:
            return len(self._sorted.get(query.namespace_id, ()))
        return sum(1 for _ in self._newest_first(VisibilityQuery(query.namespace_id, query.filter)))

    async def count_by_status(self, query: VisibilityQuery) -> dict[int, int]:
        return Counter(row.status for row in self._newest_first(VisibilityQuery(query.namespace_id, query.filter)))

    async def overdue(
        self, namespace_id: str, closed_before_ns: int, place: bytes, limit: int
    ) -> tuple[Sequence[VisibilityRow], bytes]:
        rows = self._sorted.get(namespace_id)
        if rows is None:
            return [], b""
        found: list[VisibilityRow] = []
        bounds = (position_of(place), (closed_before_ns, ""))
        for looked, at in enumerate(rows.irange(*bounds, inclusive=(False, False)), 1):
            if 0 < rows[at].close_time_ns < closed_before_ns:
                found.append(rows[at])
            if len(found) == limit or looked == _LOOKED_AT_MAX:
                return found, before(at)
        return found, b""

    def _newest_first(self, query: VisibilityQuery) -> Iterator[VisibilityRow]:
        below = position_of(query.token)
        workflow = workflow_id(query.filter)
        if workflow is None:
            rows = self._sorted.get(query.namespace_id)
        else:
            rows = SortedDict(self._by_workflow.get((query.namespace_id, workflow), {}))
        if rows is None:
            return
        wanted = predicate(query.filter)
        for at in rows.irange(maximum=below, inclusive=(True, False), reverse=True):
            row = rows[at]
            if wanted(row):
                yield row
