"""Traces of calls through roles that two processes would have: a frontend's and a history's, on a real connection."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.clock import SECOND_NS, SystemClock
from perdure.base.entropy import SystemEntropy
from perdure.base.errors import NotFound, Unavailable
from perdure.base.metrics import UNKNOWN, Metrics
from perdure.base.slots import ChainKey
from perdure.cluster.measured import MeasuredDirectory, history_for_others
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, HistoryRole
from perdure.rpc.peers import Peers
from perdure.rpc.role_handlers import history_methods
from perdure.rpc.traced import traced
from perdure.server.cluster import LocalDirectory, Options, Roles
from perdure.server.telemetry import TraceOptions, open_tracing
from perdure.server.tracing import Tracing
from perdure.store.memory import MemoryStore
from perdure.workflow.requests import StartWorkflow
from tests.unit.rpc.relay import FakeRole, hosting

NAMESPACE = Namespace("namespace-id", "default", 72 * 3600 * SECOND_NS)
KEY = ChainKey(NAMESPACE.id, "w")


class Directory(LocalDirectory):
    """One that has a role of another process."""

    def __init__(self, role: HistoryRole) -> None:
        super().__init__()
        self.history_role = role


def tracing(exporter: InMemorySpanExporter, service: str, ratio: float = 1.0) -> Tracing:
    return Tracing(TraceOptions(endpoint="http://127.0.0.1:9/v1/traces", ratio=ratio), (service,), exporter)


async def spans_of(exporter: InMemorySpanExporter, *kept: Tracing) -> dict[str, ReadableSpan]:
    for each in kept:
        await each.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def parent(span: ReadableSpan, spans: dict[str, ReadableSpan]) -> str:
    """The name of the span that this one is in; "" if it is in none."""
    if span.parent is None:
        return ""
    return next(name for name, each in spans.items() if each.context.span_id == span.parent.span_id)


def starting() -> StartWorkflow:
    request = StartWorkflowExecutionRequest(
        namespace="default", workflow_id="w", request_id="r", workflow_type=WorkflowType(name="T")
    )
    request.task_queue.CopyFrom(TaskQueue(name="q"))
    return StartWorkflow(request)


@pytest.mark.parametrize("header", ["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
async def test_a_call_is_one_trace_through_the_roles_down_to_its_commit(header: str) -> None:
    far, near = InMemorySpanExporter(), InMemorySpanExporter()
    there = Metrics(("history",), tracing(far, "history"))
    roles = Roles(MemoryStore(), SystemClock(), SystemEntropy(), Options(), metrics=there)
    await roles.start()
    await roles.namespaces.register(NAMESPACE)
    name_of = roles.namespaces.name_of
    here = Metrics(("frontend",), tracing(near, "frontend"))
    assert isinstance(there.spans, Tracing)
    assert isinstance(here.spans, Tracing)
    served = history_methods(history_for_others(roles.history, there, SystemClock(), name_of), FakeRole())
    peers = Peers(lambda address: None, spans=here.spans)
    async with hosting(traced(served, there.spans, "history")) as (_, port):
        directory = MeasuredDirectory(
            Directory(peers.history(f"127.0.0.1:{port}")),
            here,
            SystemClock(),
            lambda _: UNKNOWN,
            "frontend",
            lambda role: False,
        )
        call = directory.history(KEY.slot).transact(KEY, starting(), Call())
        reply = await here.spans.serve("StartWorkflowExecution", "frontend", header, call)
        assert reply.run_id
        await peers.close()
    await roles.stop()
    spans = await spans_of(near, here.spans) | await spans_of(far, there.spans)
    assert len({span.context.trace_id for span in spans.values()}) == 1
    chain = ["commit", "Transact", "history.StartWorkflow", "StartWorkflowExecution"]
    assert [parent(spans[name], spans) for name in chain[:-1]] == chain[1:]
    services = [(spans[name].attributes or {})["perdure.service"] for name in chain]
    assert services == ["history", "history", "frontend", "frontend"]
    root = spans["StartWorkflowExecution"]
    if header:
        assert root.parent is not None
        assert f"{root.context.trace_id:032x}-{root.parent.span_id:016x}" == header[3:52]
    else:
        assert root.parent is None
    assert here.registry.get_sample_value(
        "client_requests",
        {
            "namespace": UNKNOWN,
            "operation": "HistoryClientStartWorkflowExecution",
            "service_name": "frontend",
            "service_role": "history",
        },
    )


async def _raise(error: Exception) -> None:
    raise error


async def test_errors_go_through_and_are_told_apart() -> None:
    exporter = InMemorySpanExporter()
    kept = tracing(exporter, "history")
    for error in (NotFound("none"), Unavailable("away")):
        with pytest.raises(type(error)):
            await kept.serve(type(error).__name__, "history", "", _raise(error))
    spans = await spans_of(exporter, kept)
    assert {name: (span.attributes or {})["error.type"] for name, span in spans.items()} == {
        "NotFound": "serviceerror_NotFound",
        "Unavailable": "serviceerror_Unavailable",
    }
    assert spans["NotFound"].status.is_unset
    assert not spans["Unavailable"].status.is_ok


async def test_what_is_not_sampled_says_so_to_others_and_makes_no_span() -> None:
    exporter = InMemorySpanExporter()
    kept = tracing(exporter, "frontend", ratio=0)
    told: list[tuple[tuple[str, str], ...]] = []

    async def look() -> None:
        told.append(kept.headers())

    await kept.serve("a", "frontend", "", kept.follow("b", "frontend", look()))
    assert await spans_of(exporter, kept) == {}
    ((name, value),) = told[0]
    assert name == "traceparent"
    assert int(value[-2:], 16) & 1 == 0


async def test_what_goes_on_after_a_call_or_without_one_belongs_to_no_trace() -> None:
    exporter = InMemorySpanExporter()
    kept = tracing(exporter, "history")

    async def later() -> None:
        await kept.follow("later", "history", _nothing())

    remaining: list[object] = []

    async def call() -> None:
        remaining.append(later())

    await kept.follow("alone", "history", _nothing())
    await kept.serve("call", "history", "not a header", call())
    await remaining[0]  # type: ignore[misc]  # it is the coroutine
    assert kept.headers() == ()
    assert list(await spans_of(exporter, kept)) == ["call"]


async def test_a_collector_that_is_not_there_keeps_nobody_waiting() -> None:
    kept = open_tracing(TraceOptions(endpoint="http://127.0.0.1:9/v1/traces"), ("frontend",))
    await kept.serve("call", "frontend", "", kept.follow("part", "frontend", _nothing()))
    await kept.close()


async def _nothing() -> None:
    """Done."""
