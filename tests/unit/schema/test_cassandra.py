"""The Cassandra schema's texts: statement by statement, with ids of tables that a keyspace's processes agree on."""

import re
import uuid

from perdure.schema import cassandra as schema

SCRIPT = """-- one; with a semicolon
CREATE TABLE IF NOT EXISTS one (
    a int, -- a; b
    PRIMARY KEY (a)
) WITH id = {id};
ALTER TABLE one ADD b int;
"""
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) .* (?:WITH|AND) id = (\S+)")


def _ids(script: str, seed: str) -> dict[str, str]:
    found = (_TABLE.match(statement) for statement in schema.statements(script, seed))
    return {match[1]: match[2] for match in found if match is not None}


def test_a_script_is_cut_at_its_statements() -> None:
    assert schema.statements(SCRIPT, None) == [
        "CREATE TABLE IF NOT EXISTS one ( a int, PRIMARY KEY (a) ) WITH id = {id}",
        "ALTER TABLE one ADD b int",
    ]


def test_ids_come_from_the_seed_and_the_tables_name() -> None:
    assert _ids(SCRIPT, "seed") == _ids(SCRIPT, "seed")
    assert _ids(SCRIPT, "seed") != _ids(SCRIPT, "other")
    assert uuid.UUID(_ids(SCRIPT, "seed")["one"]).version == 4


def test_every_table_has_an_id_of_its_own() -> None:
    for number, text in {0: schema.foundation(), **schema.versions()}.items():
        tables = text.count("CREATE TABLE")
        assert len(_ids(text, "seed")) == tables, number
        assert len(set(_ids(text, "seed").values())) == tables, number


def test_every_statement_may_be_repeated() -> None:
    for text in (schema.foundation(), *schema.versions().values()):
        for statement in schema.statements(text, "seed"):
            assert statement.startswith("CREATE ")
            assert " IF NOT EXISTS " in statement


def test_versions_begin_at_one_and_have_no_gap() -> None:
    assert list(schema.versions()) == list(range(1, len(schema.versions()) + 1))


def test_nothing_of_a_shipped_version_is_left_to_fill_in() -> None:
    for text in (schema.foundation(), *schema.versions().values()):
        assert not [s for s in schema.statements(text, "seed") if "{id}" in s or "--" in s]
