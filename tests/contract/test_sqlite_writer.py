"""The writer of a SQLite store: many jobs in one transaction, each on its own; a database that is full; traces that are
swept."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import FailedPrecondition, InvalidArgument, StoreUnavailable
from perdure.store.contract import Group, SegmentHeader, SegmentId, Snapshot, Written
from perdure.store.sqlite import SqliteStore
from perdure.testing.store_contract.suite import chain, checkpoint, new_segment, offer_of
from perdure.visibility.rows import VisibilityRow


class HandClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.time_ns = 1_700_000_000 * SECOND_NS

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_ns(self) -> int:
        return self.time_ns


CLOCK = HandClock()


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "perdure.db" if request.param == "file" else ":memory:", clock=CLOCK)
    yield opened
    await opened.close()


async def _pragma(store: SqliteStore, text: str) -> int:
    return await store._writer.run(lambda connection: int(connection.execute(f"PRAGMA {text}").fetchone()[0]))


async def test_a_full_database_refuses_definitely_leaves_nothing_half_done_and_goes_on(store: SqliteStore) -> None:
    segment = await new_segment(store)
    pages = await _pragma(store, "page_count")
    await _pragma(store, f"max_page_count = {pages + 4}")
    big = Group(1, bytes(1 << 20), 1)
    with pytest.raises(StoreUnavailable, match="the database is full"):
        await store.log.append(segment, 1, big)
    assert await store.log.read_header(segment) == SegmentHeader(1, 0, 0)
    assert await store.log.read_groups(segment, 0, 10) == []
    await _pragma(store, f"max_page_count = {pages + 4000}")
    assert (await store.log.append(segment, 1, big)).applied
    assert await store.log.read_groups(segment, 0, 10) == [big]


async def test_one_job_too_many_for_a_full_database_harms_no_other(store: SqliteStore) -> None:
    segments = [await new_segment(store) for _ in range(5)]
    pages = await _pragma(store, "page_count")
    await _pragma(store, f"max_page_count = {pages + 8}")
    groups = [Group(1, bytes(1 << 20) if at == 2 else b"small", 1) for at in range(5)]
    answers = await asyncio.gather(
        *(store.log.append(segment, 1, group) for segment, group in zip(segments, groups, strict=True)),
        return_exceptions=True,
    )
    assert [isinstance(answer, StoreUnavailable) for answer in answers] == [at == 2 for at in range(5)]
    for segment, group in zip(segments, groups, strict=True):
        assert await store.log.read_groups(segment, 0, 10) == ([group] if group.body == b"small" else [])


async def test_a_job_that_raises_leaves_nothing_and_harms_no_other(store: SqliteStore) -> None:
    segment = await new_segment(store)

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM log_segment")
        raise InvalidArgument("half way")

    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM log_segment")
        connection.execute("SELECT nonsense")

    append, *failed = await asyncio.gather(
        store.log.append(segment, 1, Group(1, b"one", 1)),
        store._writer.run(half),
        store._writer.run(wrong),
        return_exceptions=True,
    )
    assert [type(error) for error in failed] == [InvalidArgument, StoreUnavailable]
    assert not isinstance(append, BaseException)
    assert append.applied
    assert await store.log.read_header(segment) == append.header
    assert await store.log.read_groups(segment, 0, 10) == [Group(1, b"one", 1)]


async def test_where_a_full_disk_undoes_the_whole_transaction_every_other_job_is_done_again(store: SqliteStore) -> None:
    segments = [await new_segment(store) for _ in range(2)]
    pages = await _pragma(store, "page_count")
    await _pragma(store, f"max_page_count = {pages + 8}")

    def undo_all(connection: sqlite3.Connection) -> None:
        # As SQLite does by itself when the write-ahead log can't be written.
        connection.execute("ROLLBACK")
        connection.execute("INSERT INTO document VALUES ('kind', 'key', 0, zeroblob(1000000))")

    first, failed, last = await asyncio.gather(
        store.log.append(segments[0], 1, Group(1, b"one", 1)),
        store._writer.run(undo_all),
        store.log.append(segments[1], 1, Group(1, b"one", 1)),
        return_exceptions=True,
    )
    assert isinstance(failed, StoreUnavailable)
    assert first == last == Written(True, SegmentHeader(1, 1, 1))
    for segment in segments:
        assert await store.log.read_groups(segment, 0, 10) == [Group(1, b"one", 1)]


async def test_what_queues_up_behind_a_commit_shares_the_next_one(store: SqliteStore) -> None:
    segments = [await new_segment(store) for _ in range(50)]
    commits: list[str] = []
    gate = threading.Event()
    await store._writer.run(lambda connection: connection.set_trace_callback(commits.append))

    async def open_gate() -> None:
        gate.set()

    await asyncio.gather(
        store._writer.run(lambda _: gate.wait()),
        *(store.log.append(segment, 1, Group(1, b"one", 1)) for segment in segments),
        open_gate(),
    )
    # One behind the trace, one with whatever was there before the gate, one with the rest.
    assert commits.count("COMMIT") <= 3


async def test_a_closed_store_refuses(store: SqliteStore) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.log.read_header(SegmentId("shard", 1, 0))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.documents.list_documents("namespace")


async def test_what_was_queued_before_the_close_is_done(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "perdure.db", clock=CLOCK)
    segment = await new_segment(store)
    append, _ = await asyncio.gather(store.log.append(segment, 1, Group(1, b"one", 1)), store.close())
    assert append.applied


async def test_traces_of_deletions_are_swept_after_an_hour_and_those_of_lists_after_a_day(store: SqliteStore) -> None:
    key = chain()
    gone = checkpoint(10, Snapshot(key, "run", 5, None), removed=[offer_of(key, 1)], dropped=[(key, "branch")])
    await store.checkpoints.write(gone)
    await store.visibility.upsert([VisibilityRow("ns", "w", "run", 1, deleted=True)])

    async def left() -> dict[str, int]:
        CLOCK.time_ns += 601 * SECOND_NS
        await store.checkpoints.write(checkpoint(11))
        await store.visibility.upsert([])
        tables = ("snapshot", "tombstone", "run")
        return await store._writer.run(
            lambda connection: {
                table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in tables
            }
        )

    assert await left() == {"snapshot": 1, "tombstone": 2, "run": 1}
    CLOCK.time_ns += 3000 * SECOND_NS
    assert await left() == {"snapshot": 0, "tombstone": 0, "run": 1}
    CLOCK.time_ns += 82_800 * SECOND_NS
    assert await left() == {"snapshot": 0, "tombstone": 0, "run": 0}
    assert await store.checkpoints.read_snapshot(key, "run") is None


async def test_a_file_of_another_program_or_of_a_newer_one_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "perdure.db"
    await (await SqliteStore.open(path, clock=CLOCK)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FailedPrecondition, match="schema version 99"):
        await SqliteStore.open(path, clock=CLOCK)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(FailedPrecondition, match="another program"):
        await SqliteStore.open(other, clock=CLOCK)
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to look like one " * 50)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await SqliteStore.open(text, clock=CLOCK)
    with pytest.raises(StoreUnavailable, match="can't be opened"):
        await SqliteStore.open(tmp_path / "nowhere" / "perdure.db", clock=CLOCK)
