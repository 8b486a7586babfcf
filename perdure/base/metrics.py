"""What a process counts and measures, and the page on which Prometheus reads it.

Holds the three kinds of cells, the families that label them, and the text format. One `Metrics` is passed to whoever
measures; there is no global one. A cell is a plain number on one loop, without a lock: counting costs 0.1 µs, a
histogram 0.3 µs, which is why this is not prometheus-client (1 and 2.6 µs), whose counters could not keep their bare
names either.

Invariants: a name is exported as it is declared; characters of label values outside `[A-Za-z0-9_]` become `_`; what
callers name (namespaces, task queues, types) makes a bounded number of series, the rest counts as `_other_`. Refuses
to know what is measured: the table of metrics is `perdure.base.series`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import msgspec

UNKNOWN = "_unknown_"
OTHER = "_other_"
# So many values of one label that callers choose are told apart in one process, and so many series of one metric.
VALUES_MAX = 500
SERIES_MAX = 1_000
HISTOGRAM_SERIES_MAX = 250

_WORD = frozenset("_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Counter:
    """Only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        """Add."""
        self.value += by


class Gauge:
    """Whatever was set last."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Replace."""
        self.value = value

    def add(self, by: float) -> None:
        """Raise or lower."""
        self.value += by


class Histogram:
    """How many values were at most each of `bounds`; each value is kept in its own bucket only, and summed up when it
    is read.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """One value, or the same several times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


Cell = TypeVar("Cell", Counter, Gauge, Histogram)


class Definition(msgspec.Struct, Generic[Cell], frozen=True):
    """A metric: `kind` as Prometheus calls it, `labels` in the order of their values. `users`: labels whose values
    callers choose.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    users: frozenset[str]
    make: Callable[[], Cell]


class Family(Generic[Cell]):
    """The series of one metric."""

    __slots__ = ("_by_clean", "_cells", "_metrics", "_series_max", "definition")

    def __init__(self, definition: Definition[Cell], metrics: "Metrics") -> None:
        self.definition: Definition[Cell] = definition
        self._metrics = metrics
        self._cells: dict[tuple[str, ...], Cell] = {}  # by the values as they were given; bounded, as series are
        self._by_clean: dict[tuple[str, ...], Cell] = {}
        self._series_max = HISTOGRAM_SERIES_MAX if definition.kind == "histogram" else SERIES_MAX

    def labels(self, *values: str) -> Cell:
        """The series of these values, in the order of the definition's labels. Whoever uses one often keeps it."""
        cell = self._cells.get(values)
        return cell if cell is not None else self._find(values)

    def _find(self, values: tuple[str, ...]) -> Cell:
        definition: Definition[Cell] = self.definition
        assert len(values) == len(definition.labels), definition.name
        users = definition.users
        told = tuple(
            self._metrics.bounded(label, value) if label in users else value
            for label, value in zip(definition.labels, values, strict=True)
        )
        clean = tuple(map(clean_value, told))
        cell = self._by_clean.get(clean)
        if cell is None:
            if users and len(self._by_clean) >= self._series_max:
                told = tuple(
                    OTHER if label in users else value for label, value in zip(definition.labels, values, strict=True)
                )
                clean = tuple(map(clean_value, told))
            cell = self._by_clean.get(clean)
            if cell is None:
                cell = self._by_clean[clean] = definition.make()
        if told == values and len(self._cells) < 2 * self._series_max:
            self._cells[values] = cell
        return cell

    def clear(self) -> None:
        """Forget all series: they are about to be set anew."""
        self._cells.clear()
        self._by_clean.clear()

    def series(self) -> Iterable[tuple[tuple[str, ...], Cell]]:
        """All series: clean label values, cell."""
        return self._by_clean.items()


class Source(Protocol):
    """Sets gauges when the page is read, so that what nobody reads costs nothing."""

    def __call__(self) -> None: ...


class Metrics:
    """All families of a process, each made when it is first asked for. Used on one loop."""

    def __init__(self) -> None:
        # A dictionary of families of different cells: the definition, which is the key's owner, knows which.
        self._families: dict[str, Family[Counter] | Family[Gauge] | Family[Histogram]] = {}
        self._values: dict[str, set[str]] = {}
        self._sources: list[Source] = []

    def family(self, definition: Definition[Cell]) -> Family[Cell]:
        """The series of a metric."""
        found = self._families.get(definition.name)
        if found is None:
            made: Family[Cell] = Family(definition, self)
            self._families[definition.name] = made
            return made
        assert found.definition is definition, f"two metrics are called {definition.name}"
        return found  # type: ignore[return-value]  # the definition is the same, so the cells are its cells

    def bounded(self, label: str, value: str) -> str:
        """`value`, or `OTHER` if enough values of this label are told apart already."""
        values = self._values.setdefault(label, set())
        if value in values or value == UNKNOWN:
            return value
        if len(values) >= VALUES_MAX:
            return OTHER
        values.add(value)
        return value

    def on_read(self, source: Source) -> None:
        """Call `source` each time before the page is made."""
        self._sources.append(source)

    def page(self) -> str:
        """Everything, in Prometheus's text format 0.0.4."""
        for source in self._sources:
            source()
        lines: list[str] = []
        for _, family in sorted(self._families.items()):
            lines.extend(_family_lines(family))
        lines.append("")
        return "\n".join(lines)


def clean_value(value: str) -> str:
    """`value` with `_` for what dashboards don't expect in a label."""
    if _WORD.issuperset(value):
        return value
    return "".join(letter if letter in _WORD else "_" for letter in value)


def _family_lines(family: Family[Counter] | Family[Gauge] | Family[Histogram]) -> Iterator[str]:
    definition = family.definition
    name = definition.name
    yield f"# HELP {name} {definition.help}"
    yield f"# TYPE {name} {definition.kind}"
    for values, cell in family.series():
        pairs = [f'{label}="{value}"' for label, value in zip(definition.labels, values, strict=True)]
        if isinstance(cell, Histogram):
            yield from _histogram_lines(name, pairs, cell)
        else:
            yield f"{name}{_braces(pairs)} {_number(cell.value)}"


def _histogram_lines(name: str, pairs: list[str], cell: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*cell.bounds, float("inf")), cell.counts, strict=True):
        total += count
        le = "+Inf" if bound == float("inf") else _number(bound)
        bucket = _braces([*pairs, 'le="' + le + '"'])
        yield f"{name}_bucket{bucket} {total}"
    yield f"{name}_sum{_braces(pairs)} {_number(cell.sum)}"
    yield f"{name}_count{_braces(pairs)} {total}"


def _braces(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


# ---------------------------------------------------------------------------------------------------------- definitions

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
BYTES = tuple(float(1024 << shift) for shift in range(15))
_USERS = frozenset({"namespace", "namespace_id", "taskqueue", "workflowType", "activityType"})


def counter(name: str, labels: str, help: str) -> Definition[Counter]:
    """A counter; `labels` separated by blanks."""
    return Definition(name, "counter", help, *_labels(labels), Counter)


def gauge(name: str, labels: str, help: str) -> Definition[Gauge]:
    """A gauge."""
    return Definition(name, "gauge", help, *_labels(labels), Gauge)


def histogram(name: str, labels: str, help: str, bounds: tuple[float, ...] = SECONDS) -> Definition[Histogram]:
    """A histogram, of seconds unless `bounds` are others."""
    return Definition(name, "histogram", help, *_labels(labels), lambda: Histogram(bounds))


def _labels(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    names = tuple(text.split())
    return names, _USERS.intersection(names)
