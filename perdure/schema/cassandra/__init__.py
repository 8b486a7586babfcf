"""The Cassandra schema, as numbered CQL files beside this module: 0000 is what all versions stand on.

Invariant: a file, once released, never changes; every statement may be repeated, also by two processes at once. Who
applies them, under which lock: perdure/store/cassandra/schema.py.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from perdure.base.entropy import derive_id

# The table of 0000: a keyspace that has it is Perdure's.
FOUNDATION = "installation"

_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_TABLE = re.compile(r"^CREATE TABLE IF NOT EXISTS ([a-z_]+) ")


@cache
def versions() -> Mapping[int, str]:
    """The CQL text of each version, ascending from 1 without a gap."""
    found = {number: text for number, text in _files().items() if number > 0}
    assert list(found) == list(range(1, len(found) + 1)), "schema versions have a gap"
    return MappingProxyType(found)


def foundation() -> str:
    """The CQL text of what is there before any version."""
    return _files()[0]


def statements(script: str, seed: str | None) -> list[str]:
    """The statements of a script, one by one. A table's id is derived from `seed` and its name, so that everybody who
    makes it makes the same table; None: it stays {id}.
    """
    found = [" ".join(part.split()) for part in _COMMENT.sub("", script).split(";")]
    return [statement if seed is None else _with_id(statement, seed) for statement in found if statement]


def _with_id(statement: str, seed: str) -> str:
    table = _TABLE.match(statement)
    return statement if table is None else statement.replace("{id}", derive_id(seed.encode(), table.group(1)), 1)


@cache
def _files() -> Mapping[int, str]:
    found: dict[int, str] = {}
    for entry in sorted(resources.files(__name__).iterdir(), key=lambda entry: entry.name):
        number, _, rest = entry.name.partition("_")
        if rest.endswith(".cql"):
            found[int(number)] = entry.read_text(encoding="utf-8")
    return MappingProxyType(found)
