"""The SQLite schema is applied whole, in order, once; and never over a newer one."""

import sqlite3
from collections.abc import Iterator

import pytest

from perdure.base.errors import FailedPrecondition
from perdure.schema import sqlite as schema

ONE = "-- first; with a semicolon\nCREATE TABLE one (\n    a TEXT DEFAULT ';'\n);\nINSERT INTO one VALUES ('x');\n"
TWO = "ALTER TABLE one ADD COLUMN b;\n"
BROKEN = "CREATE TABLE two (a);\nCREATE TABLE one (a);\n"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    yield opened
    opened.close()


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def test_a_new_database_gets_every_version(connection: sqlite3.Connection) -> None:
    assert schema.apply(connection, {1: ONE, 2: TWO}) == 0
    assert _columns(connection, "one") == ["a", "b"]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_only_what_is_missing_is_applied(connection: sqlite3.Connection) -> None:
    schema.apply(connection, {1: ONE})
    assert schema.apply(connection, {1: ONE, 2: TWO}) == 1
    assert schema.apply(connection, {1: ONE, 2: TWO}) == 2
    assert connection.execute("SELECT a FROM one").fetchall() == [("x",)]


def test_a_version_that_fails_leaves_the_database_as_it_was(connection: sqlite3.Connection) -> None:
    schema.apply(connection, {1: ONE})
    with pytest.raises(sqlite3.OperationalError):
        schema.apply(connection, {1: ONE, 2: TWO, 3: BROKEN})
    assert _columns(connection, "one") == ["a"]
    assert _columns(connection, "two") == []
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_newer_schema_is_refused_and_left_alone(connection: sqlite3.Connection) -> None:
    schema.apply(connection, {1: ONE, 2: TWO})
    with pytest.raises(FailedPrecondition, match="schema version 2, this program knows up to 1"):
        schema.apply(connection, {1: ONE})
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_another_programs_database_is_refused(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(FailedPrecondition, match="another program"):
        schema.apply(connection, {1: ONE})
    assert _columns(connection, "one") == []


def test_the_shipped_versions_begin_at_one_and_have_no_gap(connection: sqlite3.Connection) -> None:
    shipped = schema.versions()
    assert list(shipped) == list(range(1, len(shipped) + 1))
    assert schema.apply(connection) == 0
