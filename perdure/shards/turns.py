"""Turns: so many at a time, and so many a second."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perdure.base.clock import SECOND_NS, Clock


class Turns:
    """`parallel` at once, `per_s` begun a second, first come, first served."""

    def __init__(self, clock: Clock, parallel: int, per_s: float) -> None:
        self._clock = clock
        self._room = asyncio.Semaphore(parallel)
        self._apart_ns = int(SECOND_NS / per_s)
        self._next_ns = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and keep its place until the end."""
        async with self._room:
            now_ns = self._clock.monotonic_ns()
            at_ns = max(now_ns, self._next_ns)
            self._next_ns = at_ns + self._apart_ns
            if at_ns > now_ns:
                await asyncio.sleep((at_ns - now_ns) / SECOND_NS)
            yield
