"""Which rate limits are in force at a partition, the queue's and those of fairness keys, and how often the first held
something back.

The rule is the reference's (`service/matching/ratelimit_manager.go`): what an operator set goes before what the latest
poller asked for, whichever is lower; there is no limit of the server's own. Invariant: before the operator's setting is
known, nothing may go.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable

from temporalio.api.enums.v1 import RateLimitSource
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from perdure.matching.pacing import RateLimit, Throughput
from perdure.matching.references import Held
from perdure.workflow.tasks import Offer

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

    def learn(self, config: TaskQueueConfig | None, version: int, now_ns: int) -> bool:
        """What the operator set was this at `version`; None = nothing. News older than what is known change nothing:
        False.
        """
        if self.is_known and version < self._version:
            return False
        self.is_known = True
        self._version = version
        self.config = b"" if config is None else config.SerializeToString()
        self._operator = None
        if config is not None and config.queue_rate_limit.HasField("rate_limit"):
            rate = config.queue_rate_limit.rate_limit.requests_per_second
            self._operator = rate if rate < _INFINITE else None  # that is none, nor is what is no number
        self._bucket.set_rate(self.rate, now_ns)
        return True

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


class KeyLimits:
    """What each fairness key may have: `rate` times the weight of its task, in tasks a second. A key that is not among
    the latest `keys_max` begins anew, with a burst. `now_ns`: the time.
    """

    __slots__ = ("_buckets", "_closed", "_keys_max", "_now_ns", "_rate", "_weigh")

    def __init__(self, rate: float, weigh: Callable[[Offer], float], now_ns: Callable[[], int], keys_max: int) -> None:
        self._rate = rate
        self._weigh = weigh
        self._now_ns = now_ns
        self._keys_max = keys_max
        self._buckets: OrderedDict[str, RateLimit] = OrderedDict()
        self._closed: list[tuple[int, str]] = []  # when to look at a lane again; each once

    def set_rate(self, rate: float) -> None:
        """From now on it is this one, and weights may be others; all lanes have to ask again."""
        self._rate = rate
        self._closed.clear()

    def is_open(self, head: Held[Offer]) -> bool:
        """Whether a lane's head may go; if not, its lane is among `opened` when it may."""
        now = self._now_ns()
        pause_ns = self._bucket(head.reference, now).wait_ns(now)
        if pause_ns:
            heapq.heappush(self._closed, (now + pause_ns, head.lane))
        return pause_ns == 0

    def took(self, head: Held[Offer]) -> None:
        """It goes."""
        self._bucket(head.reference, self._now_ns()).take()

    def refund(self, held: Held[Offer]) -> None:
        """One that went did not count after all."""
        bucket = self._buckets.get(held.reference.fairness_key)
        if bucket is not None:
            bucket.refund()

    def opened(self) -> list[str]:
        """Lanes that are to be looked at again by now."""
        now = self._now_ns()
        found = []
        while self._closed and self._closed[0][0] <= now:
            found.append(heapq.heappop(self._closed)[1])
        return found

    def wait_ns(self) -> int | None:
        """Nanoseconds until there are any; None = never."""
        return max(0, self._closed[0][0] - self._now_ns()) if self._closed else None

    def _bucket(self, offer: Offer, now_ns: int) -> RateLimit:
        key = offer.fairness_key
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = RateLimit()
            if len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        bucket.set_rate(self._rate * self._weigh(offer), now_ns)
        return bucket
