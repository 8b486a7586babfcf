"""The auditor: compares, slowly and for ever, what executions have outstanding with what the shard has indexed.

Invariant: a repair is made only where state and index disagree although nothing of the difference is on its way. It
also offers again what has been outstanding for long, so that matching that forgot is reminded (T1).
"""

import asyncio

import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.errors import ShardLost, Unavailable
from perdure.base.tasks import Background
from perdure.shards.checkpoint import Parts
from perdure.shards.contract import Shard, Transition
from perdure.shards.firing import TimerPump
from perdure.shards.options import World
from perdure.shards.pumps import OfferPump
from perdure.workflow.tasks import Effect, Offer, QueueKey, Task, Timer

log = structlog.get_logger(__name__)

# Without any transition nothing new can be wrong: after so many rounds an idle shard is left alone.
_ROUNDS = 20


class Auditor:
    """`repaired_offers`, `repaired_timers`: what was outstanding and not indexed; every one of them is a defect."""

    def __init__(
        self,
        world: World,
        shard: Shard,
        parts: Parts,
        pump: OfferPump,
        firing: TimerPump,
        background: Background,
    ) -> None:
        self._world = world
        self._shard = shard
        self._parts = parts
        self._pump = pump
        self._firing = firing
        self._background = background
        self._handle: asyncio.TimerHandle | None = None
        self._changed: set[Task] | None = None  # what transitions removed since the audit under way began
        self._rounds_left = _ROUNDS
        self._is_stopped = False
        self.repaired_offers = 0
        self.repaired_timers = 0

    def start(self) -> None:
        """Audit from time to time, at times of chance so that shards don't do it together."""
        if not self._is_stopped:
            wait_s = self._world.options.audit_interval_s * (0.5 + self._world.entropy.fraction())
            self._handle = asyncio.get_running_loop().call_later(wait_s, self._begin)

    def stop(self) -> None:
        """Audit no more."""
        self._is_stopped = True
        if self._handle is not None:
            self._handle.cancel()

    def saw(self, transition: Transition) -> None:
        """A transition was appended: what it removes is rightly missing from now on."""
        self._rounds_left = _ROUNDS
        if self._changed is not None:
            self._changed.update(transition.removed)

    def _begin(self) -> None:
        self._background.spawn(self._run(), "audit")

    async def _run(self) -> None:
        try:
            if self._rounds_left:
                self._rounds_left -= 1
                await self.audit()
        except ShardLost:
            return
        except Unavailable as error:
            log.warning("audit cut short", shard=self._shard.shard_id, error=error.message)
        self.reoffer()
        self.start()

    async def audit(self) -> None:
        """Compare some further chains. Raises ShardLost, Unavailable."""
        self._changed = set()
        try:
            position = self._shard.next_position - 1
            wanted = self._world.executions.audit(self._shard, self._world.options.audit_chains)
            await self._parts.log.durable(position)
            for tasks in wanted.values():
                for task in tasks:
                    await self._compare(task)
        finally:
            self._changed = None

    async def _compare(self, task: Task) -> None:
        if isinstance(task, Effect) or await self._is_indexed(task) or self._is_changed(task):
            return
        if not self._shard.can_answer:  # tested after the rows were read
            return  # the next owner may have done it, and taken its row away
        log.error("outstanding task was not indexed", task=repr(task), shard=self._shard.shard_id)
        if isinstance(task, Offer):
            self.repaired_offers += 1
            self._world.meters.repairs["offer"].inc()
            self._parts.offers.add(task)
            self._parts.strays.added_offers.append(task)
            self._pump.add(task)
        else:
            self.repaired_timers += 1
            self._world.meters.repairs["timer"].inc()
            self._parts.timers.add(task)
            self._parts.strays.added_timers.append(task)
            self._firing.schedule()

    def restore(self, timer: Timer) -> None:
        """Put a committed timer back that a walk found missing. One that is due fires at once, and gets no row that
        might outlive it: if it doesn't come to that, the walk finds it again.
        """
        self._parts.timers.add(timer)
        if timer.due_ns > self._shard.now_ns():
            self._parts.strays.added_timers.append(timer)
        self._firing.schedule()

    async def _is_indexed(self, task: Offer | Timer) -> bool:
        if isinstance(task, Offer):
            return await self._parts.offers.holds(task)
        return await self._parts.timers.holds(task)

    def _is_changed(self, task: Task) -> bool:
        return self._changed is not None and task in self._changed

    def reoffer(self) -> None:
        """Have the head of each partition offered whose oldest offer has waited for long."""
        until_ns = self._shard.now_ns() - int(self._world.options.reoffer_after_s * SECOND_NS)

        def is_late(partition: QueueKey) -> bool:
            backlog = self._parts.offers.backlog(partition)
            return bool(backlog.count) and backlog.oldest_ns <= until_ns

        self._pump.reoffer(is_late)
