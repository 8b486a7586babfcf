"""The one connection that writes: all queued jobs become one transaction, with a savepoint each, and one fsync.

Invariants: - a job is answered after its transaction is committed, never before; a job that fails leaves nothing and
harms no other; - a full disk or database is a definite failure: a transaction that could not be written whole has no
commit mark; - after an input/output error nothing is known: the write-ahead log may hold a commit that was not synced,
and a later fsync may succeed without having written it. Nothing is read or written until the file was opened again and
everything in its log was copied into the database and synced (`wal_checkpoint(TRUNCATE)`): those pages are written
anew, so this fsync covers them. The same is done at every start, since the process before may have died in doubt.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from perdure.base.errors import PerdureError, StoreUnavailable
from perdure.schema import sqlite as schema
from perdure.store.sqlite.connection import MEMORY, connect, definite, in_doubt, is_full, is_io_error
from perdure.store.sqlite.thread import Job, WorkThread

T = TypeVar("T")


class Writer:
    """Runs jobs `(connection) -> value` in transactions."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._doubtful = False
        self._thread = WorkThread("perdure-sqlite-writer", self._work, self._disconnect)

    @property
    def doubtful(self) -> bool:
        """An input/output error happened, and what is durable has not been established since."""
        return self._doubtful

    async def open(self) -> None:
        """Open the database and bring its schema up to date."""
        # The first job opens; there is nothing else to do for it.
        await self._thread.submit(lambda _: None)

    async def run(self, job: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """The job's value, once it is durable. Raises StoreUnavailable (not done) or OutcomeUnknown."""
        return await self._thread.submit(job, size)

    async def close(self) -> None:
        """Commit what is queued, then close."""
        await self._thread.close()

    # Everything below runs in the thread.

    def _work(self, jobs: list[Job]) -> None:
        try:
            connection = self._settled()
        except (sqlite3.Error, StoreUnavailable) as error:
            if not self._doubtful and not isinstance(error, sqlite3.Error):
                raise
            _fail(jobs, in_doubt if self._doubtful else definite, error)
            return
        self._transact(connection, jobs)

    def _settled(self) -> sqlite3.Connection:
        """The connection, opened, or opened again after an error."""
        if self._connection is not None and not self._doubtful:
            return self._connection
        self._disconnect()
        connection = connect(self._path, writes=True)
        try:
            if self._path != MEMORY:
                _establish(connection)
            schema.apply(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._doubtful = False
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _transact(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """One transaction of all jobs; where it fails as a whole for want of space, one of each."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                _run(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if not _rolled_back(connection, error):
                self._doubtful = self._path != MEMORY
                _fail(jobs, in_doubt, error)
            elif is_full(error) and len(jobs) > 1:
                self._transact_singly(connection, jobs, error)
            else:
                _fail(jobs, definite, error)

    def _transact_singly(self, connection: sqlite3.Connection, jobs: list[Job], error: sqlite3.Error) -> None:
        for at, job in enumerate(jobs):
            if self._doubtful:
                _fail(jobs[at:], in_doubt, error)
                return
            job.value, job.error = None, None
            self._transact(connection, [job])


def _fail(jobs: list[Job], meaning: Callable[[Exception], PerdureError], error: Exception) -> None:
    for job in jobs:
        job.error = meaning(error)


def _rolled_back(connection: sqlite3.Connection, error: sqlite3.Error) -> bool:
    """Whether a failed transaction has definitely left nothing."""
    if is_io_error(error):
        return False
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return True


def _run(connection: sqlite3.Connection, job: Job) -> None:
    """One job inside the transaction. Raises what concerns the transaction as a whole."""
    connection.execute("SAVEPOINT job")
    try:
        job.value = job.run(connection)
    except BaseException as error:
        if not connection.in_transaction or is_io_error(error):
            raise
        connection.execute("ROLLBACK TO job")
        job.error = definite(error) if isinstance(error, sqlite3.Error) else error
    connection.execute("RELEASE job")


def _establish(connection: sqlite3.Connection) -> None:
    """Everything that was acknowledged is in the database file and on the disk. Raises sqlite3.Error if it can't be
    said.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("readers keep the write-ahead log from being emptied")
    assert not connection.in_transaction
