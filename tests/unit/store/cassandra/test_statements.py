"""Every statement of the Cassandra adapter does what its kind says, to one table; no table takes both kinds of
writes.
"""

from collections import defaultdict
from collections.abc import Iterator

import pytest

from perdure.schema import cassandra as schema
from perdure.store.cassandra import CassandraStore
from perdure.store.cassandra.log import FINAL_US
from perdure.store.cassandra.statements import (
    REGISTRY,
    Kind,
    Statement,
    conditional,
    read,
    settled_read,
    stamped,
)

assert CassandraStore.is_shared  # all statements are made when it is imported
SHIPPED = tuple(REGISTRY)
BATCH = "BEGIN UNLOGGED BATCH USING TIMESTAMP ?"


@pytest.fixture(autouse=True)
def _kept() -> Iterator[None]:
    yield
    del REGISTRY[len(SHIPPED) :]


def _writes() -> dict[str, set[Kind]]:
    found: dict[str, set[Kind]] = defaultdict(set)
    for statement in SHIPPED:
        is_drop = statement.cql.startswith(f"DELETE FROM {statement.table} USING TIMESTAMP {FINAL_US} ")
        if not statement.is_read and not is_drop:
            found[statement.table].add(statement.kind)
    return found


def test_no_table_takes_conditional_and_stamped_writes() -> None:
    writes = _writes()
    assert len(writes) > 10
    assert {table: kinds for table, kinds in writes.items() if len(kinds) > 1} == {}


def test_the_log_the_shards_and_the_leases_take_conditional_writes_only() -> None:
    writes = _writes()
    for table in ("log_segment", "shard", "shard_map", "host_lease", "document", "installation"):
        assert writes[table] == {Kind.CONDITIONAL}, table


def test_checkpoints_and_lists_take_stamped_writes_only() -> None:
    conditional_tables = {table for table, kinds in _writes().items() if Kind.CONDITIONAL in kinds}
    assert conditional_tables == {"log_segment", "shard", "shard_map", "host_lease", "document", "installation"}


def test_rows_of_conditional_tables_are_settled_where_they_decide() -> None:
    settled = {statement.table for statement in SHIPPED if statement.kind is Kind.SETTLED_READ}
    assert {"log_segment", "shard", "host_lease", "installation"} <= settled


def test_every_table_of_the_schema_is_used_and_no_other() -> None:
    texts = [schema.foundation(), *schema.versions().values()]
    created = {
        statement.split(" (")[0].removeprefix("CREATE TABLE IF NOT EXISTS ")
        for text in texts
        for statement in schema.statements(text, None)
        if statement.startswith("CREATE TABLE")
    }
    assert {statement.table for statement in SHIPPED} == created


def test_only_slow_walks_go_along_the_ring_and_over_the_log_they_see_keys_alone() -> None:
    key = "shard, opened_epoch, number"
    along = {statement.cql for statement in SHIPPED if "token(" in statement.cql}
    along.remove("SELECT body, token(shard) FROM shard WHERE token(shard) > ? LIMIT ?")
    assert along == {
        f"SELECT DISTINCT {key}, token({key}) FROM {table} WHERE token({key}) > ? AND token({key}) <= ? LIMIT ?"
        for table in ("log_segment", "log_body")
    }


def test_no_statement_scans_and_only_lists_filter_within_a_partition() -> None:
    filtering = [statement for statement in SHIPPED if "ALLOW FILTERING" in statement.cql]
    assert [s for s in filtering if " FROM run WHERE namespace_id = ? AND span = ? AND " not in s.cql] == []
    reads = [statement for statement in SHIPPED if statement.is_read and " WHERE " not in statement.cql]
    assert reads == []


@pytest.mark.parametrize(
    "cql",
    [
        "INSERT INTO one (a) VALUES (?) USING TIMESTAMP ?",
        "UPDATE one USING TIMESTAMP ? SET b = ? WHERE a = ?",
        "DELETE FROM one USING TIMESTAMP ? WHERE a = ?",
        "DELETE b FROM one USING TIMESTAMP ? WHERE a = ?",
        f"{BATCH} INSERT INTO one (a) VALUES (?); DELETE FROM one WHERE a = ?; APPLY BATCH",
    ],
)
def test_a_statement_knows_its_table_and_names_its_keyspace(cql: str) -> None:
    statement = stamped(cql)
    assert statement.table == "one"
    assert statement.within("keys").count("keys.one") == cql.count("one")


def test_a_system_table_has_its_keyspace() -> None:
    statement = read("SELECT a FROM system_schema.tables WHERE b = ?")
    assert statement.within("keys") == statement.cql


@pytest.mark.parametrize(
    ("make", "cql"),
    [
        (stamped, "INSERT INTO one (a) VALUES (?)"),
        (stamped, "INSERT INTO one (a) VALUES (?) IF NOT EXISTS USING TIMESTAMP ?"),
        (conditional, "UPDATE one SET b = ? WHERE a = ?"),
        (conditional, "UPDATE one USING TIMESTAMP ? SET b = ? WHERE a = ? IF b = ?"),
        (read, "DELETE FROM one USING TIMESTAMP ? WHERE a = ?"),
        (settled_read, "UPDATE one SET b = ? WHERE a = ? IF b = ?"),
        (read, "SELECT 1"),
        (
            stamped,
            f"{BATCH} DELETE FROM one WHERE a = ?; DELETE FROM two WHERE a = ?; APPLY BATCH",
        ),
    ],
)
def test_what_is_not_of_its_kind_is_refused(make: object, cql: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"\w"):
        make(cql)


def test_spaces_do_not_matter() -> None:
    assert Statement("SELECT a\n  FROM one", Kind.READ).cql == "SELECT a FROM one"
