"""How fast tasks may go, and how fast they went: a token bucket and a sliding count. Values only: the time comes in.

Invariant: over any interval of t seconds at most rate * t + burst tokens are taken, refunds left out; the burst is one
second's worth, at least one token. Knows no clock and no task.
"""

from perdure.base.clock import SECOND_NS

UNLIMITED = 1 << 30

_BUCKET_NS = 5 * SECOND_NS
_BUCKETS = 6


class RateLimit:
    """A token bucket whose rate the latest poller sets. Without a rate everything may go."""

    __slots__ = ("_at_ns", "_rate", "_tokens")

    def __init__(self) -> None:
        self._rate: float | None = None
        self._tokens = 0.0
        self._at_ns = 0

    @property
    def is_set(self) -> bool:
        """True if there is a limit."""
        return self._rate is not None

    def set_rate(self, rate: float | None, now_ns: int) -> None:
        """`rate` tasks a second from now on; None = no limit, 0 = nothing may go."""
        if rate == self._rate:
            return
        if self._rate is None:
            self._tokens = self._burst(rate or 0.0)
            self._at_ns = now_ns
        else:
            self._fill(now_ns)
        self._rate = rate
        if rate is not None:
            self._tokens = min(self._tokens, self._burst(rate))

    def available(self, now_ns: int) -> int:
        """How many tasks may go now."""
        if self._rate is None:
            return UNLIMITED
        self._fill(now_ns)
        return int(self._tokens + 1e-9)

    def take(self) -> None:
        """One of the available tasks goes."""
        if self._rate is not None:
            self._tokens -= 1.0

    def refund(self) -> None:
        """One that went did not count after all."""
        if self._rate is not None:
            self._tokens = min(self._tokens + 1.0, self._burst(self._rate))

    def wait_ns(self, now_ns: int) -> int | None:
        """Nanoseconds until one may go, 0 = now, None = never at this rate."""
        if self.available(now_ns) > 0:
            return 0
        if not self._rate:
            return None
        return int((1.0 - self._tokens) / self._rate * SECOND_NS) + 1

    def _fill(self, now_ns: int) -> None:
        if self._rate is not None and now_ns > self._at_ns:
            gained = (now_ns - self._at_ns) / SECOND_NS * self._rate
            self._tokens = min(self._tokens + gained, self._burst(self._rate))
        self._at_ns = now_ns

    @staticmethod
    def _burst(rate: float) -> float:
        return max(1.0, rate) if rate > 0 else 0.0


class Throughputs:
    """A `Throughput` for each priority that occurred, all counted from the same beginning."""

    __slots__ = ("_of", "_since")

    def __init__(self, now_ns: int) -> None:
        self._since = now_ns
        self._of: dict[int, Throughput] = {}

    def add(self, priority: int, now_ns: int) -> None:
        """One more happened at a priority."""
        counted = self._of.get(priority)
        if counted is None:
            counted = self._of[priority] = Throughput(self._since)
        counted.add(1, now_ns)

    def per_second(self, now_ns: int) -> float:
        """The rate over all priorities."""
        return sum(counted.per_second(now_ns) for counted in self._of.values())

    def by_priority(self, now_ns: int) -> dict[int, float]:
        """The rate at each priority that ever occurred."""
        return {priority: counted.per_second(now_ns) for priority, counted in self._of.items()}


class Throughput:
    """How many happened in the last half minute, in buckets of five seconds."""

    __slots__ = ("_counts", "_newest", "_since")

    def __init__(self, now_ns: int) -> None:
        self._counts = [0] * _BUCKETS
        self._newest = now_ns // _BUCKET_NS
        self._since = now_ns

    def add(self, count: int, now_ns: int) -> None:
        """`count` more happened."""
        self._turn(now_ns)
        self._counts[self._newest % _BUCKETS] += count

    def per_second(self, now_ns: int) -> float:
        """The rate over the window, or since the beginning if that is shorter (at least one second)."""
        self._turn(now_ns)
        begin = max(self._since, (self._newest - _BUCKETS + 1) * _BUCKET_NS)
        return sum(self._counts) / max(1.0, (now_ns - begin) / SECOND_NS)

    def _turn(self, now_ns: int) -> None:
        bucket = now_ns // _BUCKET_NS
        if bucket == self._newest:
            return
        for passed in range(self._newest + 1, min(bucket, self._newest + _BUCKETS) + 1):
            self._counts[passed % _BUCKETS] = 0
        self._newest = max(self._newest, bucket)
