"""The SQLite schema, as numbered SQL files beside this module, and how it is brought up to date.

Invariant: a file is applied whole or not at all, once, in order; a database of a newer version, or one that is not
Perdure's, is left as it is. The caller holds the lock that keeps other processes out. A file, once released, never
changes. Knows no table.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from perdure.base.errors import FailedPrecondition

# SQLite keeps it in the file's header; `file` shows it. "Pdur".
APPLICATION_ID = 0x50647572


@cache
def versions() -> Mapping[int, str]:
    """The SQL text of each version, ascending from 1 without a gap."""
    found: dict[int, str] = {}
    for entry in sorted(resources.files(__name__).iterdir(), key=lambda entry: entry.name):
        number, _, rest = entry.name.partition("_")
        if rest.endswith(".sql"):
            found[int(number)] = entry.read_text(encoding="utf-8")
    assert list(found) == list(range(1, len(found) + 1)), "schema versions have a gap"
    return MappingProxyType(found)


def apply(connection: sqlite3.Connection, wanted: Mapping[int, str] | None = None) -> int:
    """Bring the database up to the newest of `wanted` (those of this package); returns the version that it had.

    `connection` is in autocommit mode. Raises FailedPrecondition for a newer schema and for another program's database.
    """
    wanted = versions() if wanted is None else wanted
    newest = max(wanted, default=0)
    connection.execute("BEGIN IMMEDIATE")
    try:
        current = _version(connection)
        if current > newest:
            raise FailedPrecondition(
                f"The database has schema version {current}, this program knows up to {newest}. Use a newer program."
            )
        for version in range(current + 1, newest + 1):
            for statement in _statements(wanted[version]):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest}")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return current


def _version(connection: sqlite3.Connection) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise FailedPrecondition("The file is another program's SQLite database; name another one.")
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: executescript would commit before it begins."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), "the script ends within a statement"
