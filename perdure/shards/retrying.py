"""Repeating a store call whose outcome is not known, until it is.

A time-out here is an unknown outcome like any other. What is repeated is the same call with the same bytes; whoever
needs other bytes after an unknown outcome has to catch it itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from perdure.shards.options import World
from perdure.store.contract import OutcomeUnknown

T = TypeVar("T")

log = structlog.get_logger(__name__)
# One lost answer is nothing. Callers wait for a definite one meanwhile, so that the log is the only place that tells.
_TELL_FROM = 4


def delay_s(world: World, attempt: int) -> float:
    """Seconds before attempt `attempt` + 1 (1-based): doubling up to the maximum, less up to half of it by chance."""
    options = world.options
    full = min(options.retry_max_s, options.retry_first_s * float(1 << min(attempt - 1, 30)))
    return full * (1 - world.entropy.fraction() / 2)


async def once(world: World, call: Callable[[], Awaitable[T]]) -> T:
    """One attempt of a call within the call's time. Raises OutcomeUnknown when that is over."""
    try:
        async with asyncio.timeout(world.options.call_timeout_s):
            return await call()
    except TimeoutError as error:
        raise OutcomeUnknown("The store did not answer in time.") from error


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
