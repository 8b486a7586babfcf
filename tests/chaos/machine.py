"""How busy the machine is that carries a site and its load: what a figure of a crowded one says is how crowded it is.

It reads what Linux counts for the whole machine, other people's work included.
"""

from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # idle, and waiting for a disk


class Machine:
    """What it did since `look` was called last, or since this was made."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._before = self._ticks()

    def look(self) -> float:
        """The part of its time in which it was busy, in [0, 1]."""
        before, self._before = self._before, self._ticks()
        passed = [now - then for now, then in zip(self._before, before, strict=True)]
        total = sum(passed)
        return 1 - sum(passed[at] for at in _IDLE) / total if total else 0.0

    def _ticks(self) -> list[int]:
        line, _, _ = self._stat.read_text().partition("\n")
        return [int(ticks) for ticks in line.split()[1:9]]
