"""Traces by OpenTelemetry: spans of calls through the roles, sent to a collector by OTLP over HTTP.

The libraries are the extra `otel`. Invariants: what is sent waits in bounded memory on a thread of its own, and is
dropped rather than waited for; nothing that a caller wrote but names of methods is in a span. A span is made within one
that has not ended yet, or for a call from outside: what goes on in the background belongs to no trace.
"""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from importlib.metadata import version
from typing import TypeVar

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perdure.base.spans import HEADER
from perdure.base.tasks import Background
from perdure.base.traffic import error_type, is_unexpected
from perdure.server.telemetry import TraceOptions

log = structlog.get_logger(__name__)

T = TypeVar("T")
# One attempt to send; a collector is near.
_SEND_S = 2.0
_CLOSE_S = 3.0


class Tracing:
    """`perdure.base.spans.Spans`. Call `close` at the end. `exporter`: in the place of the one that sends."""

    def __init__(self, options: TraceOptions, services: tuple[str, ...], exporter: SpanExporter | None = None) -> None:
        resource = Resource.create(
            {"service.name": options.service, "service.version": version("perdure"), "perdure.roles": list(services)}
        )
        self._provider = TracerProvider(sampler=ParentBasedTraceIdRatio(options.ratio), resource=resource)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter or OTLPSpanExporter(options.endpoint, timeout=_SEND_S))
        )
        self._tracer = self._provider.get_tracer("perdure")
        self._propagator = TraceContextTextMapPropagator()
        self._now: ContextVar[Span | None] = ContextVar("span", default=None)

    async def close(self) -> None:
        """Send what is left, but not for ever: a collector may not answer, and the thread waits for it."""
        background = Background(_unsent)
        await asyncio.wait([background.spawn(asyncio.to_thread(self._provider.shutdown), "traces")], timeout=_CLOSE_S)
        await background.close()

    async def serve(self, name: str, service: str, traceparent: str, call: Awaitable[T]) -> T:
        """`call` as what a service does for somebody outside."""
        nobody = trace.set_span_in_context(trace.INVALID_SPAN)
        parent = self._propagator.extract({HEADER: traceparent}, nobody) if traceparent else nobody
        span = self._tracer.start_span(name, parent, trace.SpanKind.SERVER, {"perdure.service": service})
        return await self._within(span, call)

    async def follow(self, name: str, service: str, call: Awaitable[T]) -> T:
        """`call` as a part of what is served at the moment."""
        around = self._now.get()
        if around is None or not around.is_recording():
            return await call
        parent = trace.set_span_in_context(around)
        span = self._tracer.start_span(name, parent, attributes={"perdure.service": service})
        return await self._within(span, call)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What goes with a call to another process; it says, too, that a call is not kept."""
        around = self._now.get()
        if around is None:
            return ()
        carried: dict[str, str] = {}
        self._propagator.inject(carried, trace.set_span_in_context(around))
        return tuple(carried.items())

    async def _within(self, span: Span, call: Awaitable[T]) -> T:
        token = self._now.set(span)
        try:
            return await call
        except BaseException as error:
            span.set_attribute("error.type", error_type(error))
            if is_unexpected(error):
                span.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            span.end()
            self._now.reset(token)


def _unsent(error: BaseException) -> None:
    log.warning("the last traces were not sent", error=str(error))
