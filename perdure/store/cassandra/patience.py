"""Asking again for a while: a node that has just told of a keyspace or a table may not take statements on it yet."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.base.errors import Unavailable

T = TypeVar("T")

_PAUSE_S = 0.2
_TRIES = 25


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The result of `call`, which may be repeated; its last error after five seconds."""
    for _ in range(_TRIES - 1):
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(_PAUSE_S)
    return await call()
