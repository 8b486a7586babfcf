"""What a dashboard is made of: rows of panels, each with its queries. Refuses to know how Grafana writes them."""

import msgspec

from perdure.base.metrics import Definition, Histogram
from perdure.server.queries import quantile

Query = tuple[str, str]


class Panel(msgspec.Struct, frozen=True):
    """`queries`: each with its legend. `unit`: by Grafana's name. `description`: what a reader may ask."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str = ""


class Row(msgspec.Struct, frozen=True):
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


class Board(msgspec.Struct, frozen=True):
    """A dashboard. `uid`: its name in addresses and files."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]


def latency(title: str, by: str, definition: Definition[Histogram], description: str = "", **labels: str) -> Panel:
    """Half of all, and all but one in a hundred, stay under this."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split())
    queries = tuple((quantile(q, definition, by, **labels), f"{legend} p{round(q * 100)}".strip()) for q in (0.5, 0.99))
    return Panel(title, "s", queries, description)
