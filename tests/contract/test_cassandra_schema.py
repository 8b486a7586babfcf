"""The schema of a keyspace, applied by many at once, after a process that was killed, and by hand; on a real node."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

from perdure.base.clock import SystemClock
from perdure.base.entropy import derive_id
from perdure.base.errors import FailedPrecondition, StoreUnavailable
from perdure.schema import cassandra as schema
from perdure.server.main import main
from perdure.store.cassandra import schema as schema_store
from perdure.store.cassandra.connecting import connected
from perdure.store.cassandra.options import CassandraOptions, parse_url
from perdure.store.cassandra.schema import SchemaStore
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.settings import use_keyspace
from tests.cassandra import cql
from tests.cassandra.fixtures import Contact, Keyspace

ONE = "CREATE TABLE IF NOT EXISTS one (a int, PRIMARY KEY (a)) WITH id = {id};"
TWO = "CREATE TABLE IF NOT EXISTS two (a int, PRIMARY KEY (a)) WITH id = {id};"
THREE = "ALTER TABLE one ADD IF NOT EXISTS b int;"
BROKEN = "CREATE TABLE IF NOT EXISTS three (a int, PRIMARY KEY (a)) WITH id = {id}; CREATE NONSENSE;"


@pytest.fixture
def small(request: pytest.FixtureRequest, keyspace: Keyspace) -> Iterator[Keyspace]:
    """A keyspace of a test's own."""
    made = Keyspace(keyspace.contact, f"{keyspace.name}_{abs(hash(request.node.name)) % 10_000}")
    yield made
    cql.drop_keyspace(made.contact.host, made.name, made.contact.port)


def _options(keyspace: Keyspace) -> CassandraOptions:
    contact = keyspace.contact
    return CassandraOptions(
        contact_points=(contact.host,),
        port=contact.port,
        keyspace=keyspace.name,
        replication=1,
        conditional_timeout_s=10.0,
    )


@asynccontextmanager
async def _opened(keyspace: Keyspace) -> AsyncIterator[tuple[Session, SchemaStore]]:
    options = _options(keyspace)
    session = await connected(options, SystemClock())
    try:
        await use_keyspace(session, options, dev=True)
        yield session, SchemaStore(session, keyspace.name, SystemClock())
    finally:
        await session.close()


def _tables(keyspace: Keyspace) -> dict[str, str]:
    found = cql.rows(
        keyspace.contact.host,
        f"SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = '{keyspace.name}'",
        port=keyspace.contact.port,
    )
    return {str(name): str(identity) for name, identity in found}


async def test_many_at_once_apply_it_once(small: Keyspace) -> None:
    async def start() -> int:
        async with _opened(small) as (_, store):
            return await store.apply({1: ONE, 2: TWO, 3: THREE})

    versions = await asyncio.gather(*(start() for _ in range(4)))
    assert min(versions) == 0
    async with _opened(small) as (session, store):
        row = await store.read()
        assert row is not None
        assert (row.version, row.holder) == (3, "")
        columns = await session.ask(
            "SELECT column_name FROM system_schema.columns WHERE keyspace_name = %s AND table_name = 'one'",
            (small.name,),
        )
        assert sorted(columns) == [("a",), ("b",)]
        tables = await asyncio.to_thread(_tables, small)
        assert {name: tables[name] for name in ("one", "two")} == {
            name: derive_id(row.id.encode(), name) for name in ("one", "two")
        }


async def test_any_version_comes_to_the_newest_and_a_newer_one_is_left_alone(small: Keyspace) -> None:
    async with _opened(small) as (_, store):
        assert await store.apply({1: ONE}) == 0
        assert await store.apply({1: ONE, 2: TWO, 3: THREE}) == 1
        assert await store.apply({1: ONE, 2: TWO, 3: THREE}) == 3
        with pytest.raises(FailedPrecondition, match="schema version 3, this program knows up to 1"):
            await store.apply({1: ONE})
        row = await store.read()
        assert row is not None
        assert row.version == 3


async def test_who_was_killed_while_it_applied_is_followed(small: Keyspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_store, "ABANDONED_S", 1.0)
    async with _opened(small) as (_, store):
        await store.apply({1: ONE})
        held = f"UPDATE {small.name}.installation SET holder = 'gone', beat = 7 WHERE name = 'perdure' IF EXISTS"
        await asyncio.to_thread(cql.rows, small.contact.host, held, port=small.contact.port)
        clock = SystemClock()
        begun_ns = clock.monotonic_ns()
        assert await store.apply({1: ONE, 2: TWO}) == 1
        assert clock.monotonic_ns() - begun_ns >= 10**9
        row = await store.read()
        assert row is not None
        assert (row.version, row.holder) == (2, "")


async def test_a_version_that_fails_is_not_recorded_and_the_next_one_may_try(small: Keyspace) -> None:
    async with _opened(small) as (_, store):
        with pytest.raises(StoreUnavailable, match="NONSENSE"):
            await store.apply({1: ONE, 2: BROKEN})
        row = await store.read()
        assert row is not None
        assert (row.version, row.holder) == (1, "")
        assert await store.apply({1: ONE, 2: TWO}) == 1


async def test_tables_of_two_keyspaces_have_ids_of_their_own(small: Keyspace) -> None:
    other = Keyspace(small.contact, f"{small.name}_b")
    try:
        for keyspace in (small, other):
            async with _opened(keyspace) as (_, store):
                await store.apply({1: ONE})
        ours, theirs = await asyncio.to_thread(_tables, small), await asyncio.to_thread(_tables, other)
        assert set(ours) == set(theirs) == {"installation", "one"}
        assert not set(ours.values()) & set(theirs.values())
    finally:
        await asyncio.to_thread(cql.drop_keyspace, other.contact.host, other.name, other.contact.port)


async def test_another_programs_keyspace_is_left_alone(small: Keyspace) -> None:
    async with _opened(small) as (session, store):
        await session.define("CREATE TABLE theirs (a int, PRIMARY KEY (a))")
        with pytest.raises(FailedPrecondition, match="another program's: it has theirs"):
            await store.apply({1: ONE})
        assert list(await asyncio.to_thread(_tables, small)) == ["theirs"]


async def test_a_keyspace_without_a_commit_log_is_for_trying_out_only(small: Keyspace) -> None:
    async with _opened(small) as (session, _):
        await session.define(f"ALTER KEYSPACE {small.name} WITH durable_writes = false")
        with pytest.raises(FailedPrecondition, match="durable_writes: false"):
            await use_keyspace(session, _options(small), dev=False)
        await use_keyspace(session, _options(small), dev=True)


def _perdure(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["schema", *arguments])
    return result.exit_code, result.output


def test_the_schema_by_hand(small: Keyspace, cassandra: Contact, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = max(schema.versions())
    address = f"{small.url}?replication=1&conditional_timeout=10"
    assert parse_url(address).keyspace == small.name
    code, text = _perdure("status", "--store", address)
    assert (code, text.splitlines()) == (0, [f"keyspace {small.name}: not there", f"this program: version {newest}"])
    code, text = _perdure("plan", "--store", address)
    assert code == 0
    assert f"CREATE KEYSPACE IF NOT EXISTS {small.name} " in text
    assert text.count("CREATE TABLE") == schema.foundation().count("CREATE TABLE") + sum(
        version.count("CREATE TABLE") for version in schema.versions().values()
    )
    assert _perdure("status", "--store", address)[1].startswith(f"keyspace {small.name}: not there")
    monkeypatch.setattr("perdure.store.cassandra.schema.schema.versions", lambda: {1: ONE})
    code, text = _perdure("apply", "--store", address)
    assert code == 0, text
    assert text.splitlines()[-1] == f"Keyspace {small.name}: applied up to version 1."
    assert _perdure("apply", "--store", address)[1].splitlines()[-1].endswith("up to date at version 1.")
    assert _perdure("status", "--store", address)[1].startswith(f"keyspace {small.name}: version 1\n")
    assert _perdure("plan", "--store", address)[1] == "-- Nothing: the schema is up to date.\n"


def test_only_a_cassandra_has_a_schema_to_apply() -> None:
    assert _perdure("apply", "--store", "memory:")[0] == 2
    assert _perdure("apply")[0] == 2
    code, text = _perdure("apply", "--store", "cassandra://127.0.0.1:1/x?connect_wait=0")
    assert code == 1
    assert text.splitlines()[-1] == "Error: Cassandra can't be reached: 127.0.0.1:1: Connection refused."
