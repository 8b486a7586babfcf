"""Tables of methods with each call kept as a span, part of its caller's trace if the caller says so.

Invariant: a call goes through unchanged. Refuses to know where spans go.
"""

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from perdure.base.spans import Spans
from perdure.rpc.call import CallMeta, Method, RawMethod

Served = TypeVar("Served", Method, RawMethod)


def traced(methods: Mapping[str, Served], spans: Spans, service: str) -> dict[str, Served]:
    """The same methods, kept as calls of `service`."""
    return {path: _traced(path.rpartition("/")[2], method, spans, service) for path, method in methods.items()}


def _traced(name: str, method: Served, spans: Spans, service: str) -> Served:
    handler = method.handler

    def serve(request: Any, meta: CallMeta) -> Coroutine[Any, Any, Any]:
        return spans.serve(name, service, meta.traceparent, handler(request, meta))

    return msgspec.structs.replace(method, handler=serve)
