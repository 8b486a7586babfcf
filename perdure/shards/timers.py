"""The timers that a shard has outstanding: those due soon in memory, the others as rows.

An overlay like that of offers (`perdure.shards.index`), in which `armed` are all timers up to a bound, fresh or
stored; what is due later is only looked up when its time comes near. Invariant: a timer that is outstanding and due
before the bound is armed. The bound moves before rows are read, so that what a checkpoint writes meanwhile stays in
memory.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import count

import msgspec

from perdure.base.slots import ChainKey
from perdure.shards.homes import Homes
from perdure.workflow.tasks import Task, Timer, TimerKind

NEVER_NS = 2**63 - 1
_COMPACT_OVER = 256
# Of what is due at the same instant a run's end comes first: a worker's time may be limited to it.
_FIRST = frozenset({TimerKind.RUN_TIMEOUT, TimerKind.EXECUTION_TIMEOUT})

Order = tuple[object, ...]


def timer_order(timer: Timer) -> Order:
    """The order in which a store keeps timers."""
    return (timer.due_ns, timer.key, timer.run_id, timer.kind, timer.event_id, timer.attempt, timer.stamp)


class TimerIndex:
    """Outstanding timers. `far_ns`: no timer beyond the bound is due before; NEVER_NS if there is none."""

    def __init__(self, homes: Homes, page: int) -> None:
        self._homes = homes
        self._page = page
        self._fresh: dict[Timer, bool] = {}  # True: it may have a row all the same
        self._gone: set[Timer] = set()
        self._writing: set[Timer] = set()
        self._leaving: set[Timer] = set()
        self._armed: set[Timer] = set()
        self._heap: list[tuple[int, bool, int, Timer]] = []
        self._numbers = count()
        self._bound: Order = (0,)
        self._read: Order = (0,)  # all rows up to here have been read; behind the bound while more are
        self._cursor: Timer | None = None
        self.far_ns = NEVER_NS

    def recover(self, chains: Mapping[ChainKey, Collection[Task] | None]) -> None:
        """What the runs that the log touched have outstanding: any timer of theirs may have a row, and no other row of
        theirs counts. Rows of a chain's other runs do, unless nothing of it counts (None: quarantine).
        """
        wanted = {task for tasks in chains.values() for task in tasks or () if isinstance(task, Timer)}
        runs = {(key, task.run_id) for key, tasks in chains.items() for task in tasks or ()}
        silent = {key for key, tasks in chains.items() if tasks is None}
        for timer in self._armed - wanted:
            if timer.key in silent or (timer.key, timer.run_id) in runs:
                self.remove(timer)
        for timer in wanted:
            self.add(timer, doubtful=True)

    def add(self, timer: Timer, doubtful: bool = False) -> None:
        """A committed timer."""
        is_moving = timer in self._writing or timer in self._leaving
        if timer in self._gone:
            self._gone.discard(timer)
            if not is_moving:
                self._place(timer)  # Its row stands for it again.
                return
        self._fresh[timer] = doubtful or is_moving
        self._place(timer)

    def _place(self, timer: Timer) -> None:
        if self._is_near(timer):
            self._arm(timer)
        else:
            self.far_ns = min(self.far_ns, timer.due_ns)

    def _is_near(self, timer: Timer) -> bool:
        return timer_order(timer) <= self._bound

    def _arm(self, timer: Timer) -> None:
        if timer not in self._armed:
            self._armed.add(timer)
            self.retry(timer, timer.due_ns)

    def retry(self, timer: Timer, at_ns: int) -> None:
        """Let an armed timer be due at `at_ns`: its own time, or again after a firing that failed."""
        heapq.heappush(self._heap, (at_ns, timer.kind not in _FIRST, next(self._numbers), timer))

    def remove(self, timer: Timer) -> None:
        """A timer that is not outstanding any more."""
        if self._fresh.pop(timer, True) or timer in self._writing:
            self._gone.add(timer)
        self._armed.discard(timer)
        if len(self._heap) > _COMPACT_OVER and len(self._heap) > 2 * len(self._armed):
            self._heap = [entry for entry in self._heap if entry[3] in self._armed]
            heapq.heapify(self._heap)

    def begin(self, added: Sequence[Timer], removed: Sequence[Timer]) -> None:
        """A checkpoint is going to write these rows and remove those; call it when they are made."""
        self._writing.update(added)
        self._leaving.update(removed)

    def written(self, added: Sequence[Timer], removed: Sequence[Timer]) -> None:
        """These rows are in the store, and those are not any more."""
        for timer in added:
            self._writing.discard(timer)
            if self._fresh.pop(timer, None) is not None:
                self._place(timer)
        for timer in removed:
            self._leaving.discard(timer)
            self._gone.discard(timer)
            if timer in self._fresh:
                self._fresh[timer] = False

    def is_armed(self, timer: Timer) -> bool:
        """Whether it is in memory and will be, or was, due."""
        return timer in self._armed

    async def holds(self, timer: Timer) -> bool:
        """Whether it is outstanding, by memory or by its row."""
        if timer in self._armed or timer in self._fresh:
            return True
        if timer in self._gone or timer_order(timer) <= self._read:
            return False
        before = msgspec.structs.replace(timer, stamp=timer.stamp - 1)
        return timer in await self._homes.read_timers(before, 1)

    def due(self, now_ns: int) -> list[Timer]:
        """The armed timers whose time has come; each is returned once for each time it was armed or retried."""
        found: list[Timer] = []
        while self._heap and self._heap[0][0] <= now_ns:
            timer = heapq.heappop(self._heap)[3]
            if timer in self._armed:
                found.append(timer)
        return found

    def next_ns(self) -> int:
        """When the next armed timer is due; NEVER_NS if none is armed."""
        while self._heap and self._heap[0][3] not in self._armed:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else NEVER_NS

    def first_ns(self, ignored: AbstractSet[TimerKind]) -> int:
        """When the first armed timer that is of no ignored kind is due; NEVER_NS if none is. Looks at all of them."""
        return min((timer.due_ns for timer in self._armed if timer.kind not in ignored), default=NEVER_NS)

    async def extend(self, until_ns: int, limit: int) -> None:
        """Arm what is due up to `until_ns`, as far as about `limit` rows go. Raises Unavailable: call it again."""
        self._bound = max(self._bound, (until_ns + 1,))
        before, self.far_ns = self.far_ns, NEVER_NS
        try:
            far = await self._read_until(until_ns, limit)
        except BaseException:
            self.far_ns = min(self.far_ns, before)
            raise
        self.far_ns = min(self.far_ns, far)
        self._read = self._bound
        for timer in self._fresh:
            self._place(timer)

    async def _read_until(self, until_ns: int, limit: int) -> int:
        """Arm rows; when the first row that was not armed is due."""
        loaded = 0
        while True:
            rows = await self._homes.read_timers(self._cursor, self._page)
            near = [row for row in rows if row.due_ns <= until_ns]
            for row in near:
                if row not in self._gone:
                    self._arm(row)
            loaded += len(near)
            if near:
                self._cursor = near[-1]
            if len(near) < len(rows):
                return rows[len(near)].due_ns
            if len(rows) < self._page:
                return NEVER_NS
            if loaded >= limit:
                # More than memory should hold is due by then: the bound is where reading stopped.
                self._bound = timer_order(near[-1])
                return near[-1].due_ns

    @property
    def armed(self) -> int:
        """How many timers are in memory."""
        return len(self._armed)
