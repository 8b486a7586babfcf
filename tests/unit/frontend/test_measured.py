"""What is counted of the frontend's guards."""

from perdure.base import series
from perdure.base.metrics import Cell, Definition, Metrics
from perdure.frontend.measured import GuardMeter


def _value(metrics: Metrics, definition: Definition[Cell], *values: str) -> float | None:
    return metrics.registry.get_sample_value(definition.name, dict(zip(definition.labels, values, strict=True)))


def test_outcomes_are_told_apart_and_there_from_the_beginning() -> None:
    metrics = Metrics()
    meter = GuardMeter(metrics)
    assert _value(metrics, series.JWKS_REFRESHES, "failure", "frontend") == 0
    assert _value(metrics, series.AUDIT_RECORDS, "failure", "frontend") == 0
    meter.keys_fetched(is_done=False)
    meter.audited(is_done=True)
    meter.decided("StartWorkflowExecution", 2_000_000)
    assert _value(metrics, series.JWKS_REFRESHES, "failure", "frontend") == 1
    assert _value(metrics, series.JWKS_REFRESHES, "success", "frontend") == 0
    assert _value(metrics, series.AUDIT_RECORDS, "success", "frontend") == 1
    labels = {"namespace": "_unknown_", "operation": "StartWorkflowExecution", "service_name": "frontend"}
    assert metrics.registry.get_sample_value("service_authorization_latency_sum", labels) == 0.002
