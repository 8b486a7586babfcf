"""Following a call: how many there are, how long they take, how they end.

A `Traffic` is what is counted of one operation in one namespace; whoever calls keeps it and pays for two looks at the
clock and a few additions. Invariant: every call that is followed is counted once, however it ends; a cancelled one has
a latency and no `service_errors`. Source of which error counts as what: the rules of public dashboards, by which
those that are the caller's fault are expected.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base import series
from perdure.base.clock import Clock
from perdure.base.errors import (
    DeadlineExceeded,
    NotFound,
    PerdureError,
    PermissionDenied,
    ResourceExhausted,
    WorkflowAlreadyStarted,
)
from perdure.base.metrics import Counter, Gauge, Histogram, Metrics

T = TypeVar("T")
Failed = Callable[[BaseException], None]

_INTERNAL = 13
# Cancelled, invalid, not found, exists, denied, precondition, out of range, unauthenticated.
_EXPECTED = frozenset((1, 3, 5, 6, 7, 9, 11, 16))
_UNAUTHENTICATED = 16


class Traffic:
    """`requests` and `latencies`: what counts each call. `failed` hears of every error."""

    __slots__ = ("_failed", "_latencies", "_now", "_pending", "_requests")

    def __init__(
        self,
        clock: Clock,
        requests: tuple[Counter, ...],
        latencies: tuple[Histogram, ...],
        failed: Failed,
        pending: Gauge | None = None,
    ) -> None:
        self._now = clock.monotonic_ns
        self._requests = requests
        self._latencies = latencies
        self._failed = failed
        self._pending = pending

    async def follow(self, call: Awaitable[T]) -> T:
        """The answer of `call`, or what it raises."""
        for requests in self._requests:
            requests.inc()
        if self._pending is not None:
            self._pending.inc()
        begun = self._now()
        try:
            return await call
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            if self._pending is not None:
                self._pending.dec()
            seconds = (self._now() - begun) * 1e-9
            for latency in self._latencies:
                latency.observe(seconds)


def service_traffic(metrics: Metrics, clock: Clock, service: str, operation: str, namespace: str) -> Traffic:
    """Calls that a service gets from outside."""
    labels = (namespace, operation, service)
    return Traffic(
        clock,
        (metrics.family(series.SERVICE_REQUESTS).labels(*labels),),
        (metrics.family(series.SERVICE_LATENCY).labels(*labels),),
        _service_errors(metrics, labels),
        metrics.family(series.SERVICE_PENDING_REQUESTS).labels(*labels),
    )


def sent_traffic(metrics: Metrics, clock: Clock, caller: str, role: str, operation: str, namespace: str) -> Traffic:
    """Calls of one role to another in another process, which counts what it gets."""
    client = (namespace, f"{role.capitalize()}Client{operation}", caller, role)

    def failed(error: BaseException) -> None:
        metrics.family(series.CLIENT_ERRORS).labels(error_type(error), *client).inc()

    requests, latencies = metrics.family(series.CLIENT_REQUESTS), metrics.family(series.CLIENT_LATENCY)
    return Traffic(clock, (requests.labels(*client),), (latencies.labels(*client),), failed)


def role_traffic(metrics: Metrics, clock: Clock, caller: str, role: str, operation: str, namespace: str) -> Traffic:
    """Calls of one role to another in the same process: what the caller sends is what the role gets."""
    labels = (namespace, operation, role)
    client = (namespace, f"{role.capitalize()}Client{operation}", caller, role)
    failed_there = _service_errors(metrics, labels)

    def failed(error: BaseException) -> None:
        metrics.family(series.CLIENT_ERRORS).labels(error_type(error), *client).inc()
        failed_there(error)

    return Traffic(
        clock,
        (
            metrics.family(series.SERVICE_REQUESTS).labels(*labels),
            metrics.family(series.CLIENT_REQUESTS).labels(*client),
        ),
        (metrics.family(series.SERVICE_LATENCY).labels(*labels), metrics.family(series.CLIENT_LATENCY).labels(*client)),
        failed,
        metrics.family(series.SERVICE_PENDING_REQUESTS).labels(*labels),
    )


def _service_errors(metrics: Metrics, labels: tuple[str, str, str]) -> Failed:
    # There from the beginning: an alert on a rate needs the zero.
    errors = metrics.family(series.SERVICE_ERRORS).labels(*labels)
    defects = metrics.family(series.SERVICE_PANICS).labels(*labels)
    missing = metrics.family(series.SERVICE_NOT_FOUND).labels("serviceerror_NotFound", *labels)

    def failed(error: BaseException) -> None:
        metrics.family(series.SERVICE_ERROR_WITH_TYPE).labels(error_type(error), *labels).inc()
        if isinstance(error, NotFound):
            missing.inc()
        elif isinstance(error, WorkflowAlreadyStarted):
            metrics.family(series.SERVICE_ALREADY_STARTED).labels(error_type(error), *labels).inc()
        elif isinstance(error, PermissionDenied) or getattr(error, "status", 0) == _UNAUTHENTICATED:
            metrics.family(series.SERVICE_UNAUTHORIZED).labels(error_type(error), *labels).inc()
        if is_unexpected(error):
            errors.inc()
        if is_defect(error):
            defects.inc()
        if isinstance(error, ResourceExhausted):
            told = (*labels, _cause(error), _scope(error))
            metrics.family(series.SERVICE_ERRORS_RESOURCE_EXHAUSTED).labels(*told).inc()

    return failed


def error_type(error: BaseException) -> str:
    """The label that names the error, as the reference writes it."""
    if isinstance(error, asyncio.CancelledError):
        return "context_canceled"
    if isinstance(error, TimeoutError | DeadlineExceeded):
        return "context_deadlineExceededError"
    return f"serviceerror_{type(error).__name__}" if isinstance(error, PerdureError) else type(error).__name__


def is_unexpected(error: BaseException) -> bool:
    """Whether somebody who operates the server may want to know."""
    if isinstance(error, asyncio.CancelledError):
        return False
    return not isinstance(error, PerdureError) or error.status not in _EXPECTED


def is_defect(error: BaseException) -> bool:
    """Whether it is a fault of ours."""
    if isinstance(error, PerdureError):
        return error.status == _INTERNAL
    return isinstance(error, Exception)


def _cause(error: ResourceExhausted) -> str:
    return _words(ResourceExhaustedCause.Name(error.cause), "RESOURCE_EXHAUSTED_CAUSE_")


def _scope(error: ResourceExhausted) -> str:
    return _words(ResourceExhaustedScope.Name(error.scope), "RESOURCE_EXHAUSTED_SCOPE_")


def _words(name: str, prefix: str) -> str:
    return "".join(word.capitalize() for word in name.removeprefix(prefix).split("_"))
