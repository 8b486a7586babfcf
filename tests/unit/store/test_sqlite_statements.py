"""No table is changed both by conditional and by stamped statements, and none by any other."""

import ast
import re
from pathlib import Path

import pytest

from perdure.schema.sqlite import versions
from perdure.store import sqlite
from perdure.store.sqlite.statements import ATTRIBUTES, CONDITIONAL, FINAL, READ, STAMPED, SWEEP

_TARGET = re.compile(r"^(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
_CREATES = re.compile(r"ON CONFLICT DO NOTHING$")
_COMPARES = re.compile(r"WHERE .*\b(?:epoch = :epoch AND last = :last|version = :version - 1)\b")
_STAMPED = re.compile(r"(?:stamp_us|version) >=? |stamp_us <= ")


def _targets(statements: dict[str, str]) -> set[str]:
    found = {name: _TARGET.match(text) for name, text in statements.items()}
    assert all(found.values()), found
    return {match[1] for match in found.values() if match}


@pytest.mark.parametrize("text", CONDITIONAL.values(), ids=list(CONDITIONAL))
def test_a_conditional_statement_compares(text: str) -> None:
    assert _COMPARES.search(text) or _CREATES.search(text)
    assert "stamp" not in text


@pytest.mark.parametrize("text", STAMPED.values(), ids=list(STAMPED))
def test_a_stamped_statement_lets_the_highest_stamp_win(text: str) -> None:
    assert _STAMPED.search(text)
    assert "epoch" not in text


def test_no_table_takes_both_kinds() -> None:
    conditional, stamped = _targets(CONDITIONAL), _targets(STAMPED)
    assert conditional == {"log_segment", "log_group", "shard", "document"}
    assert not conditional & stamped
    assert _targets(FINAL) == {"log_segment", "log_group", "shard"}
    assert _targets(SWEEP) <= stamped
    assert _targets(ATTRIBUTES) == {"run_attribute"}


def test_every_table_of_the_schema_is_in_one_list() -> None:
    tables = set(re.findall(r"CREATE TABLE (\w+)", "\n".join(versions().values())))
    assert tables == _targets(CONDITIONAL) | _targets(STAMPED) | _targets(ATTRIBUTES)


def test_reads_write_nothing() -> None:
    assert all(text.startswith("SELECT ") for text in READ.values())


def test_no_other_module_of_the_adapter_writes() -> None:
    assert sqlite.__file__ is not None
    for path in Path(sqlite.__file__).parent.glob("*.py"):
        if path.name == "statements.py":
            continue
        constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        texts = [value for value in constants if isinstance(value, str)]
        assert not [text for text in texts if re.match(r"(INSERT|UPDATE|DELETE|REPLACE) ", text)], path.name
