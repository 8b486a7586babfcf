"""Traces of deletions: which row was deleted with which stamp, so that a late write of it does not bring it back.

Kept for `KEEP_NS` and then forgotten: by then no write from before the deletion can still be on its way.
"""

from collections import deque
from collections.abc import Hashable

from perdure.base.clock import SECOND_NS, Clock

KEEP_NS = 3600 * SECOND_NS


class Tombstones:
    """Row -> stamp (or version) of its deletion."""

    __slots__ = ("_clock", "_dead", "_keep_ns", "_order")

    def __init__(self, clock: Clock, keep_ns: int = KEEP_NS) -> None:
        self._clock = clock
        self._keep_ns = keep_ns
        self._dead: dict[Hashable, int] = {}
        self._order: deque[tuple[int, Hashable, int]] = deque()

    def __len__(self) -> int:
        return len(self._dead)

    def add(self, row: Hashable, stamp: int) -> None:
        """Note a deletion; of two, the higher stamp stands."""
        if self._dead.get(row, -1) < stamp:
            self._dead[row] = stamp
            self._order.append((self._clock.monotonic_ns(), row, stamp))

    def get(self, row: Hashable) -> int:
        """The stamp that `row` was deleted with; -1 if it was not, or long ago."""
        return self._dead.get(row, -1)

    def sweep(self) -> list[Hashable]:
        """Forget what is old enough; returns those rows."""
        swept: list[Hashable] = []
        until = self._clock.monotonic_ns() - self._keep_ns
        while self._order and self._order[0][0] <= until:
            _, row, stamp = self._order.popleft()
            if self._dead.get(row) == stamp:
                del self._dead[row]
                swept.append(row)
        return swept
