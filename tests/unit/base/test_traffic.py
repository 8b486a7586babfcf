"""Following calls: every one is counted once, and an error as what it is."""

import asyncio

import pytest
from temporalio.api.enums.v1 import ResourceExhaustedCause

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.errors import Bug, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from perdure.base.metrics import Metrics
from perdure.base.traffic import Traffic, role_traffic, service_traffic

LABELS = ("default", "Start", "frontend")


class FakeClock:
    """A second passes between two looks."""

    def __init__(self) -> None:
        self.now = 0

    def now_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        self.now += SECOND_NS
        return self.now


def _traffic(metrics: Metrics) -> Traffic:
    return service_traffic(metrics, FakeClock(), "frontend", "Start", "default")


async def _answer() -> str:
    return "answer"


async def _raise(error: BaseException) -> str:
    raise error


async def test_a_call_is_counted_and_timed() -> None:
    metrics = Metrics()
    assert await _traffic(metrics).follow(_answer()) == "answer"
    assert metrics.family(series.SERVICE_REQUESTS).labels(*LABELS).value == 1
    latency = metrics.family(series.SERVICE_LATENCY).labels(*LABELS)
    assert (latency.count, latency.sum) == (1, 1.0)
    assert metrics.family(series.SERVICE_PENDING_REQUESTS).labels(*LABELS).value == 0
    assert metrics.family(series.SERVICE_ERRORS).labels(*LABELS).value == 0


async def test_a_call_under_way_is_pending() -> None:
    metrics = Metrics()
    pending = metrics.family(series.SERVICE_PENDING_REQUESTS).labels(*LABELS)
    seen = []

    async def look() -> None:
        seen.append(pending.value)

    await _traffic(metrics).follow(look())
    assert (seen, pending.value) == ([1], 0)


@pytest.mark.parametrize(
    ("error", "kind", "unexpected", "defects"),
    [
        (NotFound("x"), "serviceerror_NotFound", 0, 0),
        (InvalidArgument("x"), "serviceerror_InvalidArgument", 0, 0),
        (Unavailable("x"), "serviceerror_Unavailable", 1, 0),
        (Bug("x"), "serviceerror_Bug", 1, 1),
        (RuntimeError("x"), "RuntimeError", 1, 1),
        (TimeoutError(), "context_deadlineExceededError", 1, 1),
        (asyncio.CancelledError(), "context_canceled", 0, 0),
    ],
)
async def test_an_error_is_counted_as_what_it_is(
    error: BaseException, kind: str, unexpected: int, defects: int
) -> None:
    metrics = Metrics()
    with pytest.raises(type(error)):
        await _traffic(metrics).follow(_raise(error))
    assert metrics.family(series.SERVICE_ERROR_WITH_TYPE).labels(kind, *LABELS).value == 1
    assert metrics.family(series.SERVICE_ERRORS).labels(*LABELS).value == unexpected
    assert metrics.family(series.SERVICE_PANICS).labels(*LABELS).value == defects
    assert metrics.family(series.SERVICE_LATENCY).labels(*LABELS).count == 1
    assert metrics.family(series.SERVICE_PENDING_REQUESTS).labels(*LABELS).value == 0


async def test_a_limit_that_was_met_says_which() -> None:
    metrics = Metrics()
    error = ResourceExhausted("x", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT)
    with pytest.raises(ResourceExhausted):
        await _traffic(metrics).follow(_raise(error))
    family = metrics.family(series.SERVICE_ERRORS_RESOURCE_EXHAUSTED)
    assert family.labels(*LABELS, "RpsLimit", "Namespace").value == 1


async def test_a_call_between_roles_is_both_ends() -> None:
    metrics = Metrics()
    traffic = role_traffic(metrics, FakeClock(), "frontend", "history", "Start", "default")
    await traffic.follow(_answer())
    with pytest.raises(NotFound):
        await traffic.follow(_raise(NotFound("x")))
    there = ("default", "Start", "history")
    here = ("default", "HistoryClientStart", "frontend", "history")
    assert metrics.family(series.SERVICE_REQUESTS).labels(*there).value == 2
    assert metrics.family(series.CLIENT_REQUESTS).labels(*here).value == 2
    assert metrics.family(series.CLIENT_LATENCY).labels(*here).count == 2
    assert metrics.family(series.CLIENT_ERRORS).labels("serviceerror_NotFound", *here).value == 1
    assert metrics.family(series.SERVICE_ERRORS).labels(*there).value == 0
