"""The section of a configuration about traces. Refuses to know how they are sent."""

from typing import Annotated

from pydantic import BeforeValidator

from perdure.server.config_fields import Section, Text, unfit
from perdure.server.telemetry import TraceOptions


def _ratio(value: object) -> float:
    fault = unfit("a number from 0 to 1", value)
    try:
        found = float(value) if isinstance(value, str) else value
    except ValueError:
        raise fault from None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        raise fault
    return float(found)


def _endpoint(value: object) -> str:
    if not isinstance(value, str) or not value.strip().startswith(("http://", "https://")):
        raise unfit("a URL such as http://collector:4318/v1/traces", value)
    return value.strip()


class TracesSection(Section):
    """Where traces are sent, by OTLP over HTTP. `ratio`: of the calls that their callers don't trace, so many are.
    Headers, certificates and timeouts: by OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_HEADERS.
    """

    endpoint: Annotated[str, BeforeValidator(_endpoint)]
    ratio: Annotated[float, BeforeValidator(_ratio)] = 0.01
    service: Text = "perdure"

    def options(self) -> TraceOptions:
        """What the process is given."""
        return TraceOptions(endpoint=self.endpoint, ratio=self.ratio, service=self.service)


class TelemetrySection(Section):
    """`traces`: left out, there are none."""

    traces: TracesSection | None = None
