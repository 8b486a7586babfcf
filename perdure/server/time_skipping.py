"""A clock for tests of workflows: it skips the time in which nothing is in progress, for all namespaces at once.

Behind the API's TestService. Time is locked while the counter of locks is above 0, and while work is in progress
anywhere (`perdure.workflow.in_progress`), or an errand or a due timer is on its way; it goes on at the real pace then.
Else the clock jumps to when the next timer is due or the next sleeper wakes, and without either (or where that is
farther than times reach) it stays with the real pace too. Nobody jumps to what deletes old runs, or calls
others again that don't answer: the latter would make time run away.

Invariant: a jump passes no other timer. It is made between two awaits, after everything that was decided is durable and
counts in the indexes of its shard, and if nothing was decided meanwhile. Source: the SDKs' test server.
"""

import asyncio
import heapq
from collections.abc import Iterable
from itertools import count

import structlog
from google.protobuf.message import Message

from perdure.base.clock import SECOND_NS, AdvancingClock
from perdure.base.errors import FailedPrecondition, Unavailable
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.rpc.call import CallMeta, Handler
from perdure.shards.controller import Shards
from perdure.shards.shard import OwnedShard
from perdure.shards.timers import NEVER_NS
from perdure.workflow.in_progress import is_in_progress
from perdure.workflow.skipping import TIME_NS_MAX
from perdure.workflow.state import Chain
from perdure.workflow.tasks import TimerKind

log = structlog.get_logger(__name__)
_IGNORED = frozenset({TimerKind.RETENTION, TimerKind.CALLBACK})
# What is due is on its way, and not all that ends it is a decision.
_LOOK_AGAIN_S = 0.01


class TimeSkipping:
    """`locks`: what the counter begins with. `start` it, and tell it of every chain that changes."""

    def __init__(self, clock: AdvancingClock, shards: Shards, locks: int = 1) -> None:
        self._clock = clock
        self._shards = shards
        self._locks = locks
        self._calls = 0
        self._busy: set[ChainKey] = set()
        self._changes = 0
        self._woken = asyncio.Event()
        self._sleepers: list[tuple[int, int, asyncio.Future[None], bool]] = []
        self._numbers = count()
        self._handle: asyncio.TimerHandle | None = None
        self._background = Background(_failed)

    def start(self) -> None:
        """Skip from now on what can be skipped."""
        self._look()
        self._background.spawn(self._run(), "time skipping")

    async def close(self) -> None:
        """Stop; whoever sleeps is cancelled with its call."""
        await self._background.close()
        if self._handle is not None:
            self._handle.cancel()

    def changed(self, chain: Chain) -> None:
        """This is a chain's newest state."""
        if any(is_in_progress(run) for run in chain.runs.values()):
            self._busy.add(chain.key)
        else:
            self._busy.discard(chain.key)
        self._look()

    def now_ns(self) -> int:
        """The time that workflows see."""
        return self._clock.now_ns()

    def lock(self) -> None:
        """Nothing is skipped until it is unlocked as often as it was locked."""
        self._locks += 1
        self._look()

    def unlock(self) -> None:
        """Take one lock away. Raises FailedPrecondition if there is none."""
        if not self._locks:
            raise FailedPrecondition("Unbalanced lock and unlock calls: time skipping is not locked.")
        self._locks -= 1
        self._look()

    async def sleep_until(self, time_ns: int) -> None:
        """Return when it is that time."""
        await self._sleeper(time_ns, locks=False)

    async def unlock_and_sleep(self, duration_ns: int) -> None:
        """Take one lock away until so much time has passed. Raises FailedPrecondition if there is none."""
        self.unlock()
        sleeper = self._sleeper(self.now_ns() + duration_ns, locks=True)
        try:
            await sleeper
        except asyncio.CancelledError:
            # Whoever slept has gone: the lock comes back all the same, unless it has already.
            if sleeper.cancelled():
                self.lock()
            raise

    def holding(self, handler: Handler) -> Handler:
        """The same, and no time is skipped while it is being answered."""

        async def handle(request: Message, meta: CallMeta) -> Message | bytes:
            self._calls += 1
            try:
                return await handler(request, meta)
            finally:
                self._calls -= 1
                self._look()

        return handle

    def _sleeper(self, time_ns: int, *, locks: bool) -> asyncio.Future[None]:
        """Done when it is that time; with `locks` a lock is added at that very moment."""
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (time_ns, next(self._numbers), sleeper, locks))
        self._wake_sleepers()
        return sleeper

    def _wake_sleepers(self) -> None:
        """Wake whose time has come, and look again when that of the next one comes at the real pace."""
        while self._sleepers and (self._sleepers[0][0] <= self.now_ns() or self._sleepers[0][2].done()):
            _, _, sleeper, locks = heapq.heappop(self._sleepers)
            if not sleeper.done():
                self._locks += locks
                sleeper.set_result(None)
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._sleepers:
            wait_s = (self._sleepers[0][0] - self.now_ns()) / SECOND_NS
            # Longer than a day, and the loop's own arithmetic may overflow: look once a day.
            self._handle = asyncio.get_running_loop().call_later(min(wait_s + 1e-6, 86_400.0), self._wake_sleepers)
        self._look()

    def _look(self) -> None:
        self._changes += 1
        self._woken.set()

    def _is_locked(self) -> bool:
        return bool(self._locks or self._calls or self._busy)

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._is_locked():
                continue
            try:
                await self._skip()
            except Unavailable as error:
                log.warning("no time skipped yet", error=error.message)
                await asyncio.sleep(_LOOK_AGAIN_S)
                self._look()

    async def _skip(self) -> None:
        """Jump if nothing is in progress now, nor begins while that is found out. Raises Unavailable."""
        changes = self._changes
        shards = self._shards.owned()
        for shard in shards:
            await shard.durable(shard.next_position - 1)
        next_ns = await self._next_ns(shards)
        if changes != self._changes or self._is_locked():
            return  # whatever it was has woken this loop again
        if next_ns <= self.now_ns():
            await asyncio.sleep(_LOOK_AGAIN_S)
            self._look()
        elif next_ns != NEVER_NS:
            self._clock.advance_to(next_ns)
            for shard in shards:
                shard.firing.clock_moved()
            self._wake_sleepers()

    async def _next_ns(self, shards: Iterable[OwnedShard]) -> int:
        next_ns = NEVER_NS
        for shard in shards:
            next_ns = min(next_ns, await shard.firing.first_ns(_IGNORED))
        while self._sleepers and self._sleepers[0][2].done():  # its caller has gone
            heapq.heappop(self._sleepers)
        next_ns = min(next_ns, self._sleepers[0][0]) if self._sleepers else next_ns
        return next_ns if next_ns <= TIME_NS_MAX else NEVER_NS


def _failed(error: BaseException) -> None:
    log.error("time skipping has stopped", exc_info=error)
