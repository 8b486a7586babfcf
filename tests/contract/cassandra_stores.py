"""Cassandra stores for tests of conditional writes: reached directly, or by a proxy that loses replies."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from perdure.base.clock import SystemClock
from perdure.store.cassandra import CassandraOptions, CassandraStore
from perdure.store.contract import OutcomeUnknown
from tests.cassandra.fixtures import Keyspace
from tests.cassandra.proxy import Faults, Proxy

T = TypeVar("T")


@asynccontextmanager
async def opened(
    keyspace: Keyspace, proxy: Proxy | None = None, *, patience_s: float = 10.0
) -> AsyncIterator[CassandraStore]:
    """A store; `patience_s`: how long it waits for a conditional write's answer."""
    contact = keyspace.contact
    options = CassandraOptions(
        contact_points=(contact.host if proxy is None else proxy.host,),
        port=contact.port if proxy is None else proxy.port,
        keyspace=keyspace.name,
        replication=1,
        simple_strategy=True,
        conditional_timeout_s=patience_s,
    )
    store = await CassandraStore.open(options, clock=SystemClock(), dev=True)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def behind_a_proxy(keyspace: Keyspace) -> AsyncIterator[tuple[CassandraStore, Proxy]]:
    """A store that soon loses patience, and the proxy that it reaches its node by."""
    async with opened(keyspace):
        pass  # the schema is there: what follows is about the log
    proxy = Proxy((keyspace.contact.host, keyspace.contact.port), 1, Faults())
    await proxy.start("127.0.0.1", 0)
    try:
        async with opened(keyspace, proxy, patience_s=0.5) as store:
            yield store, proxy
    finally:
        await proxy.stop()


async def settled(call: Callable[[], Awaitable[T]]) -> T:
    """The definite answer of a call that is made again until it has one."""
    while True:
        try:
            return await call()
        except OutcomeUnknown:
            continue
