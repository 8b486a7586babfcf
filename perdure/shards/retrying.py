"""Repeating a store call whose outcome is not known, until it is.

A time-out here is an unknown outcome like any other. What is repeated is the same call with the same bytes; whoever
needs other bytes after an unknown outcome has to catch it itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from perdure.cluster.attempts import attempt_within, pause_s
from perdure.shards.options import World
from perdure.store.contract import OutcomeUnknown

T = TypeVar("T")

log = structlog.get_logger(__name__)
# One lost answer is nothing. Callers wait for a definite one meanwhile, so that the log is the only place that tells.
_TELL_FROM = 4


def delay_s(world: World, attempt: int) -> float:
    """Seconds before attempt `attempt` + 1 (1-based)."""
    return pause_s(world.entropy, attempt, world.options.retry_first_s, world.options.retry_max_s)


async def once(world: World, call: Callable[[], Awaitable[T]]) -> T:
    """One attempt of a call within the call's time. Raises OutcomeUnknown when that is over."""
    return await attempt_within(world.options.call_timeout_s, call)


async def settled(world: World, call: Callable[[], Awaitable[T]], doubted: Callable[[], None] = lambda: None) -> T:
    """The definite answer of `call`, which is made again as long as its outcome is unknown; `doubted` is called each
    time. Raises StoreUnavailable.
    """
    attempt = 0
    while True:
        try:
            return await once(world, call)
        except OutcomeUnknown as error:
            attempt += 1
            doubted()
            if attempt >= _TELL_FROM and attempt.bit_count() == 1:  # less and less often
                log.warning("the store gives no definite answer", error=error.message, attempt=attempt)
            await asyncio.sleep(delay_s(world, attempt))
