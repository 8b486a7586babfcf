"""Connections that only read, beside the writer: they see what is committed, and never wait for it.

While the writer is in doubt nothing is read before it has settled what is durable. A database in memory has one
connection, and its reads go through the writer.
"""

import itertools
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from perdure.store.sqlite.connection import MEMORY, connect, definite
from perdure.store.sqlite.thread import Job, WorkThread
from perdure.store.sqlite.writer import Writer

T = TypeVar("T")

_THREADS = 2


class Readers:
    """Runs jobs `(connection) -> value` that write nothing."""

    def __init__(self, path: str, writer: Writer) -> None:
        self._writer = writer
        count = 0 if path == MEMORY else _THREADS
        self._readers = [_Reader(path) for _ in range(count)]
        self._next = itertools.cycle(self._readers)

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """The job's value. Raises StoreUnavailable, or OutcomeUnknown while the writer is in doubt."""
        if not self._readers:
            return await self._writer.run(job)
        if self._writer.doubtful:
            await self._writer.run(lambda _: None)
        return await next(self._next).run(job)

    async def close(self) -> None:
        """Finish what is queued, then close."""
        for reader in self._readers:
            await reader.close()


class _Reader:
    """One thread, one connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = WorkThread("perdure-sqlite-reader", self._work, self._disconnect)

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await self._thread.submit(job)

    async def close(self) -> None:
        await self._thread.close()

    def _work(self, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                if self._connection is None:
                    self._connection = connect(self._path, writes=False)
                job.value = job.run(self._connection)
            except sqlite3.Error as error:
                job.error = definite(error)
                self._disconnect()
            except Exception as error:  # noqa: BLE001 - its caller gets it, the other jobs go on
                job.error = error

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()
