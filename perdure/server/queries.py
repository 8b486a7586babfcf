"""Queries of Prometheus, written by metric definitions.

Invariant: a query asks only for metrics that are in the table, and by labels that they have; one that doesn't is not
made. `$job` stands for whatever job scrapes the cluster, so that one Prometheus may hold several.
"""

from perdure.base.metrics import Counter, Definition, Gauge, Histogram

Metric = Definition[Counter] | Definition[Gauge] | Definition[Histogram]
WINDOW = "$__rate_interval"
# What Prometheus adds to each series.
_TARGET = frozenset({"instance", "job", "le"})


def selector(definition: Metric, suffix: str = "", **labels: str) -> str:
    """A metric with values of labels; one that begins with `~` is a regular expression, with `!` one that it is not."""
    _check(definition, labels)
    parts = ['job=~"$job"']
    for label, value in labels.items():
        operator, text = (
            ("=~", value[1:]) if value[:1] == "~" else ("!=", value[1:]) if value[:1] == "!" else ("=", value)
        )
        parts.append(f'{label}{operator}"{text}"')
    return f"{definition.name}{suffix}{{{', '.join(parts)}}}"


def rate(definition: Definition[Counter], by: str = "", window: str = WINDOW, **labels: str) -> str:
    """So many a second, by labels (separated by blanks)."""
    return _sum(definition, f"rate({selector(definition, **labels)}[{window}])", by)


def increase(definition: Definition[Counter], by: str = "", window: str = WINDOW, **labels: str) -> str:
    """So many in the window."""
    return _sum(definition, f"increase({selector(definition, **labels)}[{window}])", by)


def level(definition: Definition[Gauge], by: str = "", how: str = "sum", ago: str = "", **labels: str) -> str:
    """A gauge over all instances, now or so long ago."""
    then = f" offset {ago}" if ago else ""
    return _sum(definition, selector(definition, **labels) + then, by, how)


def observed(definition: Definition[Histogram], by: str = "", window: str = WINDOW, **labels: str) -> str:
    """How many values a second."""
    return _sum(definition, f"rate({selector(definition, '_count', **labels)}[{window}])", by)


def quantile(q: float, definition: Definition[Histogram], by: str = "", window: str = WINDOW, **labels: str) -> str:
    """The value that a part of all stays under."""
    buckets = f"rate({selector(definition, '_bucket', **labels)}[{window}])"
    return f"histogram_quantile({q}, {_sum(definition, buckets, f'le {by}'.strip())})"


def _sum(definition: Metric, what: str, by: str, how: str = "sum") -> str:
    names = by.split()
    _check(definition, dict.fromkeys(names, ""))
    return f"{how} by ({', '.join(names)}) ({what})" if names else f"{how}({what})"


def _check(definition: Metric, labels: dict[str, str]) -> None:
    for label in labels:
        assert label in definition.labels or label in _TARGET, f"{definition.name} has no label {label}"
