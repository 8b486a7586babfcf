"""What is counted of the frontend's guards: how long they take to decide, the keys that they fetch, the audit log.

Calls that were refused are counted where all calls are (`service_errors_unauthorized`). Knows no rule of theirs.
"""

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.metrics import UNKNOWN, VALUES_MAX, Histogram, Metrics

_SERVICE = "frontend"
_OUTCOMES = {True: "success", False: "failure"}


class GuardMeter:
    """Counts for one frontend. `metrics` None: nobody reads it."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics = metrics or Metrics()
        self._decisions: dict[str, Histogram] = {}
        refreshes, audits = metrics.family(series.JWKS_REFRESHES), metrics.family(series.AUDIT_RECORDS)
        self._refreshes = {is_done: refreshes.labels(outcome, _SERVICE) for is_done, outcome in _OUTCOMES.items()}
        self._audits = {is_done: audits.labels(outcome, _SERVICE) for is_done, outcome in _OUTCOMES.items()}

    def decided(self, operation: str, took_ns: int) -> None:
        """Whether a call may be made, took so long to find out. `operation`: a method's name, so there are few."""
        cell = self._decisions.get(operation)
        if cell is None:
            cell = self._metrics.family(series.AUTHORIZATION_LATENCY).labels(UNKNOWN, operation, _SERVICE)
            if len(self._decisions) < VALUES_MAX:
                self._decisions[operation] = cell
        cell.observe(took_ns / SECOND_NS)

    def keys_fetched(self, *, is_done: bool) -> None:
        """The issuer's keys were asked for. They came, or could not be used."""
        self._refreshes[is_done].inc()

    def audited(self, *, is_done: bool) -> None:
        """A line of the audit log was written, or lost."""
        self._audits[is_done].inc()
