"""The committed dashboards and alert rules are what the code says, and ask for what is exported."""

from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from perdure.base.series import table
from perdure.server.alerts import GROUPS
from perdure.server.boards import BOARDS
from perdure.server.dashboards import dashboard, files, rules
from tests.e2e.prometheus import plain, queries, selected

_SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
EXPORTED = {
    definition.name + suffix: {*definition.labels, "job", "instance", *(["le"] if suffix == "_bucket" else [])}
    for definition in table()
    for suffix in _SUFFIXES[definition.kind]
}


def _all_queries() -> Iterator[tuple[str, str]]:
    for board in BOARDS:
        for query in queries(dashboard(board)):
            yield board.uid, plain(query)
    for name, alerts in GROUPS.items():
        for alert in alerts:
            yield name, plain(alert.query)


def test_the_files_are_current() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"run `make compat`: {path.name}"


@pytest.mark.parametrize("where", [board.uid for board in BOARDS] + list(GROUPS))
def test_queries_ask_for_what_is_exported(where: str) -> None:
    found = [query for at, query in _all_queries() if at == where]
    assert found
    for query in found:
        for selector in selected(promql_parser.parse(query)):
            assert selector.name in EXPORTED, query
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= EXPORTED[selector.name], query


def test_every_alert_says_what_it_means() -> None:
    found: list[Any] = [rule for group in yaml.safe_load(rules())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")
        assert "$job" not in rule["expr"]


def test_panels_of_a_dashboard_do_not_overlap() -> None:
    for board in BOARDS:
        taken = [
            (x, y)
            for panel in dashboard(board)["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(set(taken)) == len(taken), board.uid
        assert all(x < 24 for x, _ in taken)
