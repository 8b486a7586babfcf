"""The section about traces."""

import pytest
from pydantic import ValidationError

from perdure.server.config_telemetry import TelemetrySection, TracesSection
from perdure.server.telemetry import TraceOptions


def test_there_are_no_traces_unless_somebody_wants_them() -> None:
    assert TelemetrySection().traces is None


def test_a_variable_says_it_as_text() -> None:
    section = TracesSection.model_validate({"endpoint": "http://collector:4318/v1/traces", "ratio": "0.5"})
    assert section.options() == TraceOptions(endpoint="http://collector:4318/v1/traces", ratio=0.5, service="perdure")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ratio", "much"),
        ("ratio", 1.5),
        ("ratio", -1),
        ("ratio", True),
        ("ratio", "nan"),
        ("endpoint", "collector:4318"),
    ],
)
def test_what_is_expected_is_told(key: str, value: object) -> None:
    given = {"endpoint": "http://collector:4318/v1/traces", key: value}
    with pytest.raises(ValidationError, match=r"expected a (number from 0 to 1|URL such as)"):
        TracesSection.model_validate(given)
