"""Reaching the owner of a chain, and trying again where that is safe.

Invariant: a call that may have taken effect is repeated only if it is a read or its request id makes it idempotent.
A call that found no owner did nothing and is always repeated. Refuses to wait beyond the caller's deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from perdure.base.clock import SECOND_NS
from perdure.base.entropy import Entropy
from perdure.base.errors import Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, Directory, HistoryRole

ATTEMPTS_MAX = 8
_FIRST_PAUSE_S = 0.02
_PAUSE_S_MAX = 1.0
_Answer = TypeVar("_Answer")


class Routing:
    """Calls to the history role, with bounded repetition while shards move."""

    def __init__(self, directory: Directory, entropy: Entropy) -> None:
        self._directory = directory
        self._entropy = entropy

    async def transact(self, key: ChainKey, request: Any, call: Call, *, repeatable: bool) -> Any:
        """Decide `request` on the chain and return its reply. `repeatable`: doing it twice is doing it once."""
        return await self.on_history(key, lambda role: role.transact(key, request, call), call, repeatable=repeatable)

    async def on_history(
        self, key: ChainKey, act: Callable[[HistoryRole], Awaitable[_Answer]], call: Call, *, repeatable: bool
    ) -> _Answer:
        """`act` on the owner of the chain's slot. Raises Unavailable once attempts or the caller's time are used up."""
        slot = key.slot
        begun = asyncio.get_running_loop().time()
        attempt = 1
        while True:
            reached = False
            try:
                role = self._directory.history(slot)
                reached = True
                return await act(role)
            except Unavailable:
                if (reached and not repeatable) or attempt >= ATTEMPTS_MAX:
                    raise
                pause = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _PAUSE_S_MAX) * (0.5 + self._entropy.fraction())
                spent = asyncio.get_running_loop().time() - begun
                if call.timeout_ns and spent + pause >= call.timeout_ns / SECOND_NS:
                    raise
            await asyncio.sleep(pause)
            attempt += 1
