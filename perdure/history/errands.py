"""Errands: what a run wants done at another workflow id, whoever owns that, or outside.

Each runs in three steps: the plan is read from the run (`PlanErrand`), done at its target, and its outcome is brought
back to the run. A crash or a lost answer between any two repeats all of it, so each step is idempotent by ids that
are derived from the initiating event. What can't be done now raises Unavailable, and the shard comes again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Aborted, DeadlineExceeded, ResourceExhausted, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespaces
from perdure.cluster.roles import Call, Directory
from perdure.history.callbacks import Callbacks
from perdure.history.chains import ShardChains
from perdure.history.reading import Reading, Segments
from perdure.history.transacting import Transacting
from perdure.workflow.requests import PlanErrand
from perdure.workflow.tasks import Timer, TimerKind

_TIMEOUT_NS = 10 * SECOND_NS


class Errand:
    """One errand under way, and what its runner may use."""

    __slots__ = ("_chains", "_directory", "_reading", "_service", "callbacks", "namespaces", "timer")

    def __init__(
        self,
        timer: Timer,
        chains: ShardChains,
        service: Transacting,
        reading: Reading,
        directory: Directory,
        namespaces: Namespaces,
        callbacks: Callbacks,
    ) -> None:
        self.timer = timer
        self.namespaces = namespaces
        self.callbacks = callbacks
        self._chains = chains
        self._service = service
        self._reading = reading
        self._directory = directory

    async def event(self, segments: Segments, event_id: int) -> HistoryEvent:
        """An event of the run that wants the errand."""
        return await self._reading.event(self._chains, self.timer.key, segments, event_id)

    async def ask(self, key: ChainKey, request: Any) -> Any:
        """Decide `request` at its chain, wherever that is. Raises the target's refusals, Unavailable."""
        return await self._directory.history(key.slot).transact(key, request, Call(timeout_ns=_TIMEOUT_NS))

    async def bring_back(self, request: Any) -> Any:
        """Decide `request` at the run's own chain."""
        return await self._service.transact_on(self._chains.shard, self.timer.key, request, Call())


Runner = Callable[[Errand, Any], Awaitable[None]]
RUNNERS: dict[TimerKind, Runner] = {}
_TIMEOUTS_NS: dict[TimerKind, int] = {}


def runs(kind: TimerKind, timeout_ns: int = _TIMEOUT_NS) -> Callable[[Runner], Runner]:
    """Registers `(errand, plan)` of a kind, and how long it may take before it is given up and run again."""

    def register(runner: Runner) -> Runner:
        RUNNERS[kind] = runner
        _TIMEOUTS_NS[kind] = timeout_ns
        return runner

    return register


async def run_errand(errand: Errand) -> None:
    """Plan it, do it, bring back what came of it; an obsolete one is done. Raises Unavailable to be run again."""
    plan = await errand.bring_back(PlanErrand(errand.timer))
    if plan is None:
        return
    kind = errand.timer.kind
    try:
        async with asyncio.timeout(_TIMEOUTS_NS[kind] / SECOND_NS):
            await RUNNERS[kind](errand, plan)
    except TimeoutError as error:
        raise Unavailable("The errand took too long.") from error
    except (ResourceExhausted, Aborted, DeadlineExceeded) as busy:
        raise Unavailable(busy.message) from busy  # it may pass
