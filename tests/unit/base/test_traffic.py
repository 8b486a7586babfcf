"""Following calls: every one is counted once, and an error as what it is."""

import asyncio

import pytest
from temporalio.api.enums.v1 import ResourceExhaustedCause

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.errors import (
    Bug,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    WorkflowAlreadyStarted,
)
from perdure.base.metrics import Cell, Definition, Histogram, Metrics
from perdure.base.traffic import Traffic, error_type, role_traffic, sent_traffic, service_traffic

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


def _sample(metrics: Metrics, name: str, definition: Definition[Cell], *values: str) -> float:
    """A sample of the page, by its name and the values of its labels; 0 if there is none."""
    return metrics.registry.get_sample_value(name, dict(zip(definition.labels, values, strict=True))) or 0


def _value(metrics: Metrics, definition: Definition[Cell], *values: str) -> float:
    return _sample(metrics, definition.name, definition, *values)


def _count(metrics: Metrics, definition: Definition[Histogram], *values: str) -> float:
    return _sample(metrics, f"{definition.name}_count", definition, *values)


async def _answer() -> str:
    return "answer"


async def _raise(error: BaseException) -> str:
    raise error


async def test_a_call_is_counted_and_timed() -> None:
    metrics = Metrics()
    assert await _traffic(metrics).follow(_answer()) == "answer"
    assert _value(metrics, series.SERVICE_REQUESTS, *LABELS) == 1
    assert _count(metrics, series.SERVICE_LATENCY, *LABELS) == 1
    assert _sample(metrics, "service_latency_sum", series.SERVICE_LATENCY, *LABELS) == 1.0
    assert _value(metrics, series.SERVICE_PENDING_REQUESTS, *LABELS) == 0
    # An alert sees the first one only if there was a zero before.
    for definition in (series.SERVICE_ERRORS, series.SERVICE_PANICS):
        labels = dict(zip(definition.labels, LABELS, strict=True))
        assert metrics.registry.get_sample_value(definition.name, labels) == 0.0


async def test_a_call_under_way_is_pending() -> None:
    metrics = Metrics()
    seen = []

    async def look() -> None:
        seen.append(_value(metrics, series.SERVICE_PENDING_REQUESTS, *LABELS))

    await _traffic(metrics).follow(look())
    await look()
    assert seen == [1, 0]


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
    assert _value(metrics, series.SERVICE_ERROR_WITH_TYPE, kind, *LABELS) == 1
    assert _value(metrics, series.SERVICE_ERRORS, *LABELS) == unexpected
    assert _value(metrics, series.SERVICE_PANICS, *LABELS) == defects
    assert _count(metrics, series.SERVICE_LATENCY, *LABELS) == 1
    assert _value(metrics, series.SERVICE_PENDING_REQUESTS, *LABELS) == 0


async def test_a_limit_that_was_met_says_which() -> None:
    metrics = Metrics()
    error = ResourceExhausted("x", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT)
    with pytest.raises(ResourceExhausted):
        await _traffic(metrics).follow(_raise(error))
    assert _value(metrics, series.SERVICE_ERRORS_RESOURCE_EXHAUSTED, *LABELS, "RpsLimit", "Namespace") == 1


async def test_a_call_between_roles_is_both_ends() -> None:
    metrics = Metrics()
    traffic = role_traffic(metrics, FakeClock(), "frontend", "history", "Start", "default")
    await traffic.follow(_answer())
    with pytest.raises(NotFound):
        await traffic.follow(_raise(NotFound("x")))
    there = ("default", "Start", "history")
    here = ("default", "HistoryClientStart", "frontend", "history")
    assert _value(metrics, series.SERVICE_REQUESTS, *there) == 2
    assert _value(metrics, series.CLIENT_REQUESTS, *here) == 2
    assert _count(metrics, series.CLIENT_LATENCY, *here) == 2
    assert _value(metrics, series.CLIENT_ERRORS, "serviceerror_NotFound", *here) == 1
    assert _value(metrics, series.SERVICE_ERRORS, *there) == 0


async def test_a_call_to_another_process_is_only_sent() -> None:
    metrics = Metrics()
    traffic = sent_traffic(metrics, FakeClock(), "frontend", "history", "Start", "default")
    assert await traffic.follow(_answer()) == "answer"
    with pytest.raises(Unavailable):
        await traffic.follow(_raise(Unavailable("away")))
    client = ("default", "HistoryClientStart", "frontend", "history")
    assert _value(metrics, series.CLIENT_REQUESTS, *client) == _count(metrics, series.CLIENT_LATENCY, *client) == 2
    assert _value(metrics, series.CLIENT_ERRORS, "serviceerror_Unavailable", *client) == 1
    assert series.SERVICE_REQUESTS.name not in {metric.name for metric in metrics.registry.collect()}


@pytest.mark.parametrize(
    ("error", "definition"),
    [
        (NotFound("none"), series.SERVICE_NOT_FOUND),
        (WorkflowAlreadyStarted("taken", start_request_id="", run_id="r"), series.SERVICE_ALREADY_STARTED),
        (PermissionDenied("no"), series.SERVICE_UNAUTHORIZED),
    ],
)
async def test_errors_that_dashboards_name_have_their_own_counters(
    error: BaseException, definition: Definition[Cell]
) -> None:
    metrics = Metrics()
    with pytest.raises(type(error)):
        await _traffic(metrics).follow(_raise(error))
    told = (series.SERVICE_NOT_FOUND, series.SERVICE_ALREADY_STARTED, series.SERVICE_UNAUTHORIZED)
    found = {each.name: _value(metrics, each, error_type(error), *LABELS) for each in told}
    assert found == {each.name: float(each is definition) for each in told}
