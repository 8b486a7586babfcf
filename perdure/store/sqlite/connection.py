"""Opening a database, and what SQLite's errors mean in the store's terms. Knows no table."""

import sqlite3

from perdure.base.errors import PerdureError, StoreUnavailable
from perdure.store.contract import OutcomeUnknown

MEMORY = ":memory:"
BUSY_S = 5.0
# A transaction's pages stay in the cache until it commits; 64 MiB holds the largest batch several times.
_CACHE_KIB = 64 * 1024
_CHECKPOINT_PAGES = 4000


def connect(path: str, *, writes: bool) -> sqlite3.Connection:
    """A connection in autocommit mode. A commit to a file returns when it is on the disk."""
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, cached_statements=512)
    try:
        if path != MEMORY:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] if writes else "wal"
            if mode != "wal":
                raise StoreUnavailable(f"The file system of {path} does not allow SQLite's write-ahead log.")
        for pragma in (
            "synchronous = FULL",
            "fullfsync = ON",
            f"cache_size = -{_CACHE_KIB if writes else _CACHE_KIB // 4}",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            "temp_store = MEMORY",
            f"query_only = {'OFF' if writes else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def is_full(error: BaseException) -> bool:
    """Whether the disk, or the database's allowed size, is used up."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_FULL


def is_io_error(error: BaseException) -> bool:
    """Whether the file could not be read, written or synced: what is in it has to be established again."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_IOERR


def _code(error: sqlite3.Error) -> int:
    """The primary result code; extended codes carry it in their low byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def definite(error: Exception) -> PerdureError:
    """The operation was definitely not done."""
    if is_full(error):
        return StoreUnavailable("The disk or the database is full; nothing was written.")
    return StoreUnavailable(f"SQLite refused the operation: {error}.")


def in_doubt(error: Exception) -> PerdureError:
    """The operation may have been done, or may turn out to be when the file is opened again."""
    return OutcomeUnknown(f"SQLite could not tell whether the commit is on the disk: {error}.")
