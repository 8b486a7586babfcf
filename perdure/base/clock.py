"""Time, as a parameter. The only module that reads the machine's clock.

Wall time is an int of nanoseconds since 1970 (`*_ns`); durations are nanoseconds too. Waiting is always
`asyncio` waiting on the running loop, so that a simulator with a virtual loop and a virtual clock jumps instead of
waiting.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000
DURATION_NS_MAX = 100 * 366 * 24 * 3600 * SECOND_NS  # with any time of this century it fits 64 bits


_monotonic_ns: Callable[[], int]
if hasattr(time, "CLOCK_BOOTTIME"):
    _monotonic_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
else:
    _monotonic_ns = time.monotonic_ns


class Clock(Protocol):
    """What may be asked about time."""

    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970; may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back and go on while the machine sleeps; only differences mean anything."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return _monotonic_ns()


class AdvancingClock:
    """Another clock, whose wall time can be moved forward; it goes on from there. What is monotonic stays: deadlines,
    long polls and leases are of the real world.
    """

    __slots__ = ("_ahead_ns", "_clock")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ns = 0

    def now_ns(self) -> int:
        return self._clock.now_ns() + self._ahead_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def advance_to(self, time_ns: int) -> None:
        """Let it be `time_ns` now, unless it is later already. Whoever waits for a wall time has to be told."""
        self._ahead_ns += max(0, time_ns - self.now_ns())


def to_timestamp(time_ns: int) -> Timestamp:
    """`time_ns` as a protobuf timestamp."""
    seconds, nanos = divmod(time_ns, SECOND_NS)
    return Timestamp(seconds=seconds, nanos=nanos)


def set_timestamp(timestamp: Timestamp, time_ns: int) -> None:
    """Set a message's own timestamp in place."""
    timestamp.seconds, timestamp.nanos = divmod(time_ns, SECOND_NS)


def from_timestamp(timestamp: Timestamp) -> int:
    """A protobuf timestamp in nanoseconds; an unset one is 0."""
    return timestamp.seconds * SECOND_NS + timestamp.nanos


def to_duration(duration_ns: int) -> Duration:
    """`duration_ns` as a protobuf duration."""
    seconds, nanos = divmod(duration_ns, SECOND_NS)
    return Duration(seconds=seconds, nanos=nanos)


def from_duration(duration: Duration) -> int:
    """A protobuf duration in nanoseconds, within `DURATION_NS_MAX` on both sides; an unset one is 0."""
    return max(-DURATION_NS_MAX, min(duration.seconds * SECOND_NS + duration.nanos, DURATION_NS_MAX))
