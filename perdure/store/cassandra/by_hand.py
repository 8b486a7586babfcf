"""The schema of a keyspace, looked at or applied by an operator instead of a server. Serves nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from perdure.base.clock import Clock
from perdure.schema import cassandra as schema
from perdure.store.cassandra.connecting import connected
from perdure.store.cassandra.options import CassandraOptions
from perdure.store.cassandra.schema import SchemaStore
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.settings import creation, is_there, use_keyspace


class Status(msgspec.Struct, frozen=True):
    """`version`: of the keyspace, None = it has no schema. `newest`: of this program. `is_being_applied`: a process
    holds the lock. `levels`: the consistency levels of its processes, "" if none has been there.
    """

    has_keyspace: bool
    version: int | None
    newest: int
    is_being_applied: bool
    levels: str


async def status(options: CassandraOptions, clock: Clock) -> Status:
    """How things are; changes nothing. Raises as `perdure.store.cassandra.CassandraStore.open`."""
    async with _opened(options, clock) as (_, store, has_keyspace):
        row = await store.read() if has_keyspace else None
        newest = max(schema.versions())
        if row is None:
            return Status(has_keyspace, None, newest, False, "")
        return Status(has_keyspace, row.version, newest, bool(row.holder), row.levels)


async def plan(options: CassandraOptions, clock: Clock) -> list[tuple[int, list[str]]]:
    """The statements that `apply` would run, by version (0: what all stand on); changes nothing."""
    async with _opened(options, clock) as (session, store, has_keyspace):
        if has_keyspace:
            return await store.plan()
        foundation = [creation(session, options, dev=False), *schema.statements(schema.foundation(), None)]
        return [
            (0, foundation),
            *((number, schema.statements(text, None)) for number, text in schema.versions().items()),
        ]


async def apply(options: CassandraOptions, clock: Clock) -> tuple[int, int]:
    """Bring the schema up to date; the versions before and after. Raises as `CassandraStore.open`."""
    async with _opened(options, clock) as (session, store, _):
        await use_keyspace(session, options, dev=False)
        return await store.apply(), max(schema.versions())


@asynccontextmanager
async def _opened(options: CassandraOptions, clock: Clock) -> AsyncIterator[tuple[Session, SchemaStore, bool]]:
    session = await connected(options, clock)
    try:
        has_keyspace = await is_there(session, options.keyspace)
        if has_keyspace:
            await session.use(options.keyspace)
        yield session, SchemaStore(session, options.keyspace, clock), has_keyspace
    finally:
        await session.close()
