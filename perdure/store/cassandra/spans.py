"""The directory of a namespace's spans: which ten minutes may have runs that started in them.

Invariant: a span is in the directory before a run is in the span, and as long as one is. Who writes a run has noted its
span at most `NOTE_NS` before; an empty span leaves only when its note is older than `FORGET_NS`, by a deletion at that
note's own stamp, so a note made meanwhile stands. Clocks of hosts may differ by the hour between the two.
"""

from collections import OrderedDict
from collections.abc import Iterable

from perdure.base.clock import SECOND_NS, Clock
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.statements import read, stamped

SPAN_NS = 600 * SECOND_NS
NOTE_NS = 300 * SECOND_NS
FORGET_NS = 3_900 * SECOND_NS
# A writer that was held up for longer notes again: somebody may have taken its note away meanwhile.
_HELD_UP_NS = 600 * SECOND_NS
_NOTED_MAX = 20_000

_NOTE = stamped("INSERT INTO run_span (namespace_id, span, noted_us) VALUES (?, ?, ?) USING TIMESTAMP ?")
_FORGET = stamped("DELETE FROM run_span USING TIMESTAMP ? WHERE namespace_id = ? AND span = ?")
_READ = read("SELECT span, noted_us FROM run_span WHERE namespace_id = ? AND span <= ? LIMIT ?")
_READ_OLDEST = read(
    "SELECT span, noted_us FROM run_span WHERE namespace_id = ? AND span >= ? AND span <= ? ORDER BY span ASC LIMIT ?"
)

Place = tuple[str, int]  # namespace id, span


def span_of(start_ns: int) -> int:
    """The span of a run that started then."""
    return start_ns // SPAN_NS


class Spans:
    """The directory of all namespaces, for one process."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._noted: OrderedDict[Place, int] = OrderedDict()

    def youngest(self) -> int:
        """The span of runs that start now."""
        return span_of(self._clock.now_ns())

    async def note(self, places: Iterable[Place]) -> None:
        """These are about to be used: returns when all are in the directory."""
        now_ns = self._clock.monotonic_ns()
        await self._note([place for place in places if now_ns - self._noted.get(place, -NOTE_NS) >= NOTE_NS])

    async def used(self, places: Iterable[Place]) -> None:
        """They have been used: note again what was noted too long ago."""
        now_ns = self._clock.monotonic_ns()
        late = [place for place in places if now_ns - self._noted.get(place, -_HELD_UP_NS) >= _HELD_UP_NS]
        await self._note(late)

    async def _note(self, places: list[Place]) -> None:
        if not places:
            return
        since_ns = self._clock.monotonic_ns()
        now_us = self._clock.now_ns() // 1000
        await self._session.all([(_NOTE, (namespace_id, span, now_us, now_us)) for namespace_id, span in places])
        for place in places:
            self._noted[place] = since_ns
            self._noted.move_to_end(place)
        while len(self._noted) > _NOTED_MAX:
            self._noted.popitem(last=False)

    async def read(self, namespace_id: str, newest: int, limit: int) -> list[tuple[int, int]]:
        """Up to `limit` spans at or before `newest`, newest first, each with its note's time in microseconds."""
        return [(span, noted_us) for span, noted_us in await self._session.run(_READ, (namespace_id, newest, limit))]

    async def oldest(self, namespace_id: str, first: int, last: int, limit: int) -> list[tuple[int, int]]:
        """Up to `limit` spans from `first` to `last`, oldest first, with their notes' times."""
        found = await self._session.run(_READ_OLDEST, (namespace_id, first, last, limit))
        return [(span, noted_us) for span, noted_us in found]

    async def forget(self, namespace_id: str, empty: Iterable[tuple[int, int]]) -> None:
        """Spans as read that turned out to have no runs: those noted long ago leave the directory."""
        before_us = (self._clock.now_ns() - FORGET_NS) // 1000
        old = [(span, noted_us) for span, noted_us in empty if noted_us < before_us]
        await self._session.all([(_FORGET, (noted_us, namespace_id, span)) for span, noted_us in old])
        for span, _ in old:
            self._noted.pop((namespace_id, span), None)
