"""Where traces go, and opening what sends them: its libraries are an extra, imported when they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from perdure.base.errors import FailedPrecondition

if TYPE_CHECKING:
    from perdure.server.tracing import Tracing


class TraceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoint`: a collector's URL for traces, http://host:4318/v1/traces. `ratio`: of the calls that no caller traces
    already, so many are kept. `service`: what this process is called there.
    """

    endpoint: str
    ratio: float = 1.0
    service: str = "perdure"


def open_tracing(options: TraceOptions, services: tuple[str, ...]) -> Tracing:
    """What sends traces of a process with these roles; close it at the end. Raises FailedPrecondition."""
    try:
        from perdure.server.tracing import Tracing  # noqa: PLC0415 - its libraries are an extra
    except ImportError as error:
        raise FailedPrecondition("OpenTelemetry is not installed: install perdure[otel].") from error
    return Tracing(options, services)
