"""Which rate limit is in force at a partition, and how often it held something back.

The rule is the reference's (`service/matching/ratelimit_manager.go`): what an operator set goes before what the latest
poller asked for, whichever is lower; there is no limit of the server's own. Invariant: before the operator's setting is
known, nothing may go. Knows no task.
"""

from temporalio.api.enums.v1 import RateLimitSource
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from perdure.matching.pacing import RateLimit, Throughput

_INFINITE = float("inf")


class Limit:
    """`is_known`: what the operator set was read. `config`: that, encoded; b"" if nothing ever was."""

    __slots__ = ("_bucket", "_held_back", "_operator", "_version", "_worker", "config", "is_known")

    def __init__(self, now_ns: int, *, is_known: bool) -> None:
        self.is_known = is_known
        self.config = b""
        self._bucket = RateLimit()
        self._held_back = Throughput(now_ns)
        self._operator: float | None = None
        self._worker: float | None = None
        self._version = -1

    @property
    def is_set(self) -> bool:
        """True if tasks have to ask."""
        return self._bucket.is_set or not self.is_known

    @property
    def rate(self) -> float | None:
        """Tasks a second; None = no limit."""
        return self._worker if self._operator is None else self._operator

    @property
    def source(self) -> RateLimitSource.ValueType:
        """Who set the limit in force."""
        if self._operator is not None:
            return RateLimitSource.RATE_LIMIT_SOURCE_API
        if self._worker is not None:
            return RateLimitSource.RATE_LIMIT_SOURCE_WORKER
        return RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM

    def learn(self, config: TaskQueueConfig | None, version: int, now_ns: int) -> None:
        """What the operator set was this at `version`; None = nothing. News older than what is known change nothing."""
        if self.is_known and version < self._version:
            return
        self.is_known = True
        self._version = version
        self.config = b"" if config is None else config.SerializeToString()
        self._operator = None
        if config is not None and config.queue_rate_limit.HasField("rate_limit"):
            rate = config.queue_rate_limit.rate_limit.requests_per_second
            self._operator = rate if rate < _INFINITE else None  # that is none, nor is what is no number
        self._bucket.set_rate(self.rate, now_ns)

    def ask(self, rate: float | None, now_ns: int) -> None:
        """The latest poller asks for this rate; None = none."""
        self._worker = rate
        self._bucket.set_rate(self.rate, now_ns)

    def available(self, now_ns: int) -> int:
        """How many tasks may go now."""
        return self._bucket.available(now_ns) if self.is_known else 0

    def take(self) -> None:
        """One of the available tasks goes."""
        self._bucket.take()

    def refund(self) -> None:
        """One that went did not count after all."""
        self._bucket.refund()

    def wait_ns(self, now_ns: int) -> int | None:
        """Something is held back: nanoseconds until one may go, 0 = now, None = not before this changes."""
        self._held_back.add(1, now_ns)
        return self._bucket.wait_ns(now_ns) if self.is_known else None

    def held_back_lately(self, now_ns: int) -> bool:
        """True if something was held back within the last half minute."""
        return self._held_back.per_second(now_ns) > 0
