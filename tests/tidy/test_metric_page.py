"""The committed page on metrics is what the code says, and the table is as dashboards need it."""

import ast
import re
from pathlib import Path

import perdure.base.series
from perdure.base.series import table
from perdure.server.metric_page import PAGE, page
from tests.tidy.sources import ROOT

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make compat`"


def test_names_are_bare_and_unique() -> None:
    names = [definition.name for definition in table()]
    assert len(set(names)) == len(names)
    for name in names:
        assert _NAME.fullmatch(name)
        assert not name.endswith(("_total", "_created", "_bucket", "_sum"))


def test_every_series_says_whose_it_is() -> None:
    for definition in table():
        assert "service_name" in definition.labels, definition.name
        assert len(set(definition.labels)) == len(definition.labels), definition.name


def test_every_metric_of_the_table_is_measured_somewhere() -> None:
    """A line of the table without anything that counts would be a promise that nobody keeps."""
    here = Path(perdure.base.series.__file__)
    used = {
        node.attr
        for path in (ROOT / "perdure").rglob("*.py")
        if path != here
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "series"
    }
    declared = {name for name in vars(perdure.base.series) if name.isupper() and not name.startswith("_")}
    declared -= {"BYTES", "COUNTS"}
    assert declared == used & declared
