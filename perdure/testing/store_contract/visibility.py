"""List rows: the highest version wins, newest first, paged without gap or double, filtered as `evaluate.matches`
says.
"""

import itertools
from collections.abc import Sequence

import msgspec
from temporalio.api.common.v1 import Payload

from perdure.base.errors import InvalidArgument
from perdure.store.contract import Store
from perdure.testing.store_contract.suite import StoreSuite, fresh
from perdure.visibility.evaluate import matches
from perdure.visibility.rows import PAGE_BYTES_MAX, VisibilityQuery, VisibilityRow
from perdure.visibility.tree import And, Equals, Filter


def payload(value: object, kind: str = "") -> bytes:
    """An encoded JSON payload, with type metadata if `kind` is given."""
    metadata = {"encoding": b"json/plain"} | ({"type": kind.encode()} if kind else {})
    return Payload(metadata=metadata, data=msgspec.json.encode(value)).SerializeToString()


def _row(namespace_id: str, run_id: str, start_ns: int = 100, version: int = 1, status: int = 1) -> VisibilityRow:
    return VisibilityRow(namespace_id, f"w-{run_id}", run_id, version, status=status, start_time_ns=start_ns)


def _full_row(namespace_id: str, run_id: str) -> VisibilityRow:
    return VisibilityRow(
        namespace_id,
        "w",
        run_id,
        3,
        workflow_type="Order",
        task_queue="q",
        status=2,
        start_time_ns=1_700_000_000_123_456_789,
        execution_time_ns=1_700_000_001_000_000_000,
        close_time_ns=1_700_000_009_000_000_000,
        history_length=11,
        history_bytes=12_345,
        state_transitions=7,
        parent_workflow_id="p",
        parent_run_id="p-run",
        root_workflow_id="root",
        root_run_id="root-run",
        memo=b"\x00memo",
        search_attributes={
            "Customer": payload("Ünicode 'quoted' \"twice\"", "Keyword"),
            "Tags": payload(["red", "blue"], "KeywordList"),
            "Amount": payload(12.5, "Double"),
            "Count": payload(4, "Int"),
            "Paid": payload(True, "Bool"),
            "Due": payload("2024-05-06T07:08:09.123456789+02:00", "Datetime"),
            "Nothing": payload(None),
            'odd "name" $.[0]%': payload("odd", "Keyword"),
        },
    )


async def _listed(store: Store, namespace_id: str, condition: Filter | None = None, limit: int = 1000) -> list[str]:
    """All matching run ids, read page by page, each page but the last full: what is near together is read at once."""
    runs: list[str] = []
    token = b""
    while True:
        page = await store.visibility.list(VisibilityQuery(namespace_id, condition, limit, token))
        runs += [row.run_id for row in page.rows]
        token = page.token
        if not token:
            break
        assert len(page.rows) == limit
    assert await store.visibility.count(VisibilityQuery(namespace_id, condition)) == len(runs)
    assert sum((await store.visibility.count_by_status(VisibilityQuery(namespace_id, condition))).values()) == len(runs)
    return runs


def _closed(namespace_id: str, run_id: str, start_ns: int, close_ns: int) -> VisibilityRow:
    return msgspec.structs.replace(_row(namespace_id, run_id, start_ns, 2, 2), close_time_ns=close_ns)


async def _overdue(store: Store, namespace_id: str, closed_before_ns: int, limit: int) -> list[str]:
    """The run ids of a whole walk."""
    runs: list[str] = []
    place = b""
    while True:
        found, place = await store.visibility.overdue(namespace_id, closed_before_ns, place, limit)
        assert len(found) <= limit
        runs += [row.run_id for row in found]
        if not place:
            return runs


class VisibilityContract(StoreSuite):
    """`VisibilityStore`."""

    async def test_a_row_is_listed_whole(self) -> None:
        async with self.opened() as store:
            row = _full_row(fresh(), "run")
            await store.visibility.upsert([row])
            page = await store.visibility.list(VisibilityQuery(row.namespace_id))
            assert page.rows == [row]
            assert page.token == b""

    async def test_namespaces_do_not_see_each_other(self) -> None:
        async with self.opened() as store:
            one, other = fresh(), fresh()
            await store.visibility.upsert([_row(one, "same"), _row(other, "same"), _row(other, "two", 50)])
            assert await _listed(store, one) == ["same"]
            assert await _listed(store, other) == ["same", "two"]
            assert await _listed(store, fresh()) == []

    async def test_newest_start_first_and_of_equal_starts_the_greater_run_id(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            rows = [_row(namespace_id, run, start) for run, start in (("b", 1), ("c", 5), ("a", 5), ("d", 3))]
            await store.visibility.upsert(rows)
            assert await _listed(store, namespace_id) == ["c", "a", "d", "b"]

    async def test_pages_hold_every_row_once_also_among_equal_starts(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            rows = [_row(namespace_id, f"r{n:02}", n // 4, status=1 + n % 2) for n in range(20)]
            await store.visibility.upsert(rows)
            expected = [f"r{n:02}" for n in range(19, -1, -1)]
            for limit in (1, 3, 10, 20, 21):
                assert await _listed(store, namespace_id, limit=limit) == expected
                odd = [run for run in expected if int(run[1:]) % 2]
                assert await _listed(store, namespace_id, Equals("ExecutionStatus", 2), limit) == odd

    async def test_a_page_of_large_rows_is_short_and_the_next_goes_on(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            memo = b"m" * (PAGE_BYTES_MAX // 3 - 1000)
            rows = [msgspec.structs.replace(_row(namespace_id, f"r{n}", n), memo=memo) for n in range(7)]
            rows.append(msgspec.structs.replace(_row(namespace_id, "r7", 7), memo=b"m" * (PAGE_BYTES_MAX + 1)))
            await store.visibility.upsert(rows)
            pages, token = list[list[str]](), b""
            while not pages or token:
                page = await store.visibility.list(VisibilityQuery(namespace_id, None, 5, token))
                pages.append([row.run_id for row in page.rows])
                token = page.token
            assert pages == [["r7"], ["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]

    async def test_a_row_that_comes_between_two_pages_moves_no_other(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            await store.visibility.upsert([_row(namespace_id, f"r{n}", n) for n in range(4)])
            first = await store.visibility.list(VisibilityQuery(namespace_id, None, 2))
            await store.visibility.upsert([_row(namespace_id, "new", 99)])
            second = await store.visibility.list(VisibilityQuery(namespace_id, None, 2, first.token))
            assert [row.run_id for row in first.rows + second.rows] == ["r3", "r2", "r1", "r0"]

    async def test_a_strange_token_is_refused(self) -> None:
        async with self.opened() as store:
            for token in (b"strange", b"\x00", b"\x92\xa1x\xa1y"):
                try:
                    await store.visibility.list(VisibilityQuery(fresh(), None, 2, token))
                except InvalidArgument:
                    continue
                raise AssertionError(f"{token!r} was taken for a token")

    async def test_the_highest_version_wins_in_every_order_of_arrival(self) -> None:
        async with self.opened() as store:
            for versions in itertools.permutations((1, 2, 3)):
                namespace_id = fresh()
                for version in versions:
                    row = _row(namespace_id, "run", 100, version, status=version)
                    await store.visibility.upsert([row])
                page = await store.visibility.list(VisibilityQuery(namespace_id))
                assert [(row.version, row.status, row.start_time_ns) for row in page.rows] == [(3, 3, 100)]
                assert await _listed(store, namespace_id, Equals("ExecutionStatus", 3)) == ["run"]
                assert await _listed(store, namespace_id, Equals("ExecutionStatus", 2)) == []

    async def test_of_one_run_twice_in_one_upsert_the_highest_version_wins(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            await store.visibility.upsert([_row(namespace_id, "run", status=2, version=2), _row(namespace_id, "run")])
            assert await _listed(store, namespace_id, Equals("ExecutionStatus", 2)) == ["run"]

    async def test_a_deleted_row_hides_itself_and_all_lower_versions(self) -> None:
        async with self.opened() as store:
            for versions in itertools.permutations((1, 2, 3)):
                namespace_id = fresh()
                for version in versions:
                    row = _row(namespace_id, "run", version=version)
                    await store.visibility.upsert([msgspec.structs.replace(row, deleted=version == 3)])
                assert await _listed(store, namespace_id) == []

    async def test_a_run_that_is_made_anew_after_its_deletion_is_listed(self) -> None:
        async with self.opened() as store:
            large = b"m" * 10_000
            for memo, at_once in itertools.product((b"", large), (False, True)):
                namespace_id = fresh()
                former = msgspec.structs.replace(_row(namespace_id, "run", 10**9, 5), memo=memo)
                gone = msgspec.structs.replace(_row(namespace_id, "run", 10**9, 2**62), deleted=True)
                anew = msgspec.structs.replace(_row(namespace_id, "run", 5 * 10**9, 1), memo=memo)
                await store.visibility.upsert([former])
                for rows in ([gone, anew],) if at_once else ([gone], [anew]):
                    await store.visibility.upsert(rows)
                await store.visibility.upsert([former])  # it comes late
                await store.visibility.upsert([gone])
                assert (await store.visibility.list(VisibilityQuery(namespace_id))).rows == [anew]
                assert await _listed(store, namespace_id) == ["run"]
                last = msgspec.structs.replace(_row(namespace_id, "run", 5 * 10**9, 2**62), deleted=True)
                await store.visibility.upsert([last])
                await store.visibility.upsert([former, anew])
                assert await _listed(store, namespace_id) == []

    async def test_a_deletion_that_does_not_know_the_start_deletes_what_is_there(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            await store.visibility.upsert([_row(namespace_id, "run"), _row(namespace_id, "other")])
            await store.visibility.upsert(
                [msgspec.structs.replace(_row(namespace_id, "run", 0, version=2), deleted=True)]
            )
            assert await _listed(store, namespace_id) == ["other"]

    async def test_a_changed_custom_attribute_is_no_longer_found_by_its_old_value(self) -> None:
        async with self.opened() as store:
            row = _full_row(fresh(), "run")
            await store.visibility.upsert([row])
            changed = {"Tags": payload(["green"], "KeywordList")}
            await store.visibility.upsert([msgspec.structs.replace(row, version=4, search_attributes=changed)])
            assert await _listed(store, row.namespace_id, Equals("Tags", "green")) == ["run"]
            for old in (Equals("Tags", "red"), Equals("Count", 4)):
                assert await _listed(store, row.namespace_id, old) == []

    async def test_every_predefined_attribute_is_filtered_by(self) -> None:
        conditions = [
            (Equals("WorkflowId", "w"), Equals("WorkflowId", "W")),
            (Equals("RunId", "full"), Equals("RunId", "ful")),
            (Equals("WorkflowType", "Order"), Equals("WorkflowType", "")),
            (Equals("TaskQueue", "q"), Equals("TaskQueue", "%")),
            (Equals("ExecutionStatus", 2), Equals("ExecutionStatus", 1)),
            (Equals("StartTime", 1_700_000_000_123_456_789), Equals("StartTime", 1_700_000_000_123_456_788)),
            (Equals("ExecutionTime", 1_700_000_001_000_000_000), Equals("ExecutionTime", 0)),
            (Equals("CloseTime", 1_700_000_009_000_000_000), Equals("CloseTime", 0)),
            (Equals("ExecutionDuration", 8_000_000_000), Equals("ExecutionDuration", 0)),
            (Equals("HistoryLength", 11), Equals("HistoryLength", "11")),
            (Equals("HistorySizeBytes", 12_345), Equals("HistorySizeBytes", 12_346)),
            (Equals("StateTransitionCount", 7.0), Equals("StateTransitionCount", True)),
            (Equals("ParentWorkflowId", "p"), Equals("ParentWorkflowId", "")),
            (Equals("ParentRunId", "p-run"), Equals("ParentRunId", "")),
            (Equals("RootWorkflowId", "root"), Equals("RootWorkflowId", "")),
            (Equals("RootRunId", "root-run"), Equals("RootRunId", "x")),
        ]
        await self._check(conditions)

    async def test_custom_attributes_are_filtered_by_their_value_and_its_type(self) -> None:
        conditions = [
            (Equals("Customer", "Ünicode 'quoted' \"twice\""), Equals("Customer", "ünicode 'quoted' \"twice\"")),
            (Equals("Tags", "red"), Equals("Tags", "re")),
            (Equals("Tags", "blue"), Equals("Tags", '["red","blue"]')),
            (Equals("Amount", 12.5), Equals("Amount", "12.5")),
            (Equals("Count", 4), Equals("Count", 5)),
            (Equals("Count", 4.0), Equals("Count", 4.5)),
            (Equals("Paid", True), Equals("Paid", False)),
            (Equals("Paid", True), Equals("Paid", 1)),
            (Equals("Due", 1_714_972_089_123_456_789), Equals("Due", "2024-05-06T07:08:09.123456789+02:00")),
            (Equals('odd "name" $.[0]%', "odd"), Equals("odd", "odd")),
            (Equals("Count", 4), Equals("Nothing", "")),
            (Equals("Count", 4), Equals("Unknown", "x")),
            (Equals("Count", 4), Equals("Count", 1 << 70)),
        ]
        await self._check(conditions)

    async def test_counts_by_status_name_only_what_is_there(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            assert await store.visibility.count_by_status(VisibilityQuery(namespace_id)) == {}
            rows = [_row(namespace_id, f"r{n}", n, status=(1, 1, 2, 7)[n]) for n in range(4)]
            gone = msgspec.structs.replace(rows[3], version=9, deleted=True)
            await store.visibility.upsert([*rows, _row(fresh(), "other")])
            found = await store.visibility.count_by_status(VisibilityQuery(namespace_id))
            assert found == {1: 2, 2: 1, 7: 1}
            await store.visibility.upsert([gone])
            assert await store.visibility.count_by_status(VisibilityQuery(namespace_id)) == {1: 2, 2: 1}
            one = VisibilityQuery(namespace_id, Equals("RunId", "r2"))
            assert await store.visibility.count_by_status(one) == {2: 1}

    async def test_overdue_runs_come_oldest_first_in_pages_and_no_others(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            rows = [_closed(namespace_id, run, start, 50) for run, start in (("b", 5), ("c", 9), ("a", 5), ("d", 30))]
            never = [
                _row(namespace_id, "open", 4),
                _closed(namespace_id, "late", 5, 60),
                _closed(namespace_id, "later", 70, 71),
                _closed(fresh(), "other", 5, 50),
            ]
            gone = _closed(namespace_id, "gone", 6, 50)
            await store.visibility.upsert([*rows, *never, gone])
            await store.visibility.upsert([msgspec.structs.replace(gone, version=9, deleted=True)])
            for limit in (1, 2, 3, 4, 5, 100):
                assert await _overdue(store, namespace_id, 60, limit) == ["a", "b", "c", "d"]
            assert await _overdue(store, namespace_id, 61, 2) == ["a", "b", "late", "c", "d"]
            for before in (50, 0, -(10**18)):
                assert await _overdue(store, namespace_id, before, 10) == []
            assert await _overdue(store, fresh(), 60, 10) == []

    async def test_an_overdue_row_says_whose_it_is_and_when_it_was(self) -> None:
        async with self.opened() as store:
            row = _full_row(fresh(), "run")
            await store.visibility.upsert([row])
            (found,), _ = await store.visibility.overdue(row.namespace_id, row.close_time_ns + 1, b"", 10)
            bare = msgspec.structs.replace(row, memo=b"", search_attributes={})
            assert msgspec.structs.replace(found, memo=b"", search_attributes={}) == bare

    async def test_a_walk_for_overdue_runs_finds_what_stays_while_others_go(self) -> None:
        async with self.opened() as store:
            namespace_id = fresh()
            rows = [_closed(namespace_id, f"r{n:02}", n * 10**11, n * 10**11 + 1) for n in range(40)]
            await store.visibility.upsert(rows)
            runs: list[str] = []
            place, is_begun = b"", False
            while place or not is_begun:
                found, place = await store.visibility.overdue(namespace_id, 10**13, place, 7)
                assert len(found) <= 7
                runs += [row.run_id for row in found]
                is_begun = True
                await store.visibility.upsert([msgspec.structs.replace(row, version=9, deleted=True) for row in found])
            assert runs == [row.run_id for row in rows]
            assert await _overdue(store, namespace_id, 10**13, 100) == []

    async def test_a_conjunction_needs_every_part(self) -> None:
        yes, also, no = Equals("WorkflowType", "Order"), Equals("Tags", "blue"), Equals("Count", 5)
        await self._check([(And((yes, also)), And((yes, no))), (And(()), And((no, yes)))])

    async def _check(self, conditions: Sequence[tuple[Filter, Filter]]) -> None:
        """Each first condition finds the full row, no second one does; the adapter agrees with `matches`."""
        async with self.opened() as store:
            namespace_id = fresh()
            rows = [_full_row(namespace_id, "full"), _row(namespace_id, "plain")]
            await store.visibility.upsert(rows)
            for finds, misses in conditions:
                assert "full" in await _listed(store, namespace_id, finds), finds
                assert "full" not in await _listed(store, namespace_id, misses), misses
                for condition in (finds, misses):
                    listed = await _listed(store, namespace_id, condition)
                    assert listed == [row.run_id for row in rows if matches(condition, row)], condition
