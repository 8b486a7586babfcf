"""How many calls a host and a namespace may make a second, and how many may wait at once.

Token buckets that are filled as time passes; no timer runs. Calls have grades: a call takes a token of its own grade
and of every lower one, and needs one of its own. So when calls are too many, lists and polls are refused before starts
and signals, and what workers answer last of all. Invariant: what operators change applies from the next call on, and a
namespace's limit never lets through what the host's refuses. Refuses to know what a call does: grades come from
`perdure.frontend.grades`.

Source: `common/quotas/priority_rate_limiter_impl.go`, `calculator/cluster_aware_quota_calculator.go`.
"""

from collections.abc import Callable

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits, LimitsSource

_RPS = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
_COUNT = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
_SYSTEM = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
GRADES = 6


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


class GradedBuckets:
    """A bucket of each grade, 0 the highest, all of one size.

    Each is kept as the time at which it will be full again, so that it fills by itself. Lower ones owe at most another
    burst for what higher ones took.
    """

    __slots__ = ("_full_ns", "_slack_ns", "_token_ns", "_worst_ns")

    def __init__(self) -> None:
        self._full_ns = [0.0] * GRADES
        self._token_ns = self._slack_ns = self._worst_ns = 0.0

    def resize(self, rate: float, burst: float) -> None:
        """`rate` tokens a second (0 = none at all), at most `burst` at once. What was taken stays taken."""
        self._token_ns = SECOND_NS / rate if rate > 0 else 0.0
        whole = max(burst, 1.0)
        self._slack_ns = (whole - 1.0) * self._token_ns + 0.5  # times are whole nanoseconds
        self._worst_ns = 2.0 * whole * self._token_ns

    def take(self, grade: int, now_ns: int) -> bool:
        """A token of this grade and of each lower one, if this grade has one."""
        full, token_ns = self._full_ns, self._token_ns
        if full[grade] > now_ns + self._slack_ns or not token_ns:
            return False
        worst = now_ns + self._worst_ns
        for lower in range(grade, GRADES):
            at = full[lower]
            at = (at if at > now_ns else now_ns) + token_ns  # noqa: FURB136 - max() takes twice as long
            full[lower] = at if at < worst else worst  # noqa: FURB136 - so does min()
        return True


class _Namespace:
    """What a namespace has used, and of what. `frontends`: who shares it, as far as that counts."""

    __slots__ = ("calls", "frontends", "limits", "lists", "waiting", "waiting_max")

    def __init__(self) -> None:
        self.calls, self.lists = GradedBuckets(), GradedBuckets()
        self.limits: Limits | None = None
        self.frontends = 0
        self.waiting: dict[str, int] = {}
        self.waiting_max = 0.0


class Rates:
    """The buckets of one frontend. `throttled`, `list_throttled`: whether calls, and list calls, are limited at all.
    `frontends`: how many serve, which global limits are divided by; asked only where there is a global one.
    """

    def __init__(
        self,
        limits: LimitsSource,
        clock: Clock,
        *,
        throttled: bool = True,
        list_throttled: bool = True,
        frontends: Callable[[], int] = lambda: 1,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._throttled = throttled
        self._list_throttled = list_throttled
        self._frontends = frontends
        self._host = GradedBuckets()
        self._host_limits: Limits | None = None
        self._host_frontends = 0
        self._namespaces: dict[str, _Namespace] = {}

    def admit(self, namespace: str, grade: int = 0, *, visibility: bool = False) -> None:
        """Charge one call of a namespace that is there; "" charges the host alone. Raises ResourceExhausted."""
        if not self._throttled:
            return
        now_ns = self._clock.monotonic_ns()
        if namespace and (self._list_throttled or not visibility):
            known = self._known(namespace)
            if not (known.lists if visibility else known.calls).take(grade, now_ns):
                raise ResourceExhausted("namespace rate limit exceeded", _RPS)
        limits = self._limits.of()
        shared = self._frontends() if limits.global_rps else 0
        if limits is not self._host_limits or shared != self._host_frontends:
            rate = _part(limits.host_rps, limits.global_rps, shared)
            self._host.resize(rate, rate * limits.burst_ratio)
            self._host_limits, self._host_frontends = limits, shared
        if not self._host.take(grade, now_ns):
            raise ResourceExhausted("service rate limit exceeded", _RPS, _SYSTEM)

    def enter(self, namespace: str, method: str) -> None:
        """A call that may wait begins, and has to `leave`. Raises ResourceExhausted, and then it hasn't begun."""
        known = self._known(namespace)
        count = known.waiting.get(method, 0) + 1
        if self._throttled and count > known.waiting_max:
            raise ResourceExhausted("namespace concurrent poller limit exceeded", _COUNT)
        known.waiting[method] = count

    def leave(self, namespace: str, method: str) -> None:
        """It is over."""
        self._namespaces[namespace].waiting[method] -= 1

    def _known(self, namespace: str) -> _Namespace:
        """The namespace with the limits as they are now."""
        known = self._namespaces.get(namespace)
        if known is None:
            known = self._namespaces[namespace] = _Namespace()
        limits = self._limits.of(namespace)
        is_shared = limits.global_namespace_rps or limits.global_visibility_rps or limits.global_waiting_polls_max
        frontends = self._frontends() if is_shared else 0
        if limits is not known.limits or frontends != known.frontends:
            known.limits, known.frontends = limits, frontends
            rate = _part(limits.namespace_rps, limits.global_namespace_rps, frontends)
            known.calls.resize(rate, rate * limits.burst_ratio)
            rate = _part(limits.visibility_rps, limits.global_visibility_rps, frontends)
            known.lists.resize(rate, rate * limits.burst_ratio)
            known.waiting_max = _part(limits.waiting_polls_max, limits.global_waiting_polls_max, frontends)
        return known


def _part(one: int, everybody: int, frontends: int) -> float:
    """A frontend's own limit, or its part of the one over all."""
    return everybody / frontends if everybody > 0 and frontends > 0 else float(one)
