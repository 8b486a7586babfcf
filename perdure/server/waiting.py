"""Waiting while a server starts: for a store that may come, and no longer than until it is told to stop."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import StoreUnavailable, Unavailable
from perdure.base.tasks import Background

T = TypeVar("T")

log = structlog.get_logger(__name__)
_AGAIN_FIRST_S = 0.1
_AGAIN_MAX_S = 5.0


class ToldToStop(Exception):
    """The process was told to stop before the work was done."""


def stop_signals() -> asyncio.Event:
    """Set by SIGTERM or SIGINT, the second of which ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, number)
    return stop


def _stop(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        # What was acknowledged is durable, so there is nothing that has to be done first.
        leave_now(128 + number)
    stop.set()


def leave_now(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises. Raises ToldToStop, with the work cancelled, if `stop` is set before it is over."""
    background = Background(_seen_below)
    working: asyncio.Task[T] = background.spawn(work, "starting")
    stopping = background.spawn(stop.wait(), "waiting for a signal")
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ToldToStop
        return working.result()
    finally:
        await background.close()


def _seen_below(_error: BaseException) -> None:
    """The result of the task has it, too."""


class Patience:
    """Asks a store again that can't be reached, until `wait_s` have passed since this was made."""

    def __init__(self, clock: Clock, wait_s: float) -> None:
        self._clock = clock
        self._end_ns = clock.monotonic_ns() + int(wait_s * SECOND_NS)

    async def until(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, at last. Raises StoreUnavailable with the newest cause when the time is over, and what
        `work` raises else.
        """
        wait_s = _AGAIN_FIRST_S
        while True:
            try:
                return await work()
            except Unavailable as error:
                if self._clock.monotonic_ns() + int(wait_s * SECOND_NS) >= self._end_ns:
                    raise StoreUnavailable(error.message) from error
                log.warning("the store can't be reached yet", error=error.message)
            await asyncio.sleep(wait_s)
            wait_s = min(_AGAIN_MAX_S, wait_s * 2)
