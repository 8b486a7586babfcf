"""What acts on committed tasks: references to matching, and one-shot effects.

Invariants: only what is durable is acted on; everything is idempotent by its key, so doing it again after a failure
or by a former owner is harmless; what waits is bounded, because an offer that finds no room is in the index, from where
it is offered later. A pump has a task only while there is something to do.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from perdure.base.errors import ShardLost, Unavailable
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.shards.contract import Shard
from perdure.shards.index import OfferIndex, Order
from perdure.shards.options import World
from perdure.shards.retrying import delay_s
from perdure.workflow.tasks import Effect, EffectKind, Offer, QueueKey, partition_of

log = structlog.get_logger(__name__)

# An effect that fails by a defect of ours, not for want of a store, is given up after so many attempts: it must not
# keep the log of a whole shard from being dropped.
_EFFECT_ATTEMPTS_MAX = 8


class OfferPump:
    """Hands committed offers to matching, and takes back what is void. `failures`: calls that failed."""

    def __init__(self, world: World, shard: Shard, index: OfferIndex, background: Background) -> None:
        self._world = world
        self._shard = shard
        self._index = index
        self._background = background
        self._pending: dict[QueueKey, dict[Order, Offer]] = {}
        self._sending: set[QueueKey] = set()
        self._left_out: dict[QueueKey, Offer] = {}  # the first that found no room: it and what follows is in the index
        self._withdrawn: dict[QueueKey, list[Offer]] = {}
        self._withdrawing = False
        self._moved: dict[QueueKey, None] = {}  # partitions whose heads have to be offered to another host
        self._reoffering = False
        self.failures = 0

    def add(self, offer: Offer) -> None:
        """Offer it soon."""
        partition = partition_of(offer)
        pending = self._pending.get(partition)
        if pending is None:
            pending = self._pending[partition] = {}
            if partition not in self._sending:
                self._sending.add(partition)
                self._background.spawn(self._send(partition), "offers")
        if len(pending) < self._world.options.offers_pending_max:
            pending[offer.order] = offer
            return
        first = self._left_out.get(partition)
        if first is None or offer.order < first.order:
            self._left_out[partition] = offer

    def remove(self, offer: Offer) -> None:
        """It is void: don't offer it, or take it back some time later (a stale reference is refused when used)."""
        partition = partition_of(offer)
        pending = self._pending.get(partition)
        if pending is not None and pending.pop(offer.order, None) is not None:
            return
        self._withdrawn.setdefault(partition, []).append(offer)
        if not self._withdrawing:
            self._withdrawing = True
            self._background.spawn(self._withdraw(), "withdrawals")

    async def offer_head(self, partition: QueueKey) -> None:
        """Offer the first outstanding ones of a partition again. Raises Unavailable."""
        batch = self._world.options.offers_batch
        offers, backlog = await self._index.page(partition, None, batch)
        if offers:
            backlog = msgspec.structs.replace(backlog, has_more=len(offers) == batch)
            await self._world.executions.offer(self._shard, partition, offers, backlog)

    def reoffer(self, moved: Callable[[QueueKey], bool]) -> None:
        """Offer the heads of these partitions soon, until they were taken: they have other owners now, or this shard
        has, or nobody seems to know of them.
        """
        self._moved.update(dict.fromkeys(filter(moved, self._index.partitions())))
        if self._moved and not self._reoffering:
            self._reoffering = True
            self._background.spawn(self._reoffer(), "moved partitions")

    async def _reoffer(self) -> None:
        attempt = 0
        try:
            while self._moved:
                partition = next(iter(self._moved))
                del self._moved[partition]
                try:
                    await self.offer_head(partition)
                    attempt = 0
                except ShardLost:
                    return
                except Unavailable as error:
                    # Its owner isn't there yet, or the next view comes: others first.
                    self._moved[partition] = None
                    attempt += 1
                    if attempt.bit_count() == 1:
                        log.warning("offers not taken", queue=partition.name, attempts=attempt, error=error.message)
                    await asyncio.sleep(delay_s(self._world, attempt))
                except Exception:
                    # The slow re-offer comes back to it.
                    self.failures += 1
                    log.exception("offering failed", queue=partition.name)
        finally:
            self._reoffering = False

    async def _send(self, partition: QueueKey) -> None:
        attempt = 0
        try:
            while pending := self._pending.pop(partition, None):
                offers = [pending[order] for order in sorted(pending)]
                while offers:
                    batch = offers[: self._world.options.offers_batch]
                    if await self._offered(partition, batch):
                        attempt = 0
                        del offers[: len(batch)]
                    else:
                        attempt += 1
                        await asyncio.sleep(delay_s(self._world, attempt))
                        offers = [offer for offer in offers if self._index.is_fresh(offer)]
                    if not offers:
                        offers = await self._more(partition, batch[-1])
        finally:
            self._sending.discard(partition)

    async def _more(self, partition: QueueKey, last: Offer) -> list[Offer]:
        """What found no room, page by page as long as there is any: matching pulls only what it was once told of."""
        first = self._left_out.pop(partition, None)
        if first is None:
            return []
        batch = self._world.options.offers_batch
        # The index reads beyond an offer: the one that was left out first comes along by itself.
        found = [first] if self._index.is_fresh(first) else []
        try:
            rest, _ = await self._index.page(partition, first, batch)
        except (ShardLost, Unavailable):
            return found  # the slow re-offer comes back to them
        if len(rest) == batch:
            self._left_out[partition] = rest.pop()
        return found + rest

    async def _offered(self, partition: QueueKey, offers: Sequence[Offer]) -> bool:
        """True if there is no sense in doing it again."""
        clock = self._world.clock
        begun_ns = clock.monotonic_ns()
        meter = self._world.meters.tasks(partition.kind, partition.namespace_id)
        try:
            await self._world.executions.offer(self._shard, partition, offers, self._index.backlog(partition))
        except ShardLost:
            return True
        except Unavailable as error:
            self.failures += 1
            if self.failures.bit_count() == 1:
                log.warning("offers not taken", queue=partition.name, failures=self.failures, error=error.message)
            meter.failed(clock.monotonic_ns() - begun_ns, len(offers))
            return False
        except Exception:
            # The slow re-offer comes back to them; a defect in the way to matching must not stop the shard.
            self.failures += 1
            log.exception("offering failed", queue=partition.name)
            meter.failed(clock.monotonic_ns() - begun_ns, len(offers))
        else:
            took_ns = clock.monotonic_ns() - begun_ns
            meter.done(took_ns, self._shard.now_ns() - offers[0].scheduled_time_ns - took_ns, times=len(offers))
        return True

    async def _withdraw(self) -> None:
        await asyncio.sleep(self._world.options.withdraw_delay_s)
        self._withdrawing = False
        withdrawn, self._withdrawn = self._withdrawn, {}
        for partition, offers in withdrawn.items():
            backlog = self._index.backlog(partition)
            try:
                await self._world.executions.withdraw(self._shard, partition, offers, backlog)
            except ShardLost:
                return
            except Unavailable:
                self.failures += 1
            except Exception:
                # What stays in matching is refused when it is started.
                self.failures += 1
                log.exception("withdrawing failed", queue=partition.name)


_EffectId = tuple[ChainKey, str, EffectKind]


class EffectPump:
    """Has effects performed, at least once, oldest first. `failures`: attempts that failed, `abandoned`: effects
    given up.
    """

    def __init__(self, world: World, shard: Shard, background: Background) -> None:
        self._world = world
        self._shard = shard
        self._background = background
        self._pending: dict[_EffectId, tuple[Effect, int]] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._is_working = False
        self.failures = 0
        self.abandoned = 0

    def add(self, effect: Effect, position: int) -> None:
        """Perform it; an older one of the same run and kind is superseded."""
        at = (effect.key, effect.run_id, effect.kind)
        # Out and in again, so that the order stays that of positions.
        self._pending.pop(at, None)
        self._pending[at] = effect, position
        if not self._is_working:
            self._is_working = True
            self._background.spawn(self._work(), "effects")

    def remove(self, effect: Effect) -> None:
        """It is not needed any more: a newer one says it all, or the run is gone."""
        at = (effect.key, effect.run_id, effect.kind)
        pending = self._pending.get(at)
        if pending is not None and pending[0] == effect:
            del self._pending[at]
            self._wake()

    async def settled(self, position: int) -> None:
        """Wait until no effect that was added at or before `position` is left."""
        oldest = self._oldest()
        if oldest is None or oldest > position:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((position, waiter))
        await waiter

    def _oldest(self) -> int | None:
        return next((position for _, position in self._pending.values()), None)

    def _wake(self) -> None:
        if not self._waiters:
            return
        oldest = self._oldest()
        still = []
        for position, waiter in self._waiters:
            if oldest is not None and oldest <= position:
                still.append((position, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = still

    async def _work(self) -> None:
        attempt = 0
        size = self._world.options.effects_batch
        try:
            while self._pending:
                # They gather, and newer ones take the place of older ones: lists may lag, stores are slow.
                await asyncio.sleep(self._world.options.effects_delay_s)
                batch = list(self._pending.items())[:size]
                outcome = await self._performed([effect for _, (effect, _) in batch])
                if outcome is None:
                    attempt += 1
                    await asyncio.sleep(delay_s(self._world, attempt))
                elif outcome:
                    attempt = 0
                    size = self._world.options.effects_batch
                    self._done(batch)
                else:
                    # A defect: find the one effect that has it, and give that up in the end.
                    attempt += 1
                    size = 1
                    if attempt > _EFFECT_ATTEMPTS_MAX and len(batch) == 1:
                        log.error("effect abandoned", effect=repr(batch[0][1][0]))
                        self.abandoned += 1
                        effect = batch[0][1][0]
                        self._world.meters.tasks(effect.kind, effect.key.namespace_id).discarded()
                        self._done(batch)
                        attempt = 0
                    await asyncio.sleep(delay_s(self._world, attempt + 1))
        except ShardLost:
            return
        finally:
            self._is_working = False

    async def _performed(self, effects: Sequence[Effect]) -> bool | None:
        """True: done. None: to be tried again. False: it failed by a defect. Raises ShardLost."""
        begun_ns = self._world.clock.monotonic_ns()
        try:
            await self._world.executions.perform(self._shard, effects)
        except ShardLost:
            raise
        except Unavailable as error:
            self._count_failures(effects, begun_ns)
            self.failures += 1
            if self.failures.bit_count() == 1:
                log.warning("effects not done yet", failures=self.failures, error=error.message)
            return None
        except Exception:
            # Whatever it is, it concerns these effects and not the shard; it is counted and tried again one by one.
            self._count_failures(effects, begun_ns)
            self.failures += 1
            log.exception("effects failed", effects=len(effects))
            return False
        took_ns = self._world.clock.monotonic_ns() - begun_ns
        for effect in effects:
            self._world.meters.tasks(effect.kind, effect.key.namespace_id).done(took_ns)
        return True

    def _count_failures(self, effects: Sequence[Effect], begun_ns: int) -> None:
        took_ns = self._world.clock.monotonic_ns() - begun_ns
        for effect in effects:
            self._world.meters.tasks(effect.kind, effect.key.namespace_id).failed(took_ns)

    def _done(self, batch: Iterable[tuple[_EffectId, tuple[Effect, int]]]) -> None:
        for at, entry in batch:
            if self._pending.get(at) is entry:
                del self._pending[at]
        self._wake()
