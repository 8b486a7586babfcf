"""Writes docs/metrics.md: every metric that a server exports, from the table of them. A test compares the two."""

from collections.abc import Iterator
from pathlib import Path

from perdure.base.metrics import HISTOGRAM_SERIES_MAX, SERIES_MAX, VALUES_MAX
from perdure.base.series import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
_HEAD = f"""\
# Metrics

Written from the code by `make compat`. `perdure dev` serves them at `/metrics` of `--metrics-port`.

Names and labels are those of Temporal's server, so that its dashboards and alerts work: counters have no `_total`,
histograms of time are in seconds, characters of label values outside `[A-Za-z0-9_]` are written `_`, and what belongs
to no namespace is of the namespace `_unknown_`. What callers name (namespaces, task queues, types) is told apart up to
{VALUES_MAX} values a label, {SERIES_MAX:,} series a metric and {HISTOGRAM_SERIES_MAX} a histogram; the rest is counted
as `_other_`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_rows(), ""])


def _rows() -> Iterator[str]:
    yield "| metric | type | labels | what it tells |"
    yield "|---|---|---|---|"
    for definition in sorted(table(), key=lambda definition: definition.name):
        labels = ", ".join(f"`{label}`" for label in sorted(definition.labels))
        yield f"| `{definition.name}` | {definition.kind} | {labels} | {definition.help} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
