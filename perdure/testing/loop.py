"""An asyncio event loop on virtual time.

Nothing waits: when no callback is ready, time jumps to the next timer. Invariant: the same coroutine under the same
seed runs the same steps at the same virtual times. When nothing is ready, nothing is scheduled and the work is not
done, the loop raises `Deadlock` instead of hanging. There is no IO, no thread, no executor, and no signal. Whose
callbacks are held back, as those of a stopped process are, find out when they go on that time has passed.
"""

import asyncio
import heapq
import math
from asyncio import events
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from perdure.testing.entropy import SeededEntropy

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
WALL_START_NS = 1_700_000_000_000_000_000


class Deadlock(RuntimeError):
    """The awaited work can't go on: nothing is ready, and no timer will ever make anything ready."""


class _Jumping:
    """Stands where asyncio has its selector: instead of waiting for file descriptors, it moves time on."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock(f"nothing is ready and nothing is scheduled at {self._loop.time():.6f} s")
        if timeout > 0:
            self._loop.jump()
        return []

    def close(self) -> None:
        """There is nothing to close."""


def _is_held(handle: asyncio.Handle) -> bool:
    """Whether the handle's process is stopped; the handle waits then."""
    inside: Any = handle  # typeshed has no internals
    held = inside._loop.holds(inside._context)
    if held is None:
        return False
    held.append(handle)
    return True


class _Held(asyncio.Handle):
    """A callback that waits while its process is stopped."""

    __slots__ = ()

    def _run(self) -> None:
        if not _is_held(self):
            super()._run()


class _HeldTimer(asyncio.TimerHandle):
    """The same at its time."""

    __slots__ = ()

    def _run(self) -> None:
        if not _is_held(self):
            super()._run()


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. `seed` decides the order of timers that are due at the same time, within a nanosecond."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _Jumping(self)
        self._clock_resolution = 1e-9
        self.entropy = SeededEntropy(seed)
        self.clock = VirtualClock(self)
        self._ties = self.entropy.fork("ties")
        self.holds: Callable[[Context], list[asyncio.Handle] | None] = lambda context: None

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def jump(self) -> None:
        """Move time on to the next timer."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # typeshed has no internals
        # A little after it: what is due then has to be due by any rounding.
        self._now = max(self._now, math.nextafter(scheduled[0].when(), math.inf))

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's; equal times are told apart by the seed, by less than a nanosecond."""
        jitter = self._ties.fraction() * 1e-10
        handle = _HeldTimer(when + jitter, callback, args, self, context)
        heapq.heappush(self._scheduled, handle)  # type: ignore[attr-defined]  # typeshed has no internals
        handle._scheduled = True  # type: ignore[attr-defined]  # typeshed has no internals
        return handle

    def _call_soon(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.Handle:
        handle = _Held(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]  # typeshed has no internals
        return handle

    def go_on(self, held: list[asyncio.Handle]) -> None:
        """Run what was held back, in its order."""
        ready: Any = self._ready  # type: ignore[attr-defined]  # typeshed has no internals
        ready.extend(handle for handle in held if not handle.cancelled())
        held.clear()

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    def _write_to_self(self) -> None:
        """A wake-up from another thread: there is none."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Not on virtual time: a thread would run in real time."""
        raise RuntimeError("a thread was asked for on virtual time")

    def close(self) -> None:
        """Close the loop; it must not be running."""
        if not self.is_closed():
            super().close()


class VirtualClock:
    """`perdure.base.clock.Clock` over a virtual loop. `offset_ns` moves the wall clock, as a wrong one would; `rate`:
    how fast the monotonic one goes, 1 is right.
    """

    __slots__ = ("_loop", "offset_ns", "rate")

    def __init__(self, loop: VirtualLoop, offset_ns: int = 0) -> None:
        self._loop = loop
        self.offset_ns = offset_ns
        self.rate = 1.0

    def now_ns(self) -> int:
        return WALL_START_NS + self.offset_ns + round(self._loop.time() * 1e9)

    def monotonic_ns(self) -> int:
        return round(self._loop.time() * self.rate * 1e9)


def running_loop() -> VirtualLoop:
    """The virtual loop that runs the caller."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run_virtual(work: Coroutine[Any, Any, T], seed: int = 0) -> T:
    """Run `work` to its end on a fresh virtual loop. Raises what it raises, or `Deadlock`.

    Tasks that it leaves behind are cancelled before the loop is closed.
    """
    loop = VirtualLoop(seed)
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            _cancel_rest(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            events.set_event_loop(None)
            loop.close()


def _cancel_rest(loop: VirtualLoop) -> None:
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    if rest:
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
