"""What is measured of configuration and certificates."""

from pathlib import Path

import pytest
import trustme

from perdure.base import series
from perdure.base.clock import SECOND_NS, SystemClock
from perdure.base.metrics import Cell, Definition, Metrics
from perdure.server.measured import CertificateMeter, DynamicConfigMeter


class LaterClock(SystemClock):
    """The system's, some time later."""

    later_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.later_ns


def _value(metrics: Metrics, definition: Definition[Cell], *values: str) -> float | None:
    return metrics.registry.get_sample_value(definition.name, dict(zip(definition.labels, values, strict=True)))


def test_bad_values_stay_on_the_page_until_they_are_good() -> None:
    metrics = Metrics(("matching",))
    meter = DynamicConfigMeter(metrics)
    assert _value(metrics, series.DYNAMIC_CONFIG_FAULTS, "matching") == 0
    meter.read(2)
    assert _value(metrics, series.DYNAMIC_CONFIG_FAULTS, "matching") == 2
    meter.read(0)
    assert _value(metrics, series.DYNAMIC_CONFIG_FAULTS, "matching") == 0
    assert _value(metrics, series.DYNAMIC_CONFIG_UPDATES, "failure", "matching") == 1
    assert _value(metrics, series.DYNAMIC_CONFIG_UPDATES, "success", "matching") == 1


def test_certificates_show_when_they_expire(tmp_path: Path) -> None:
    clock, metrics, path = LaterClock(), Metrics(("frontend",)), tmp_path / "chain.pem"
    CertificateMeter(metrics, clock, {"frontend": str(path), "internal": str(tmp_path / "none")})
    assert _value(metrics, series.CERTIFICATE_EXPIRY, "frontend", "frontend") is None
    certificate = trustme.CA().issue_cert("host")
    path.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    assert _value(metrics, series.CERTIFICATE_EXPIRY, "frontend", "frontend") is None  # looked at a moment ago
    clock.later_ns = 31 * SECOND_NS
    left = _value(metrics, series.CERTIFICATE_EXPIRY, "frontend", "frontend")
    assert left is not None
    assert left > 24 * 3600
    assert _value(metrics, series.CERTIFICATE_EXPIRY, "internal", "frontend") is None


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_certificate_is_a_gap(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(content)
    metrics = Metrics()
    CertificateMeter(metrics, SystemClock(), {"frontend": str(path)})
    assert _value(metrics, series.CERTIFICATE_EXPIRY, "frontend", "frontend") is None
