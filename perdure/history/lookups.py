"""What is counted of look-ups in the cache of executions, by namespace."""

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.metrics import VALUES_MAX, Metrics


class Lookups:
    """Counts for all shards of a history role."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._by_namespace: dict[str, NamespaceLookups] = {}

    def of(self, namespace_id: str) -> "NamespaceLookups":
        """Those of one namespace."""
        found = self._by_namespace.get(namespace_id)
        if found is None:
            found = NamespaceLookups(self._metrics, namespace_id)
            if len(self._by_namespace) < VALUES_MAX:
                self._by_namespace[namespace_id] = found
        return found


class NamespaceLookups:
    """`requests`: all of them."""

    __slots__ = ("_errors", "_latency", "_misses", "requests")

    def __init__(self, metrics: Metrics, namespace_id: str) -> None:
        labels = ("mutablestate", namespace_id, "HistoryCacheGetOrCreate", "history")
        self.requests = metrics.family(series.CACHE_REQUESTS).labels(*labels)
        self._misses = metrics.family(series.CACHE_MISS).labels(*labels)
        self._errors = metrics.family(series.CACHE_ERRORS).labels(*labels)
        self._latency = metrics.family(series.CACHE_LATENCY).labels(*labels)

    def missed(self, took_ns: int) -> None:
        """One had to read from the store."""
        self._misses.inc()
        self._latency.observe(max(0, took_ns) / SECOND_NS)

    def failed(self) -> None:
        """One could not read what it missed."""
        self._errors.inc()
