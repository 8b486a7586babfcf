"""Calls of completion callbacks: who sends them, and which destinations are given a rest.

Invariant: of one destination (namespace, scheme and host) few calls are under way at once, and after a row of failures
none for a while, then one; so a receiver that hangs takes neither the others' places nor the loop's time. All of it is
lost with the process, which only means that a destination is asked a little sooner.
"""

import asyncio
from typing import Protocol
from urllib.parse import urlsplit

from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import CallbackState
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import Unavailable
from perdure.base.limits import LimitsSource
from perdure.history.completions import Answer, Completion, header_fault, judge, outcome_of, shown
from perdure.history.outcomes import Outcomes

TIMED_OUT = "context deadline exceeded"
BLOCKED = "The circuit breaker is open."
# Source of both: the reference's circuit breakers.
FAILURES_MAX = 5
REST_NS = 60 * SECOND_NS
CALLS_MAX = 32
# Of so many destinations the state is kept; beyond, those that have nothing to tell are forgotten, and where all have,
# the older half: names cost whoever invents them nothing.
DESTINATIONS_MAX = 1_000
_SCHEDULED = CallbackState.CALLBACK_STATE_SCHEDULED


class NotSent(Exception):
    """No answer came; the message says why."""


class Sender(Protocol):
    """Sends HTTP requests into the world."""

    async def post(self, completion: Completion, timeout_ns: int) -> Answer:
        """POST it and return the answer, redirects too; NotSent if there is none in time."""
        ...


class Nowhere:
    """The sender of a process that has none: nothing is sent, and all of it later."""

    async def post(self, completion: Completion, timeout_ns: int) -> Answer:
        """Raises Unavailable."""
        raise Unavailable("This process sends no callbacks.")


class Destination:
    """One receiver's state. `rests_until_ns`: monotonic; 0 = it does not rest."""

    __slots__ = ("_clock", "_failures", "_probing", "rests_until_ns", "room")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._probing = False
        self.rests_until_ns = 0
        self.room = asyncio.Semaphore(CALLS_MAX)

    @property
    def is_resting(self) -> bool:
        """True from a row of failures until a call succeeds again."""
        return self.rests_until_ns != 0

    @property
    def is_plain(self) -> bool:
        """True if forgetting it changes nothing."""
        return not self._failures and not self.is_resting and not self.room.locked()

    def begin(self) -> None:
        """A call wants to begin. Raises Unavailable while the destination rests."""
        if not self.is_resting:
            return
        if self._probing or self._clock.monotonic_ns() < self.rests_until_ns:
            raise Unavailable(BLOCKED)
        self._probing = True

    def ended(self, *, is_down: bool) -> None:
        """A call that had begun ended. `is_down`: it is to be repeated."""
        self._probing = False
        if not is_down:
            self._failures = 0
            self.rests_until_ns = 0
            return
        self._failures += 1
        if self._failures > FAILURES_MAX:
            self.rests_until_ns = self._clock.monotonic_ns() + REST_NS

    def abandoned(self) -> None:
        """A call that had begun was cut off here, and says nothing of the destination."""
        self._probing = False


class Callbacks:
    """The destinations of a process. `sender` is the composition root's to set. `limits` say how long a call takes."""

    def __init__(self, clock: Clock, limits: LimitsSource, outcomes: Outcomes) -> None:
        self.sender: Sender = Nowhere()
        self._limits = limits
        self._outcomes = outcomes
        self._clock = clock
        self._destinations: dict[tuple[str, str], Destination] = {}

    async def post(self, namespace: str, completion: Completion) -> tuple[str, bool]:
        """Call, and count it. What was wrong, "" for nothing, and whether to call again."""
        begun_ns = self._clock.monotonic_ns()
        try:
            if fault := header_fault(completion.headers):
                raise NotSent(fault)
            answer = await self.sender.post(completion, self._limits.of(namespace).callback_timeout_ns)
            failure, retryable = judge(answer)
            outcome = outcome_of(failure)
        except NotSent as error:
            failure, retryable = f'Post "{shown(completion.url)}": {error}', True
            outcome = "request-timeout" if str(error) == TIMED_OUT else "unknown-error"
        # A receiver's words may be any bytes; what is no text could not be recorded, and would be asked for for ever.
        failure = failure.encode(errors="replace").decode()
        took_ns = self._clock.monotonic_ns() - begun_ns
        self._outcomes.called_back(namespace, origin(completion.url), outcome, took_ns)
        return failure, retryable

    def destination(self, namespace_id: str, url: str) -> Destination:
        """The state of the receiver that `url` is at."""
        key = (namespace_id, origin(url))
        found = self._destinations.get(key)
        if found is None:
            if len(self._destinations) >= DESTINATIONS_MAX:
                kept = [(each, one) for each, one in self._destinations.items() if not one.is_plain]
                self._destinations = dict(kept[len(kept) // 2 :] if len(kept) >= DESTINATIONS_MAX else kept)
            found = self._destinations[key] = Destination(self._clock)
        return found

    def show_blocked(self, namespace_id: str, reply: DescribeWorkflowExecutionResponse) -> None:
        """What Describe says of callbacks that would be called if their destination did not rest."""
        for info in reply.callbacks:
            known = self._destinations.get((namespace_id, origin(info.callback.nexus.url)))
            if info.state == _SCHEDULED and known is not None and known.is_resting:
                info.state = CallbackState.CALLBACK_STATE_BLOCKED
                info.blocked_reason = BLOCKED


def origin(url: str) -> str:
    """Scheme and host of a URL that was checked."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def is_internal(callback: Callback) -> bool:
    """True for the addresses that mean this cluster itself."""
    return callback.nexus.url in ("temporal://system", "temporal://internal")
