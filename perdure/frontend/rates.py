"""How many calls a host and a namespace may make a second.

Token buckets that are filled as time passes; no timer runs. Refuses to know what a call does. Source of figures:
`Limits`.
"""

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits

_RPS = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT


class Bucket:
    """`rate` tokens a second, at most `burst` at once."""

    __slots__ = ("_burst", "_rate", "_then", "_tokens")

    def __init__(self, rate: float, burst: float, now_ns: int) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._then = now_ns

    def take(self, now_ns: int) -> bool:
        """One token, if there is one."""
        if now_ns > self._then:
            self._tokens = min(self._burst, self._tokens + (now_ns - self._then) * self._rate / SECOND_NS)
            self._then = now_ns
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Rates:
    """The buckets of one process. `throttled`, `list_throttled`: whether calls, and list calls, are limited at all."""

    def __init__(self, limits: Limits, clock: Clock, *, throttled: bool = True, list_throttled: bool = True) -> None:
        self._limits = limits
        self._clock = clock
        self._throttled = throttled
        self._list_throttled = list_throttled
        self._host = Bucket(limits.host_rps, limits.host_rps * limits.burst_ratio, clock.monotonic_ns())
        self._namespaces: dict[str, Bucket] = {}
        self._lists: dict[str, Bucket] = {}

    def admit(self, namespace_id: str, *, visibility: bool) -> None:
        """Charge one call; `namespace_id` "" charges the host alone. Raises ResourceExhausted."""
        if not self._throttled:
            return
        now_ns = self._clock.monotonic_ns()
        if namespace_id:
            self._admit_namespace(namespace_id, now_ns, visibility=visibility)
        if not self._host.take(now_ns):
            scope = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
            raise ResourceExhausted("service rate limit exceeded", _RPS, scope)

    def _admit_namespace(self, namespace_id: str, now_ns: int, *, visibility: bool) -> None:
        limits = self._limits
        if visibility:
            if not self._list_throttled:
                return
            buckets, rate = self._lists, limits.visibility_rps
        else:
            buckets, rate = self._namespaces, limits.namespace_rps
        bucket = buckets.get(namespace_id)
        if bucket is None:
            bucket = buckets[namespace_id] = Bucket(rate, rate * limits.burst_ratio, now_ns)
        if not bucket.take(now_ns):
            raise ResourceExhausted("namespace rate limit exceeded", _RPS)
