"""Firing timers when they are due, from one wake-up per shard.

Invariants: a timer fires at or after its time by the shard's clock, never before; a firing that fails is repeated,
however often; few run at once, and errands, which may wait for others, take no place from timers. Without timers
nothing ever wakes up.
"""

import asyncio
from collections import deque
from collections.abc import Set as AbstractSet

import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.errors import ShardLost, Unavailable
from perdure.base.tasks import Background
from perdure.shards.contract import Shard
from perdure.shards.options import World
from perdure.shards.retrying import delay_s
from perdure.shards.strays import Strays
from perdure.shards.timers import NEVER_NS, TimerIndex
from perdure.workflow.tasks import ERRANDS, Timer, TimerKind

log = structlog.get_logger(__name__)

# With a timer ahead the clock is looked at at least so often: the wall clock may jump, and the machine may sleep.
_LOOK_S = 30.0
_RETRY_NS_MAX = 60 * SECOND_NS
# Over so many remembered failures, those of timers that are gone meanwhile are forgotten.
_SWEEP_OVER = 256


class _Lane:
    """What is due of one sort, in order, and how many of it fire now."""

    __slots__ = ("due", "firing", "most")

    def __init__(self, most: int) -> None:
        self.due: deque[Timer] = deque()
        self.firing = 0
        self.most = most


class TimerPump:
    """`failures`: firings that raised; `obsolete`: timers that fired and changed nothing."""

    def __init__(self, world: World, shard: Shard, index: TimerIndex, strays: Strays, background: Background) -> None:
        self._world = world
        self._shard = shard
        self._index = index
        self._strays = strays
        self._background = background
        self._handle: asyncio.TimerHandle | None = None
        self._wake_ns = NEVER_NS
        self._timers = _Lane(world.options.fires_max)
        self._errands = _Lane(world.options.errands_max)
        self._callbacks = _Lane(world.options.callbacks_max)
        self._attempts: dict[Timer, int] = {}
        self._attempts_swept = _SWEEP_OVER
        self._extending = False
        self._is_stopped = False
        self.failures = 0
        self.obsolete = 0

    def stop(self) -> None:
        """Fire nothing more."""
        self._is_stopped = True
        self._timers.due.clear()
        self._errands.due.clear()
        self._callbacks.due.clear()
        if self._handle is not None:
            self._handle.cancel()

    def schedule(self) -> None:
        """Make sure that the shard wakes up in time for the next timer; call it when timers were added."""
        wake_ns = min(self._index.next_ns(), self._extend_ns())
        if wake_ns >= self._wake_ns or self._is_stopped:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._wake_ns = wake_ns
        # Up to the next microsecond, so that rounding wakes late rather than early.
        wait_us = max(0, -((self._shard.now_ns() - wake_ns) // 1000))
        self._handle = asyncio.get_running_loop().call_later(min(wait_us / 1e6, _LOOK_S), self._ring)

    def clock_moved(self) -> None:
        """The wall clock jumped: what was far may be due."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._wake_ns = NEVER_NS
        self.schedule()

    async def first_ns(self, ignored: AbstractSet[TimerKind]) -> int:
        """When the first outstanding timer that is of no ignored kind is due, however far; NEVER_NS if there is none.
        Raises Unavailable.
        """
        while True:
            found, far_ns = self._index.first_ns(ignored), self._index.far_ns
            if found <= far_ns:
                return found
            await self._index.extend(far_ns, self._world.options.timers_loaded_max)

    def lag_ns(self) -> int:
        """How late the first timer is that waits for its turn, or failed and is still wanted; 0 if none is."""
        waiting = [lane.due[0].due_ns for lane in (self._timers, self._errands, self._callbacks) if lane.due]
        waiting += (timer.due_ns for timer in self._attempts if self._index.is_armed(timer))
        return max(0, self._shard.now_ns() - min(waiting)) if waiting else 0

    def _extend_ns(self) -> int:
        """When rows have to be read: half a window before the first of them is due, if there is room in memory. Those
        that fail take none of it: they may stay for long, and must not keep others from being read.
        """
        index = self._index
        waiting = index.armed - len(self._attempts)
        if self._extending or index.far_ns == NEVER_NS or waiting >= self._world.options.timers_loaded_max:
            return NEVER_NS
        return index.far_ns - int(self._world.options.timer_window_s / 2 * SECOND_NS)

    def _ring(self) -> None:
        self._handle = None
        self._wake_ns = NEVER_NS
        now_ns = self._shard.now_ns()
        if self._extend_ns() <= now_ns:
            self._extending = True
            self._background.spawn(self._extend(), "timer rows")
        for timer in self._index.due(now_ns):
            self._lane(timer).due.append(timer)
        self._launch(self._timers)
        self._launch(self._errands)
        self._launch(self._callbacks)
        self.schedule()

    def _lane(self, timer: Timer) -> _Lane:
        if timer.kind == TimerKind.CALLBACK:
            return self._callbacks  # they wait for anybody in the world
        return self._errands if timer.kind in ERRANDS else self._timers

    def _launch(self, lane: _Lane) -> None:
        while lane.due and lane.firing < lane.most:
            timer = lane.due.popleft()
            if self._index.is_armed(timer):
                lane.firing += 1
                self._background.spawn(self._fire(timer), "timer")
            else:
                self._attempts.pop(timer, None)

    async def extend(self) -> None:
        """Arm what is due within the window from now. Raises Unavailable."""
        until_ns = self._shard.now_ns() + int(self._world.options.timer_window_s * SECOND_NS)
        await self._index.extend(until_ns, self._world.options.timers_loaded_max)

    async def _extend(self) -> None:
        attempt = 0
        while True:
            try:
                await self.extend()
                break
            except Unavailable as error:
                attempt += 1
                log.warning("timers not read yet", error=error.message)
                await asyncio.sleep(delay_s(self._world, attempt))
        self._extending = False
        self.schedule()

    async def _fire(self, timer: Timer) -> None:
        clock = self._world.clock
        begun_ns = clock.monotonic_ns()
        late_ns = self._shard.now_ns() - timer.due_ns
        meter = self._world.meters.tasks(timer.kind, timer.key.namespace_id)
        try:
            await self._world.executions.fire(self._shard, timer)
            await self._shard.durable(self._shard.next_position - 1)
        except ShardLost:
            if not self._is_stopped:
                self._again(timer)
        except Unavailable as error:
            self._again(timer)
            meter.failed(clock.monotonic_ns() - begun_ns)
            if self.failures.bit_count() == 1:  # less and less often
                log.warning("timer not fired yet", timer=repr(timer), error=error.message, failures=self.failures)
        except Exception:
            # A defect in one execution concerns that execution: its timer is tried again, more and more slowly.
            attempt = self._again(timer)
            meter.failed(clock.monotonic_ns() - begun_ns)
            if attempt.bit_count() == 1:
                log.exception("firing failed", timer=repr(timer), attempt=attempt)
        else:
            failures = self._attempts.pop(timer, 0)
            meter.done(clock.monotonic_ns() - begun_ns, late_ns, failures + 1)
            if self._index.is_armed(timer):
                # Nothing wants it any more, or its transition would have removed it.
                self.obsolete += 1
                self._index.remove(timer)
                self._strays.removed_timers.append(timer)
        finally:
            lane = self._lane(timer)
            lane.firing -= 1
            if not self._is_stopped:
                self._launch(lane)
                self.schedule()

    def _again(self, timer: Timer) -> int:
        """Let it fire again some time later; how often it has failed."""
        self.failures += 1
        attempt = self._attempts[timer] = self._attempts.get(timer, 0) + 1
        if len(self._attempts) > self._attempts_swept:
            self._attempts = {each: count for each, count in self._attempts.items() if self._index.is_armed(each)}
            self._attempts_swept = max(_SWEEP_OVER, 2 * len(self._attempts))
        wait_ns = min(_RETRY_NS_MAX, int(delay_s(self._world, 1) * SECOND_NS) << min(attempt, 20))
        self._index.retry(timer, self._shard.now_ns() + wait_ns)
        return attempt
