"""Following a call through the roles as a trace: what is asked of whoever keeps traces.

There is nobody by default, and then nothing is done. Invariant: a call goes through unchanged, its errors and its
cancellation too. Refuses to know OpenTelemetry, which `perdure.server.tracing` brings.
"""

from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
# The W3C's header by which a call says which trace it is part of.
HEADER = "traceparent"


class Spans(Protocol):
    """Keeps spans: names with a beginning and an end, each within the one that was begun before it."""

    def serve(self, name: str, service: str, traceparent: str, call: Awaitable[T]) -> Coroutine[Any, Any, T]:
        """`call` as what a service does for somebody outside, whose header that is ("" without one)."""
        ...

    def follow(self, name: str, service: str, call: Awaitable[T]) -> Coroutine[Any, Any, T]:
        """`call` as a part of what is served at the moment; nothing is kept if nothing is."""
        ...

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What goes with a call to another process."""
        ...
