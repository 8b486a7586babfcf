"""What a session asks of Cassandra, counted by what a statement may do.

Invariant: a statement that was sent is counted once, and once more if it failed. Knows no table.
"""

from collections.abc import Callable, Iterator, Sequence

from perdure.base import series
from perdure.base.metrics import Metrics, Reading
from perdure.store.cassandra.driver import Node
from perdure.store.cassandra.errors import Refusal
from perdure.store.cassandra.statements import Kind

# The role that asks for nearly all of it.
_SERVICE = "history"


class SessionMeter:
    """Counts for one session. `metrics` None: nobody reads it."""

    __slots__ = ("_errors", "_in_flight", "_not_applied", "_sent", "_unknown")

    def __init__(self, metrics: Metrics | None = None) -> None:
        metrics = metrics or Metrics()
        family, service = metrics.family, metrics.home(_SERVICE)
        self._sent = {kind: family(series.CASSANDRA_REQUESTS).labels(_name(kind), service) for kind in Kind}
        self._errors = {kind: family(series.CASSANDRA_ERRORS).labels(_name(kind), service) for kind in Kind}
        self._not_applied = family(series.CASSANDRA_NOT_APPLIED).labels(service)
        self._unknown = family(series.CASSANDRA_UNKNOWN).labels(service)
        self._in_flight = family(series.CASSANDRA_IN_FLIGHT).labels(service)

    def sent(self, kind: Kind) -> None:
        """A statement is on its way."""
        self._sent[kind].inc()
        self._in_flight.inc()

    def answered(self, kind: Kind, error: Exception | None) -> None:
        """It is over."""
        self._in_flight.dec()
        if error is not None:
            self._errors[kind].inc()
            if kind is Kind.CONDITIONAL and not isinstance(error, Refusal):
                self._unknown.inc()

    def not_applied(self) -> None:
        """A conditional write met another state than it was for."""
        self._not_applied.inc()


def node_readings(metrics: Metrics, nodes: Callable[[], Sequence[Node]]) -> Callable[[], Iterator[Reading]]:
    """How many nodes are up and down, as a process sees them."""
    service = metrics.home(_SERVICE)

    def read() -> Iterator[Reading]:
        found = [node.is_up for node in nodes()]
        yield series.CASSANDRA_NODES, (service, "up"), found.count(True)
        yield series.CASSANDRA_NODES, (service, "down"), found.count(False)

    return read


def _name(kind: Kind) -> str:
    return kind.value.replace(" ", "_")
