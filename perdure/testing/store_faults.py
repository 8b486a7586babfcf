"""Which store operations go wrong, and how: drawn from a seed, or armed one by one.

Invariant: the same source of chance and the same sequence of operations give the same faults. A write whose outcome is
unknown is done at most once, whole (but for torn ones): now, never, or later, before some later operation of any host
that shares the faults. A conditional write and a settled read name their `place`, the rows that one condition may
compare: what is unfinished there is done or given up before them, as by Cassandra's serial operations. Other reads
don't see it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

import msgspec

from perdure.base.entropy import Entropy
from perdure.base.errors import StoreUnavailable
from perdure.store.contract import OutcomeUnknown

T = TypeVar("T")


class Fault(StrEnum):
    """What may happen to one operation."""

    REFUSED = "refused"
    """Definitely not done, and the caller is told so."""
    LOST = "lost"
    """Not done; the caller knows nothing."""
    DONE = "done"
    """Done; the caller knows nothing."""
    LATE = "late"
    """The caller knows nothing; it is done before some later operation. A read is LOST."""
    RAISED = "raised"
    """As LATE, but after an epoch was raised in a segment."""
    TORN = "torn"
    """A part of the rows is written; the caller knows nothing. Where there is only one row: LOST."""
    UNFINISHED = "unfinished"
    """The caller knows nothing, and nobody sees it; the next serial operation of its place does it, or never lets it be
    done. Where there is no place: LOST."""
    SLOW = "slow"
    """Done, after a while or with a late answer, so that others overtake it."""
    CUT = "cut"
    """The host is cut off from the store."""


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The chance of each fault for one operation, in [0, 1]; their sum is at most 1. `slow_s_max` in seconds of the
    loop's time.
    """

    refused: float = 0.0
    lost: float = 0.0
    done: float = 0.0
    late: float = 0.0
    raised: float = 0.0
    torn: float = 0.0
    slow: float = 0.0
    unfinished: float = 0.0
    slow_s_max: float = 2.0
    late_operations_max: int = 20


HEALTHY = FaultPlan()
STORMY = FaultPlan(refused=0.25, lost=0.15, done=0.15, late=0.1, raised=0.05, slow=0.1, unfinished=0.1)
_DRAWN = (Fault.REFUSED, Fault.LOST, Fault.DONE, Fault.LATE, Fault.RAISED, Fault.TORN, Fault.SLOW, Fault.UNFINISHED)


class _Held(msgspec.Struct):
    """A write that is still on its way; `due`: number of the operation before which it lands, None = when an epoch was
    raised.
    """

    land: Callable[[], Awaitable[object]]
    due: int | None


class Faults:
    """The faults of one store, shared by all hosts that use it. `fired` counts what happened, to prove that something
    did. `storms`: while there are any, `STORMY` is the plan.
    """

    def __init__(self, entropy: Entropy, plan: FaultPlan = HEALTHY) -> None:
        self.plan = plan
        self.storms = 0
        self.fired: Counter[Fault] = Counter()
        self.operations = 0
        self._entropy = entropy
        self._armed: dict[str, list[Fault]] = {}
        self._cut: set[str] = set()
        self._held: list[_Held] = []
        self._unfinished: dict[object, Callable[[], Awaitable[object]]] = {}

    @property
    def held(self) -> int:
        """How many writes are still on their way."""
        return len(self._held) + len(self._unfinished)

    def arm(self, operation: str, *faults: Fault) -> None:
        """The next calls of `operation` (a method's name) meet these faults, one each, whatever the plan says."""
        self._armed.setdefault(operation, []).extend(faults)

    def cut(self, host: str) -> None:
        """From now on the host's operations fail with an unknown outcome, not done."""
        self._cut.add(host)

    def mend(self, host: str) -> None:
        """The host reaches the store again."""
        self._cut.discard(host)

    def heal(self) -> None:
        """No further faults. Writes that are on their way still land, before the next operations or with `land`."""
        self.plan = HEALTHY
        self.storms = 0
        self._armed.clear()
        self._cut.clear()

    async def land(self) -> None:
        """Let everything land that is on its way, in the order in which it was sent."""
        await self._land(self._held)
        for place in tuple(self._unfinished):
            await self._finish(place)

    def epoch_raised(self) -> None:
        """A segment's epoch was raised: writes that waited for it are due."""
        for held in self._held:
            if held.due is None:
                held.due = self.operations

    async def perform(
        self,
        operation: str,
        do: Callable[[], Awaitable[T]],
        *,
        host: str = "",
        write: bool = False,
        part: Callable[[], Awaitable[object]] | None = None,
        place: object = None,
    ) -> T:
        """One operation with whatever befalls it. `part` writes a part of the rows, where there are several; `place`:
        of a serial operation.
        """
        self.operations += 1
        await self._land([held for held in self._held if held.due is not None and held.due <= self.operations])
        if place is not None and host not in self._cut:
            await self._finish(place)
        fault = self._draw(operation, host)
        if fault is None:
            return await do()
        self.fired[fault] += 1
        if fault is Fault.REFUSED:
            raise StoreUnavailable(f"Injected: {operation} was refused.")
        if fault is Fault.SLOW:
            return await self._slowly(do)
        if fault is Fault.DONE:
            await do()
        elif fault is Fault.TORN and part is not None:
            await part()
        elif write and fault is Fault.LATE:
            operations = 1 + int(self._entropy.fraction() * self.plan.late_operations_max)
            self._held.append(_Held(do, self.operations + operations))
        elif write and fault is Fault.RAISED:
            self._held.append(_Held(do, None))
        elif write and fault is Fault.UNFINISHED and place is not None:
            self._unfinished[place] = do
        raise OutcomeUnknown(f"Injected: no answer to {operation}.")

    def _draw(self, operation: str, host: str) -> Fault | None:
        if host in self._cut:
            return Fault.CUT
        armed = self._armed.get(operation)
        if armed:
            return armed.pop(0)
        plan = STORMY if self.storms else self.plan
        if plan is HEALTHY:
            return None
        left = self._entropy.fraction()
        for fault in _DRAWN:
            left -= getattr(plan, fault.value)
            if left < 0:
                return fault
        return None

    def keep(self) -> bool:
        """Whether a row is in the part of a torn write that is done."""
        return self._entropy.fraction() < 0.5

    async def _slowly(self, do: Callable[[], Awaitable[T]]) -> T:
        wait_s = self._entropy.fraction() * self.plan.slow_s_max
        if self._entropy.fraction() < 0.5:
            await asyncio.sleep(wait_s)
            return await do()
        answer = await do()
        await asyncio.sleep(wait_s)
        return answer

    async def _land(self, due: list[_Held]) -> None:
        for held in list(due):
            self._held.remove(held)
            await self._try(held.land)

    async def _finish(self, place: object) -> None:
        """What is unfinished there is done now, or never."""
        unfinished = self._unfinished.pop(place, None)
        if unfinished is not None and self._entropy.fraction() < 0.5:
            await self._try(unfinished)

    async def _try(self, land: Callable[[], Awaitable[object]]) -> None:
        try:
            await land()
        except (StoreUnavailable, OutcomeUnknown):
            self.fired[Fault.LOST] += 1
