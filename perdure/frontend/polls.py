"""Calls that wait: for how long they may, and how they all end when this process stops.

Invariant: a poll that finds nothing answers OK and empty, at least a second before its caller's deadline; also one
that is ended because the process stops, so that its worker asks again elsewhere. Such a poll is released by whoever
waits for tasks on its behalf: one that has got a task by then brings it home. Who waits for an event or an update is
answered then as if its time was over: an error that comes after a long wait clients don't repeat. Who waits for a
worker is told to ask elsewhere: the worker may have no other connection than one to this process, which takes no more
calls.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from perdure.base.clock import SECOND_NS
from perdure.base.entropy import Entropy
from perdure.base.errors import FailedPrecondition, InvalidArgument, Unavailable
from perdure.base.limits import Limits
from perdure.base.tasks import Endings
from perdure.cluster.roles import Call, Poll
from perdure.workflow.tasks import QueueKey

TAIL_NS = SECOND_NS
TIMEOUT_NS_MIN = 2 * SECOND_NS
_JITTER = 0.1
_SHORT_NS = SECOND_NS // 100
_RELEASE_S = 1.0
_Answer = TypeVar("_Answer")


def poll_time_ns(call: Call, limits: Limits, entropy: Entropy) -> int:
    """How long a poll may wait: a little less than the caller or the server allows, so that polls that came
    together don't return together. Raises InvalidArgument without a deadline, FailedPrecondition if it is too near.
    """
    if not call.timeout_ns:
        raise InvalidArgument("Context timeout is not set.")
    if call.timeout_ns < TIMEOUT_NS_MIN:
        raise FailedPrecondition("Context timeout is too short.")
    longest = min(call.timeout_ns - TAIL_NS, limits.matching_poll_ns)
    return longest - int(entropy.fraction() * _JITTER * min(longest, 10 * SECOND_NS))


class Polls:
    """The polls of one process that wait now, and other calls that do."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Task[object], Poll | None] = {}  # in the order of their coming; polls as placed
        self._endings = Endings()
        self._draining = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, poll: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer of `poll`; b"" once `drain` was called, if it isn't released."""
        answer = await self._unless_drained(poll)
        return b"" if answer is None else answer

    def place(self, poll: Poll) -> None:
        """From now on this is what the current `wait` waits for."""
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = poll

    async def wait_for(self, call: Call, ask: Callable[[Call], Awaitable[_Answer]]) -> _Answer:
        """What `ask` answers, after hardly any wait once `drain` was called. It may be asked twice, and repeated."""
        answer = await self._unless_drained(lambda: ask(call))
        return await ask(msgspec.structs.replace(call, wait_ns=_SHORT_NS)) if answer is None else answer

    async def unless_stopping(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """What `ask` answers; it may be asked again elsewhere. Raises Unavailable once `drain` was called."""
        answer = await self._unless_drained(ask)
        if answer is None:
            raise Unavailable("the server is stopping")
        return answer

    async def _unless_drained(self, wait: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """None once `drain` was called."""
        if self._draining:
            return None
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = None
        try:
            return await wait()
        except asyncio.CancelledError:
            if self._endings.is_alone(task):
                return None  # the caller is still there
            raise
        finally:
            self._waiting.pop(task, None)
            self._endings.forget(task)

    async def drain(self, release: Callable[[QueueKey, list[str]], Awaitable[None]]) -> None:
        """End every wait, and answer later ones at once. `release`: has a partition's polls of these ids answered;
        those that aren't within a second are given up.
        """
        self._draining = True
        released = []
        ids: dict[QueueKey, list[str]] = {}
        for task, poll in list(self._waiting.items()):
            if poll is None:
                self._end(task)
            else:
                released.append(task)
                ids.setdefault(poll.partition, []).append(poll.id)
        if not released:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await asyncio.gather(asyncio.wait(released), *(release(*each) for each in ids.items()))
        for task in released:
            self._end(task)

    def _end(self, task: asyncio.Task[object]) -> None:
        if task in self._waiting:
            self._endings.end(task)
