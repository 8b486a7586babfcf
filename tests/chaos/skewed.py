"""A server whose wall clock is off: `python -m tests.chaos.skewed FILE server start`, as `perdure server start`.

FILE holds by how many milliseconds; it is read at the start, and again at each SIGUSR1. What is monotonic stays. The
product has no such setting: this program replaces its clock before anything uses it.
"""

import signal
import sys
import time
from pathlib import Path

from perdure.base.clock import MS_NS, SystemClock
from perdure.server.main import main


class _Off:
    """By how much."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ahead_ns = 0
        self.read()

    def read(self, *_: object) -> None:
        """Take over what the file says; nothing while there is none."""
        self.ahead_ns = int(self._file.read_text() or 0) * MS_NS if self._file.exists() else 0

    def now_ns(self) -> int:
        """Wall time, off."""
        return time.time_ns() + self.ahead_ns


def run() -> None:
    """The command line."""
    off = _Off(Path(sys.argv.pop(1)))
    signal.signal(signal.SIGUSR1, off.read)
    SystemClock.now_ns = off.now_ns  # type: ignore[method-assign, assignment]  # that is what this program is for
    main()


if __name__ == "__main__":
    run()
