"""The world outside a simulated cluster, which calls completion callbacks: who was called, and what it answered.

Invariant: a call counts from when it came, whatever the cluster heard of it; so an answer may be lost, and the call
come again. After `calm` every call is answered.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

import msgspec

from perdure.base.clock import SECOND_NS
from perdure.history.callbacks import NotSent
from perdure.history.completions import Answer, Completion
from perdure.testing.entropy import SeededEntropy

HOST = "receiver"
_FAILS = 0.1
_LOST = 0.1
_HANGS = 0.03


class Called(msgspec.Struct, frozen=True):
    """A call that came: its headers, and whether it was taken."""

    headers: Mapping[str, str]
    is_taken: bool


class WorldOutside:
    """`owed`: addresses that have to be called in the end. `calls`: what came, by address."""

    def __init__(self, entropy: SeededEntropy) -> None:
        self.owed: set[str] = set()
        self.calls: dict[str, list[Called]] = defaultdict(list)
        self._entropy = entropy
        self._is_calm = False

    def calm(self) -> None:
        """No call fails any more."""
        self._is_calm = True

    def uncalled(self) -> list[str]:
        """Addresses that are owed a call and took none yet."""
        return sorted(url for url in self.owed if not any(call.is_taken for call in self.calls[url]))

    async def post(self, completion: Completion, timeout_ns: int) -> Answer:
        """`perdure.history.callbacks.Sender`."""
        await asyncio.sleep(0.001 + 0.02 * self._entropy.fraction())
        chance = 1.0 if self._is_calm else self._entropy.fraction()
        if chance < _HANGS:
            await asyncio.sleep(timeout_ns / SECOND_NS)
            raise NotSent("context deadline exceeded")
        is_refused = _HANGS <= chance < _HANGS + _FAILS
        self.calls[completion.url].append(Called(completion.headers, not is_refused))
        if is_refused:
            return Answer(503, "Unavailable")
        if chance < _HANGS + _FAILS + _LOST:
            raise NotSent("EOF")
        return Answer(200)
