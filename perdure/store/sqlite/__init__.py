"""A store in one SQLite file, for one process: `perdure dev` and small installations.

Invariant: what was acknowledged is on the disk (WAL, synchronous=FULL, many transitions per fsync), whatever kills the
process. One thread writes, two read; the loop never waits for the disk. Knows no rule of the product.
"""

from os import PathLike, fspath
from pathlib import Path

from perdure.base.clock import Clock
from perdure.store.sqlite.checkpoints import SqliteCheckpoints
from perdure.store.sqlite.connection import MEMORY
from perdure.store.sqlite.documents import SqliteDocuments, SqliteShards
from perdure.store.sqlite.lock import FileLock
from perdure.store.sqlite.log import SqliteLog
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.visibility import SqliteVisibility
from perdure.store.sqlite.writer import Writer
from perdure.store.unshared import UnsharedLeases

__all__ = ["SqliteStore"]


class SqliteStore:
    """`perdure.store.contract.Store` in a file. Made by `open`, on the loop that it then belongs to."""

    is_shared = False  # the file's lock keeps other processes out

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, lock: FileLock | None) -> None:
        self._writer = writer
        self._readers = readers
        self._lock = lock
        self.log = SqliteLog(writer, readers)
        self.shards = SqliteShards(writer)
        self.leases = UnsharedLeases()
        self.checkpoints = SqliteCheckpoints(writer, readers, clock)
        self.visibility = SqliteVisibility(writer, readers, clock)
        self.documents = SqliteDocuments(writer, readers)

    @classmethod
    async def open(cls, path: str | PathLike[str], *, clock: Clock) -> "SqliteStore":
        """Open the file, created if it isn't there, or ":memory:".

        Raises StoreUnavailable if another process has it or it can't be opened, FailedPrecondition if its schema is
        newer than this program or it is another program's.
        """
        name = _resolved(path)
        lock = None if name == MEMORY else FileLock(name)
        writer = Writer(name)
        try:
            await writer.open()
        except BaseException:
            await writer.close()
            if lock is not None:
                lock.release()
            raise
        return cls(writer, Readers(name, writer), clock, lock)

    async def close(self) -> None:
        """Do what is queued, copy the write-ahead log into the database, let others open it."""
        await self._readers.close()
        await self._writer.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _resolved(path: str | PathLike[str]) -> str:
    """One name per file, whatever it is called, since the lock goes by the name."""
    name = fspath(path)
    return name if name == MEMORY else str(Path(name).resolve())
