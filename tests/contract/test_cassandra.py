"""The Cassandra store keeps the store's contract, on a real node.

One store serves all tests: to open one takes a second. What must hold nothing is truncated.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import pytest_asyncio

from perdure.base.clock import SystemClock
from perdure.store.cassandra import CassandraOptions, CassandraStore
from perdure.store.contract import Store
from perdure.testing import store_contract
from tests.cassandra.fixtures import Keyspace

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _open(keyspace: Keyspace) -> CassandraStore:
    contact = keyspace.contact
    options = CassandraOptions(
        contact_points=(contact.host,),
        port=contact.port,
        keyspace=keyspace.name,
        # A busy machine of the tests is slow, and that is all that its silence says.
        conditional_timeout_s=10.0,
        request_timeout_s=20.0,
    )
    return await CassandraStore.open(options, clock=SystemClock(), dev=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(keyspace: Keyspace) -> AsyncIterator[CassandraStore]:
    store = await _open(keyspace)
    yield store
    await store.close()


class _Cassandra(store_contract.StoreSuite):
    _keyspace: Keyspace
    _shared: CassandraStore

    @pytest.fixture(autouse=True)
    def _placed(self, keyspace: Keyspace, shared: CassandraStore) -> None:
        self._keyspace, self._shared = keyspace, shared

    def opened(self, *, empty: bool = False) -> AbstractAsyncContextManager[Store]:
        return self._opened(empty)

    @asynccontextmanager
    async def _opened(self, empty: bool) -> AsyncIterator[Store]:
        if empty:
            await asyncio.to_thread(self._keyspace.empty)
        yield self._shared


class TestLog(_Cassandra, store_contract.LogContract):
    pass


class TestShards(_Cassandra, store_contract.ShardContract):
    pass


class TestReshaping(_Cassandra, store_contract.ReshapeContract):
    pass


class TestLeases(_Cassandra, store_contract.LeaseContract):
    pass


class TestDocuments(_Cassandra, store_contract.DocumentContract):
    pass


class TestCheckpoints(_Cassandra, store_contract.CheckpointContract):
    pass


class TestHistories(_Cassandra, store_contract.HistoryContract):
    pass


class TestIndex(_Cassandra, store_contract.IndexContract):
    pass


class TestVisibility(_Cassandra, store_contract.VisibilityContract):
    pass


class TestDurability(_Cassandra, store_contract.DurabilityContract):
    """On stores of their own, which are closed and opened again."""

    @asynccontextmanager
    async def _opened(self, empty: bool) -> AsyncIterator[Store]:
        if empty:
            await asyncio.to_thread(self._keyspace.empty)
        self._own = await _open(self._keyspace)
        yield self._own
        await self._own.close()

    async def reopened(self, store: Store) -> Store:
        await store.close()
        self._own = await _open(self._keyspace)
        return self._own
