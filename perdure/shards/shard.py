"""A shard that this process owns: the `Shard` of the contract, wired from its parts.

Invariant: when the log has failed, nothing of this shard is answered, acted on or written any more, and the role has
forgotten it; a new `OwnedShard` under a new epoch takes its place.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.errors import ResourceExhausted, ShardElsewhere, ShardLost, Unavailable
from perdure.base.slots import SlotRange
from perdure.base.tasks import Background
from perdure.shards.acquire import Taken
from perdure.shards.auditor import Auditor
from perdure.shards.checkpoint import Checkpointer, Parts
from perdure.shards.contract import Transition
from perdure.shards.firing import TimerPump
from perdure.shards.homes import Homes
from perdure.shards.index import OfferIndex
from perdure.shards.inheriting import Inheriting
from perdure.shards.log import Entry, ShardLog
from perdure.shards.options import World
from perdure.shards.pumps import EffectPump, OfferPump
from perdure.shards.strays import Strays
from perdure.shards.timers import TimerIndex
from perdure.store.contract import Home
from perdure.workflow.tasks import Backlog, Effect, Offer, QueueKey, Task, Timer

log = structlog.get_logger(__name__)


class OwnedShard:
    """`on_lost` is called once, from within the loop, when the shard is lost; `close` has to follow."""

    def __init__(self, world: World, taken: Taken, on_lost: Callable[["OwnedShard"], None]) -> None:
        self._world = world
        self._records = taken.records
        self._on_lost = on_lost
        self._row = taken.claim.row
        self._now_ns = taken.time_ns
        self._refusal: Callable[[], Unavailable] | None = None
        self._is_frozen = False
        self._tenure = world.tenure
        self._background = Background(self._broken)
        self.claim = taken.claim
        self._homes = homes = Homes(world.store.checkpoints, Home(self.shard_id, self.slots), self._row.inherits)
        self.offers = OfferIndex(homes, self.epoch)
        self.timers = TimerIndex(homes, world.options.page)
        self.log = ShardLog(world, taken.start, self, self._background)
        self.effects = EffectPump(world, self, self._background)
        self.pump = OfferPump(world, self, self.offers, self._background)
        strays = Strays()
        self.firing = TimerPump(world, self, self.timers, strays, self._background)
        parts = Parts(self.log, taken.claim, homes, self.offers, self.timers, self.effects, strays)
        self.checkpointer = Checkpointer(world, self, parts, self._background)
        self.auditor = Auditor(world, self, parts, self.pump, self.firing, self._background)
        self.inheriting = Inheriting(world, parts, self.checkpointer)

    @property
    def shard_id(self) -> str:
        """The incarnation's id."""
        return self._row.shard

    @property
    def slots(self) -> SlotRange:
        """The slots whose chains live here."""
        return self._row.slots

    @property
    def epoch(self) -> int:
        """The epoch this owner commits under."""
        return self._row.epoch

    @property
    def is_lost(self) -> bool:
        """Whether nothing will be committed here any more."""
        return self.log.failure is not None

    @property
    def is_leaving(self) -> bool:
        """Whether nothing new is taken here any more."""
        return self._refusal is not None

    def check_here(self) -> None:
        """Raise what `append` would, if nothing new is taken here any more."""
        if self._refusal is not None:
            raise self._refusal()

    def now_ns(self) -> int:
        """The shard's time: the clock's, but never before what was read or answered here (I3)."""
        now = self._world.clock.now_ns()
        if now > self._now_ns:
            self._now_ns = now
        return self._now_ns

    @property
    def next_position(self) -> int:
        """The position of the next transition."""
        return self.log.next_position

    def append(self, transition: Transition, *, urgent: bool = False) -> int:
        """Put a transition into the next group. Raises ShardLost, what `freeze` was told, or ResourceExhausted if it is
        not `urgent` and too much of the log is not checkpointed.
        """
        if self._refusal is not None:
            raise self._refusal()
        checkpointer = self.checkpointer
        if checkpointer.is_hurried:
            checkpointer.hurry()
            if not urgent and checkpointer.load >= self._world.options.refuse_bytes:
                raise ResourceExhausted(
                    "The shard has more to write than its store takes.",
                    ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
                    ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
                )
        position = self.log.append(transition)
        checkpointer.mark(transition.key, position, len(transition.body))
        self.auditor.saw(transition)
        return position

    async def durable(self, position: int) -> None:
        """Wait until everything up to `position` is durable; where it may have been before, the state that was read may
        be a former owner's (L11). Raises ShardLost; Unavailable if that can't be told now.
        """
        log = self.log
        # A group that is yet to be sent shows by its commit whose the shard was after the state was read. One that is
        # on its way may have been committed long ago, and another owner have answered since.
        if self._is_frozen:
            raise ShardLost("The shard is being given up.")
        if position <= log.sent:
            if log.failure is not None:
                raise ShardLost(log.failure)
            if not self._tenure.is_valid():
                raise Unavailable("This host may have lost the shard; ask again.")
        if position > log.committed:
            await log.answerable(position)

    @property
    def can_answer(self) -> bool:
        """Whether what is remembered here is the newest."""
        return self.log.failure is None and not self._is_frozen and self._tenure.is_valid()

    async def read_offers(self, partition: QueueKey, after: Offer | None, limit: int) -> tuple[list[Offer], Backlog]:
        """Outstanding offers of a partition beyond `after`, committed ones only. Raises ShardLost, Unavailable."""
        page = await self.offers.page(partition, after, limit)
        if self.log.failure is not None:
            raise ShardLost(self.log.failure)
        return page

    def backlog(self, partition: QueueKey) -> Backlog:
        """This shard's figures of a partition."""
        return self.offers.backlog(partition)

    async def recover(self) -> None:
        """Replay the tail, build the indexes, and begin to serve. Raises Unavailable; the shard must be closed then."""
        self.log.start()
        records, self._records = self._records, ()
        self._homes.adopt()
        await asyncio.gather(self.offers.count(), self.firing.extend())
        outstanding = await self._world.executions.recover(self, records)
        if records:
            self.checkpointer.recover(outstanding, records[0][0])
        tasks = [task for found in outstanding.values() for task in found or ()]
        self.offers.recover(task for task in tasks if isinstance(task, Offer))
        self.timers.recover(outstanding)
        for task in tasks:
            if isinstance(task, Effect):
                self.effects.add(task, records[-1][0])
        self.firing.schedule()
        self.pump.reoffer(lambda partition: True)  # the former owner's offers went with it
        if self._row.inherits:
            self._background.spawn(self.inheriting.run(), "inherited rows")
        self.auditor.start()

    def committed(self, entries: Sequence[Entry]) -> None:
        """These are durable: they count in the indexes from now on."""
        for _, transition in entries:
            for task in transition.removed:
                self._remove(task)
            for task in transition.added:
                if isinstance(task, Offer):
                    self.offers.add(task)
                elif isinstance(task, Timer):
                    self.timers.add(task)
            if transition.committed is not None:
                transition.committed()

    def _remove(self, task: Task) -> None:
        if isinstance(task, Offer):
            self.offers.remove(task)
        elif isinstance(task, Timer):
            self.timers.remove(task)

    def released(self, entries: Sequence[Entry]) -> None:
        """Their waiters are awake: act on the tasks."""
        has_timers = False
        for position, transition in entries:
            for task in transition.removed:
                if isinstance(task, Offer):
                    self.pump.remove(task)
                elif isinstance(task, Effect):
                    self.effects.remove(task)
            for task in transition.added:
                if isinstance(task, Offer):
                    self.pump.add(task)
                elif isinstance(task, Timer):
                    has_timers = True
                else:
                    self.effects.add(task, position)
        if has_timers:
            self.firing.schedule()

    def floor(self) -> int:
        """The oldest position that no checkpoint holds."""
        return self.checkpointer.floor()

    def failed(self, reason: str) -> None:
        """The log has failed: forget everything."""
        is_released = self._refusal is not None
        if self._refusal is None:
            self._refusal = partial(ShardLost, reason)
        self.firing.stop()
        self.auditor.stop()
        (log.info if is_released else log.warning)(
            "shard is not here any more", shard=self.shard_id, epoch=self.epoch, reason=reason
        )
        self._world.executions.unload(self)
        self._on_lost(self)

    def _broken(self, error: BaseException) -> None:
        """A part of the shard raised what it must not: its memory can't be trusted any more."""
        log.error("shard failed", shard=self.shard_id, exc_info=error)
        self.fail(f"The shard failed: {error}")

    def fail(self, reason: str) -> None:
        """Give the shard up."""
        self.log.fail(reason)

    def refuse(self, refusal: Callable[[], Unavailable]) -> None:
        """Take nothing new from now on: `append` raises `refusal()` before anything is done. What was appended goes on.
        Idempotent, and for good: the shard can only be lost after that.
        """
        if self._refusal is None:
            self._refusal = refusal
            self.firing.stop()
            self.auditor.stop()

    async def drained(self) -> None:
        """Wait until all that was appended is durable, and who waited for it has gone on. Raises ShardLost."""
        await self.log.durable(self.log.next_position - 1)
        await asyncio.sleep(0)

    async def catch_up(self) -> None:
        """Checkpoint what is dirty now, and go on serving. Raises ShardLost."""
        await self.checkpointer.catch_up()
        await self.effects.settled(self.log.committed)

    async def freeze(self, refusal: Callable[[], Unavailable], *, is_last: bool = False) -> None:
        """Refuse what is new with `refusal()`; when it returns all that was on its way is definite and checkpointed,
        nothing is answered any more, and the log is empty, unless this owner `is_last`: nobody will read it. The shard
        must be failed afterwards, in any case. Raises Unavailable.
        """
        self.check_here()
        self.refuse(refusal)
        try:
            async with asyncio.timeout(self._world.options.stop_timeout_s):
                await self.checkpointer.finish(is_last=is_last)
                await self.effects.settled(self.log.committed)
        except TimeoutError as error:
            raise Unavailable("The shard could not be checkpointed in time.") from error
        self._is_frozen = True

    async def stop(self, within_s: float | None = None) -> None:
        """Release the shard: take nothing more, checkpoint everything, leave an empty log. Returns when time is over
        too; what is not checkpointed then is in the log.
        """
        if self._refusal is None:
            self.refuse(_released)
            timeout_s = self._world.options.stop_timeout_s
            try:
                async with asyncio.timeout(timeout_s if within_s is None else within_s):
                    await self.checkpointer.finish()
            except (Unavailable, TimeoutError) as error:
                log.warning("shard released with a log", shard=self.shard_id, error=str(error))
        self.log.fail("The shard was released.")
        await self.close()

    async def close(self) -> None:
        """End everything that still runs for this shard. It must be lost."""
        await self._background.close()


def _released() -> ShardElsewhere:
    return ShardElsewhere("The shard is being released.")
