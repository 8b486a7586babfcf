"""One attempt of a store call, and the pause before the next.

A time-out is an unknown outcome like any other. Refuses to decide whether there is a next attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.base.entropy import Entropy
from perdure.store.contract import OutcomeUnknown

T = TypeVar("T")


async def attempt_within(time_s: float, call: Callable[[], Awaitable[T]]) -> T:
    """The answer of `call` within `time_s`. Raises OutcomeUnknown when that is over."""
    try:
        async with asyncio.timeout(time_s):
            return await call()
    except TimeoutError as error:
        raise OutcomeUnknown("The store did not answer in time.") from error


def pause_s(entropy: Entropy, attempt: int, first_s: float, max_s: float) -> float:
    """Seconds before attempt `attempt` + 1 (1-based): doubling up to the maximum, less up to half of it by chance."""
    full = min(max_s, first_s * float(1 << min(attempt - 1, 30)))
    return full * (1 - entropy.fraction() / 2)
