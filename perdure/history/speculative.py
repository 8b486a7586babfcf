"""What speculative workflow tasks want: an offer to matching, and a timer in this process.

Neither is stored: the task is lost with the shard's owner, and whoever waits for its updates is told. Invariants: at
most one timer for each run; none is left of a task that is over, or of a lost shard (that of a task which went with
its chain's place in the cache finds nothing when it is due). An offer that matching does not take is not repeated: the
task's time to be started in makes it an ordinary one.
"""

import asyncio
from typing import NamedTuple

import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.errors import PerdureError, ShardLost, Unavailable
from perdure.base.slots import ChainKey, SlotRange
from perdure.base.tasks import Background
from perdure.cluster.roles import Call
from perdure.history.executions import HistoryExecutions
from perdure.history.transacting import Transacting
from perdure.shards.contract import Shard
from perdure.workflow.decide import Decision
from perdure.workflow.outstanding import volatile
from perdure.workflow.requests import FireTimer
from perdure.workflow.state import Chain
from perdure.workflow.tasks import Offer, Task, Timer, partition_of

log = structlog.get_logger(__name__)

_AGAIN_S = 0.1


class _Armed(NamedTuple):
    """A timer of a run; `handle` wakes us when it is due."""

    timer: Timer
    handle: asyncio.TimerHandle


class Speculative:
    """The volatile tasks of the shards that this process owns."""

    def __init__(self, service: Transacting, executions: HistoryExecutions) -> None:
        self._service = service
        self._executions = executions
        self._armed: dict[tuple[ChainKey, str], _Armed] = {}
        self._background = Background(lambda error: log.error("a speculative task was not seen to", error=repr(error)))

    def __len__(self) -> int:
        """How many timers wait."""
        return len(self._armed)

    def see_to(self, shard: Shard, decision: Decision, newest: Chain) -> None:
        """The state after `decision` is durable: do what its speculative tasks want, and forget what they wanted. The
        `newest` state may know better already.
        """
        for run_id in decision.lapsed:
            if not _wanted(newest, run_id):
                self._disarm((newest.key, run_id))
        for task in decision.volatile:
            if task not in _wanted(newest, task.run_id):
                continue
            if isinstance(task, Offer):
                self._background.spawn(self._offer(shard, task))
            elif isinstance(task, Timer):
                self._arm(shard, task, max(0, task.due_ns - shard.now_ns()) / SECOND_NS)

    def lost(self, slots: SlotRange) -> None:
        """The shard of these slots is gone, and what was in memory only."""
        for key in [key for key in self._armed if key[0].slot in slots]:
            self._disarm(key)

    async def close(self) -> None:
        """Nothing is due any more."""
        for key in list(self._armed):
            self._disarm(key)
        await self._background.close()

    def _arm(self, shard: Shard, timer: Timer, delay_s: float) -> None:
        key = (timer.key, timer.run_id)
        self._disarm(key)
        handle = asyncio.get_running_loop().call_later(delay_s, self._due, shard, timer)
        self._armed[key] = _Armed(timer, handle)

    def _disarm(self, key: tuple[ChainKey, str]) -> None:
        armed = self._armed.pop(key, None)
        if armed is not None:
            armed.handle.cancel()

    def _due(self, shard: Shard, timer: Timer) -> None:
        self._armed.pop((timer.key, timer.run_id), None)
        self._background.spawn(self._fire(shard, timer))

    async def _fire(self, shard: Shard, timer: Timer) -> None:
        try:
            await self._service.transact_on(shard, timer.key, FireTimer(timer), Call())
        except ShardLost:
            return
        except Unavailable:
            if (timer.key, timer.run_id) not in self._armed:
                self._arm(shard, timer, _AGAIN_S)

    async def _offer(self, shard: Shard, offer: Offer) -> None:
        partition = partition_of(offer)
        try:
            await self._executions.offer(shard, partition, [offer], shard.backlog(partition))
        except PerdureError:
            log.debug("a speculative task was not offered", wf_id=offer.key.workflow_id)


def _wanted(chain: Chain, run_id: str) -> set[Task]:
    run = chain.runs.get(run_id)
    return set() if run is None else volatile(run)
