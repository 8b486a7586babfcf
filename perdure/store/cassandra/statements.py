"""The statements of this adapter, each made by what it may do: one of four kinds, on one table.

Invariants: a table takes conditional or stamped writes, never both (`final` drops aside: a stamp beyond every other);
every statement is registered, prepared and sent at the levels of its kind. A test reads `REGISTRY`.
"""

import re
from enum import Enum


class Kind(Enum):
    """What a statement may do, and by it its consistency levels and what an error says about it."""

    READ = "read"
    SETTLED_READ = "settled read"
    STAMPED = "stamped"
    CONDITIONAL = "conditional"


class Statement:
    """A statement with `?` for each value. `table`: the one it reads or writes, without its keyspace."""

    __slots__ = ("cql", "kind", "table")

    def __init__(self, cql: str, kind: Kind) -> None:
        self.cql = " ".join(cql.split())
        self.kind = kind
        self.table = _table(self.cql)
        REGISTRY.append(self)

    def __repr__(self) -> str:
        return f"<{self.kind.value}: {self.cql}>"

    def within(self, keyspace: str) -> str:
        """The CQL with its table's keyspace, which a prepared statement has to name."""
        if "." in self.table:
            return self.cql
        return re.sub(rf"\b(FROM|INTO|UPDATE) {self.table}\b", rf"\1 {keyspace}.{self.table}", self.cql)

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.kind in (Kind.READ, Kind.SETTLED_READ)


REGISTRY: list[Statement] = []

_TABLE = re.compile(r"^(SELECT .*? FROM|INSERT INTO|UPDATE|DELETE(?: .*?)? FROM) ([a-z_.]+)\b")
_BATCH = re.compile(r"^BEGIN UNLOGGED BATCH (?:USING TIMESTAMP \? )?(.*)APPLY BATCH$")


def read(cql: str) -> Statement:
    """A read at the ordinary level: of tables with stamped rows, or of a conditional row after it was settled."""
    return _checked(Statement(cql, Kind.READ), begins="SELECT ")


def settled_read(cql: str) -> Statement:
    """A read of one partition that first settles conditional writes in doubt."""
    return _checked(Statement(cql, Kind.SETTLED_READ), begins="SELECT ")


def stamped(cql: str) -> Statement:
    """A plain write that says its own time stamp, so that repeating it changes nothing."""
    statement = Statement(cql, Kind.STAMPED)
    if "USING TIMESTAMP" not in statement.cql or _is_conditional(statement.cql):
        raise ValueError(f"A stamped write says USING TIMESTAMP, and has no condition: {statement.cql}")
    return statement


def conditional(cql: str) -> Statement:
    """A write under a condition (`IF`). Never sent twice by itself; a stamp in it would be ignored by Cassandra."""
    statement = Statement(cql, Kind.CONDITIONAL)
    if "USING TIMESTAMP" in statement.cql or not _is_conditional(statement.cql):
        raise ValueError(f"A conditional write has a condition, and no time stamp: {statement.cql}")
    return statement


def _checked(statement: Statement, begins: str) -> Statement:
    if not statement.cql.startswith(begins):
        raise ValueError(f"A read begins with {begins}: {statement.cql}")
    return statement


def _is_conditional(cql: str) -> bool:
    return " IF " in cql


def _table(cql: str) -> str:
    """The statement's only table; of a batch, the table of all its parts."""
    batch = _BATCH.match(cql)
    parts = [cql] if batch is None else batch.group(1).split(";")
    tables = set()
    for part in parts:
        if not part.strip():
            continue
        found = _TABLE.match(part.strip())
        if found is None:
            raise ValueError(f"No table can be made out in: {part}")
        tables.add(found.group(2))
    if len(tables) != 1:
        raise ValueError(f"A statement has one table: {cql}")
    return str(tables.pop())
