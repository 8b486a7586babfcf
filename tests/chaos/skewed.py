"""A server whose clock is off: `python -m tests.chaos.skewed FILE server start`; `FILE --early server start`: whose
task queues spread early, too.

It is `perdure server start` but for two things that the product has no settings for, and that this program replaces
before anything uses them. The clock: FILE holds by how many milliseconds it is off; it is read at the start, and again
at each SIGUSR1; what is monotonic stays. And how many tasks a second make another partition of a queue: so few that
queues have branches under a load that a test can make.
"""

import signal
import sys
import time
from pathlib import Path

from perdure.base.clock import MS_NS, SystemClock
from perdure.matching import partition
from perdure.matching.bounds import Bounds
from perdure.matching.spreading import Spread
from perdure.server.main import main

EARLY = "--early"
TASKS_PER_SECOND = 0.5
_SCALE = TASKS_PER_SECOND / Bounds().tasks_per_second


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


class _Early(Spread):
    """The same decisions at a fraction of the load."""

    __slots__ = ()

    def __init__(self, each_max: float, now_ns: int) -> None:
        super().__init__(each_max * _SCALE, now_ns)


def run() -> None:
    """The command line."""
    off = _Off(Path(sys.argv.pop(1)))
    signal.signal(signal.SIGUSR1, off.read)
    SystemClock.now_ns = off.now_ns  # type: ignore[method-assign, assignment]  # that is what this program is for
    if sys.argv[1] == EARLY:
        del sys.argv[1]
        setattr(partition, "Spread", _Early)  # noqa: B010 - so is that, and the module does not offer it
    main()


if __name__ == "__main__":
    run()
