"""What a process counts and measures: prometheus-client's metrics in a registry of their own.

Holds what that library has no word for: counters with bare names, definitions apart from the process that measures
by them, and bounds on what callers name. One `Metrics` is passed to whoever measures; there is no global one. A
labelled child is kept by whoever often counts by it.

Invariants: a name is exported as it is declared; characters of label values outside `[A-Za-z0-9_]` become `_`; what
callers name (namespaces, task queues, types) makes a bounded number of series, the rest counts as `_other_`. Refuses
to know what is measured: the table of metrics is `perdure.base.series`.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Generic, TypeVar

import msgspec
import prometheus_client
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from perdure.base.spans import Spans

UNKNOWN = "_unknown_"
OTHER = "_other_"
# So many values of one label that callers choose are told apart in one process, and so many series of one metric.
VALUES_MAX = 500
SERIES_MAX = 1_000
HISTOGRAM_SERIES_MAX = 250

# Samples of a metric that are written at once, in some 10 ms.
_PART = 500

_WORD = frozenset("_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# `generate_latest` heads a counter by this name, whatever its samples are called. No name of ours ends so.
_TOTAL = re.compile(rb"^(# (?:HELP|TYPE) \w+)_total ", re.MULTILINE)


class _Plain:
    """A value without a lock, in the place of the library's: whatever counts runs on one loop. A lock for each of the
    some two hundred additions that a workflow makes was a tenth of its CPU.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float) -> None:
        self.value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        self.value = value

    def get(self) -> float:
        return self.value

    def get_exemplar(self) -> None:
        """There are none."""


class Counter(prometheus_client.Counter):
    """A counter whose sample has no `_total`."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._value = _Plain()

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:
        """Raise it by `amount`, which is not negative."""
        self._value.value += amount

    def _child_samples(self) -> Iterable[Sample]:
        return (Sample("", {}, self._value.get()),)


class Gauge(prometheus_client.Gauge):
    """A gauge."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._value = _Plain()

    def inc(self, amount: float = 1) -> None:
        """Raise it."""
        self._value.value += amount

    def dec(self, amount: float = 1) -> None:
        """Lower it."""
        self._value.value -= amount


class Histogram(prometheus_client.Histogram):
    """A histogram."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._sum = _Plain()
        self._buckets = [_Plain() for _ in self._upper_bounds]

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count `amount` in its bucket."""
        self._sum.value += amount
        self._buckets[bisect_left(self._upper_bounds, amount)].value += 1


Cell = TypeVar("Cell", Counter, Gauge, Histogram)


class Definition(msgspec.Struct, Generic[Cell], frozen=True):
    """A metric: `kind` as Prometheus calls it, `labels` in the order of their values. `users`: labels whose values
    callers choose. `make`: the library's class. `merge`: what two readings of one series come to.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    users: frozenset[str]
    make: Callable[..., Cell]
    merge: Callable[[float, float], float] = float.__add__


# A gauge, the values of its labels, and how high it is now. Readings of one series are merged.
Reading = tuple[Definition[Gauge], tuple[str, ...], float]
# Reads gauges when the page is made, so that what nobody reads costs nothing.
Source = Callable[[], Iterable[Reading]]


class _Bounds:
    """How callers' values are told apart, over all metrics."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, set[str]] = {}

    def told(
        self,
        definition: Definition[Counter] | Definition[Gauge] | Definition[Histogram],
        values: tuple[str, ...],
        series: Collection[tuple[str, ...]],
    ) -> tuple[tuple[str, ...], bool]:
        """The labels of the series that counts `values`, given those that there are; whether it is of them alone."""
        assert len(values) == len(definition.labels), definition.name
        users = definition.users
        if not users:
            return tuple(map(clean_value, values)), True
        labelled = tuple(zip(definition.labels, values, strict=True))
        told = tuple(self._value(label, value) if label in users else value for label, value in labelled)
        clean = tuple(map(clean_value, told))
        most = HISTOGRAM_SERIES_MAX if definition.kind == "histogram" else SERIES_MAX
        if clean not in series and len(series) >= most:
            return tuple(OTHER if label in users else clean_value(value) for label, value in labelled), False
        return clean, told == values

    def _value(self, label: str, value: str) -> str:
        values = self.values.setdefault(label, set())
        if value in values or value == UNKNOWN:
            return value
        if len(values) >= VALUES_MAX:
            return OTHER
        values.add(value)
        return value


class Family(Generic[Cell]):
    """The series of one metric."""

    __slots__ = ("_bounds", "_children", "_metric", "_series", "definition")

    def __init__(self, definition: Definition[Cell], registry: CollectorRegistry, bounds: _Bounds) -> None:
        self.definition: Definition[Cell] = definition
        self._metric: Cell = definition.make(definition.name, definition.help, definition.labels, registry=registry)
        self._bounds = bounds
        self._series: set[tuple[str, ...]] = set()
        self._children: dict[tuple[str, ...], Cell] = {}  # by the values as they were given; bounded, as series are

    def labels(self, *values: str) -> Cell:
        """The series of these values, in the order of the definition's labels. Whoever uses one often keeps it."""
        child = self._children.get(values)
        return child if child is not None else self._find(values)

    def _find(self, values: tuple[str, ...]) -> Cell:
        clean, is_own = self._bounds.told(self.definition, values, self._series)
        self._series.add(clean)
        child: Cell = self._metric.labels(*clean)
        if is_own and len(self._children) < 2 * SERIES_MAX:
            self._children[values] = child
        return child


class _Scraped(Collector):
    """Gauges that are read when the page is."""

    def __init__(self, bounds: _Bounds) -> None:
        self._bounds = bounds
        self.sources: list[Source] = []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        levels: dict[str, dict[tuple[str, ...], float]] = {}
        definitions: dict[str, Definition[Gauge]] = {}
        for source in self.sources:
            for definition, values, level in source():
                definitions[definition.name] = definition
                found = levels.setdefault(definition.name, {})
                clean, _ = self._bounds.told(definition, values, found)
                found[clean] = definition.merge(found[clean], float(level)) if clean in found else float(level)
        for name, definition in definitions.items():
            family = GaugeMetricFamily(name, definition.help, labels=definition.labels)
            for clean, level in levels[name].items():
                family.add_metric(clean, level)
            yield family


class _One(Collector):
    """A metric that is collected already."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


# The roles that a process may have; each has its own `service_name` on the page.
SERVICES = ("frontend", "history", "matching")


class Metrics:
    """All families of a process, each made when it is first asked for. `registry`: what holds them. `services`: the
    roles of this process. `spans`: who keeps traces of the calls that are counted, if anybody does.
    """

    def __init__(self, services: tuple[str, ...] = SERVICES, spans: Spans | None = None) -> None:
        assert services
        self.services = services
        self.spans = spans
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library says no types of it
        self.registry = CollectorRegistry()
        self._bounds = _Bounds()
        # A dictionary of families of different cells: the definition, which is the key's owner, knows which.
        self._families: dict[str, Family[Counter] | Family[Gauge] | Family[Histogram]] = {}
        # First in the registry: what a source measures while it reads is on the same page.
        self._scraped = _Scraped(self._bounds)
        self.registry.register(self._scraped)

    def home(self, service: str) -> str:
        """The `service_name` of what `service` does where it is: a process without that role does it for its own."""
        return service if service in self.services else self.services[0]

    def family(self, definition: Definition[Cell]) -> Family[Cell]:
        """The series of a metric."""
        found = self._families.get(definition.name)
        if found is None:
            made: Family[Cell] = Family(definition, self.registry, self._bounds)
            self._families[definition.name] = made
            return made
        assert found.definition is definition, f"two metrics are called {definition.name}"
        return found  # type: ignore[return-value]  # the definition is the same, so the cells are its cells

    def on_read(self, source: Source) -> None:
        """Put the readings of `source` on each page. They are no others' gauges: a metric is counted or read."""
        self._scraped.sources.append(source)

    def page(self) -> Iterator[bytes]:
        """Everything, in Prometheus's text format 0.0.4: a part for each metric, and several for one of many series, so
        that whoever writes a large page can let others run in between.
        """
        for metric in self.registry.collect():
            samples = metric.samples
            metric.samples = samples[:_PART]
            yield _TOTAL.sub(rb"\1 ", generate_latest(_One(metric)))
            for first in range(_PART, len(samples), _PART):
                metric.samples = samples[first : first + _PART]
                # Without the two lines at its head, which are there already.
                yield generate_latest(_One(metric)).split(b"\n", 2)[2]


def clean_value(value: str) -> str:
    """`value` with `_` for what dashboards don't expect in a label."""
    if _WORD.issuperset(value):
        return value
    return "".join(letter if letter in _WORD else "_" for letter in value)


# ---------------------------------------------------------------------------------------------------------- definitions

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
BYTES = tuple(float(1024 << shift) for shift in range(15))
_USERS = frozenset({"namespace", "namespace_id", "taskqueue", "workflowType", "activityType"})


def counter(name: str, labels: str, help: str) -> Definition[Counter]:
    """A counter; `labels` separated by blanks."""
    return Definition(name, "counter", help, *_labels(labels), Counter)


def gauge(
    name: str, labels: str, help: str, merge: Callable[[float, float], float] = float.__add__
) -> Definition[Gauge]:
    """A gauge."""
    return Definition(name, "gauge", help, *_labels(labels), Gauge, merge)


def histogram(name: str, labels: str, help: str, bounds: tuple[float, ...] = SECONDS) -> Definition[Histogram]:
    """A histogram, of seconds unless `bounds` are others."""
    return Definition(name, "histogram", help, *_labels(labels), partial(Histogram, buckets=bounds))


def _labels(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    names = tuple(text.split())
    return names, _USERS.intersection(names)
