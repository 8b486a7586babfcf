"""Questions of those who judge: repeated until they are answered, within a bound, at any frontend."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from perdure.base.errors import Aborted, DeadlineExceeded, PerdureError, ResourceExhausted, Unavailable
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.clusters import passes

T = TypeVar("T")
_PASSING = frozenset({"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN"})
_AGAIN = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable)
_PATIENCE_S = 60.0
_PAUSE_S = 0.3
_CALL_S = 8.0


async def persist(clients: Sequence[Client], request: Message, seconds: float = _PATIENCE_S) -> Any:
    """The reply. Raises CallFailed if it is refused, or still not answered after so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    for client in itertools.cycle(clients):
        try:
            return await client.call(request, _CALL_S)
        except CallFailed as failed:
            if failed.code not in _PASSING or asyncio.get_running_loop().time() > deadline:
                raise
        await passes(_PAUSE_S)
    raise AssertionError("there are no frontends")


async def insist(call: Callable[[], Awaitable[T]], seconds: float = _PATIENCE_S) -> T:
    """As `persist`, of calls that raise the error tree."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await call()
        except PerdureError as error:
            if not isinstance(error, _AGAIN) or asyncio.get_running_loop().time() > deadline:
                raise
        await passes(_PAUSE_S)
