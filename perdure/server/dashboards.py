"""Writes deploy/grafana and deploy/prometheus from the code: dashboards for Grafana, alert rules for Prometheus.

What is on them: `perdure.server.boards` and `perdure.server.alerts`. A test compares the files with the code.
"""

from pathlib import Path
from typing import Any

import orjson
import yaml

from perdure.server.alerts import groups
from perdure.server.boards import BOARDS
from perdure.server.panels import Board, Panel, Row

_ROOT = Path(__file__).resolve().parents[2] / "deploy"
_HEAD = "# Written from the code by `make compat`: alert rules for Prometheus.\n"
_WIDE, _WIDTH, _HEIGHT = 24, 8, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def files() -> dict[Path, str]:
    """What each file holds, by its path."""
    written = {_ROOT / "grafana" / f"{board.uid}.json": _json(dashboard(board)) for board in BOARDS}
    return {**written, _ROOT / "prometheus" / "alerts.yaml": _HEAD + rules()}


def rules(job: str = ".+") -> str:
    """The alert rules, as Prometheus reads them, for what jobs of this name scrape (a regular expression)."""
    text: str = yaml.safe_dump({"groups": groups(job)}, sort_keys=False, width=1_000)
    return text


def dashboard(board: Board) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["perdure"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": [_datasource(), _job()]},
        "links": [
            {"type": "dashboards", "title": "Perdure", "tags": ["perdure"], "asDropdown": True, "keepTime": True}
        ],
        "panels": _panels(board.rows),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0}


def _job() -> dict[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "label": "Job",
        "datasource": _SOURCE,
        "query": {"query": "label_values(build_information, job)", "refId": "job"},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        position = {"x": 0, "y": y, "w": _WIDE, "h": 1}
        made.append({"id": len(made) + 1, "type": "row", "title": row.title, "gridPos": position, "panels": []})
        y += 1
        for index, panel in enumerate(row.panels):
            x = index * _WIDTH % _WIDE
            if index and not x:
                y += _HEIGHT
            made.append(_panel(panel, len(made) + 1, {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT}))
        y += _HEIGHT
    return made


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": position,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": targets,
    }


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


def main() -> None:
    """Write them."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(_ROOT.parent)}")


if __name__ == "__main__":
    main()
