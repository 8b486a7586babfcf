"""The one place where a conformance test lets time pass without an RPC that waits by itself.

Some conditions have no long poll (a server that is starting; visibility, which is eventually consistent). `until` asks
again and again, with a short pause that is a bounded wait on an event nobody sets. No test sleeps in any other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.2


async def until(
    what: str, ask: Callable[[], Awaitable[T]], seconds: float = 15.0, pause_seconds: float = PAUSE_SECONDS
) -> T:
    """Call `ask` until it answers something true, and return that; TimeoutError naming `what` after `seconds`."""
    never = asyncio.Event()
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = await ask()
        if answer:
            return answer
        if asyncio.get_running_loop().time() >= deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        try:
            await asyncio.wait_for(never.wait(), pause_seconds)
        except TimeoutError:
            continue
