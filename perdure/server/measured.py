"""What is measured of a process's configuration: values that can't be used, certificates and when they expire.

Gauges are read when the page is. Invariant: a file that can't be read leaves a gap on the page, and nothing else.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509

from perdure.base import series
from perdure.base.clock import SECOND_NS, Clock
from perdure.base.metrics import Metrics, Reading

_OUTCOMES = {True: "success", False: "failure"}
_BYTES_MAX = 1 << 20
# Certificates are read from their files so seldom, however often the page is.
_LOOK_NS = 30 * SECOND_NS


class DynamicConfigMeter:
    """Counts what reading the dynamic configuration anew came to. `metrics` None: nobody reads it."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        service = metrics.services[0]
        updates = metrics.family(series.DYNAMIC_CONFIG_UPDATES)
        self._updates = {is_done: updates.labels(outcome, service) for is_done, outcome in _OUTCOMES.items()}
        self._faults = metrics.family(series.DYNAMIC_CONFIG_FAULTS).labels(service)

    def read(self, faults: int) -> None:
        """The file was read, and so many of its values can't be used (1 if it can't be read at all)."""
        self._updates[not faults].inc()
        self._faults.set(faults)


class CertificateMeter:
    """Shows when certificates expire. `files`: by what each is for, of a few words: `frontend`, `internal`."""

    def __init__(self, metrics: Metrics, clock: Clock, files: Mapping[str, str]) -> None:
        self._service = metrics.services[0]
        self._clock = clock
        self._files = dict(files)
        self._ends_ns: dict[str, int] = {}
        self._looked_ns: int | None = None
        metrics.on_read(self._read)

    def _read(self) -> Iterator[Reading]:
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is None or now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            found = ((name, _end_ns(path)) for name, path in self._files.items())
            self._ends_ns = {name: end_ns for name, end_ns in found if end_ns is not None}
        for name, end_ns in self._ends_ns.items():
            left = (end_ns - self._clock.now_ns()) / SECOND_NS
            yield series.CERTIFICATE_EXPIRY, (name, self._service), left


def _end_ns(path: str) -> int | None:
    """When the first of a file's certificates expires; None if there is no reading it."""
    try:
        with Path(path).open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(_BYTES_MAX))
    except (OSError, ValueError):
        return None
    ends = [certificate.not_valid_after_utc for certificate in found]
    return int(min(ends).timestamp()) * SECOND_NS if ends else None
