"""One process per database file: an advisory lock on `<file>.lock`, held for as long as the store is open.

Invariant: the kernel gives the lock back when the process ends, however it ends, so nothing is ever cleaned up by hand.
The lock file stays; removing it would let two processes lock two files of one name.
"""

import fcntl
import os

from perdure.base.errors import StoreUnavailable


class FileLock:
    """The lock of one database file. Raises StoreUnavailable if another store, in this process or another, has it."""

    def __init__(self, path: str) -> None:
        name = f"{path}.lock"
        try:
            self._file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"The lock file {name} can't be opened: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip()
            os.close(self._file)
            who = f"process {holder}" if holder else "another process"
            raise StoreUnavailable(f"The database {path} is in use by {who}; only one may open it.") from error
        os.ftruncate(self._file, 0)
        os.write(self._file, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Let others open the database."""
        os.close(self._file)
