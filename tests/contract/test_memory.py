"""The memory store keeps the store's contract, also as several hosts share it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from perdure.store.contract import Store
from perdure.store.memory import MemoryStore
from perdure.testing import store_contract


@asynccontextmanager
async def _opened() -> AsyncIterator[Store]:
    store = MemoryStore()
    yield store
    await store.close()


class _Memory(store_contract.StoreSuite):
    def opened(self, *, empty: bool = False) -> AbstractAsyncContextManager[Store]:
        return _opened()


class TestLog(_Memory, store_contract.LogContract):
    pass


class TestShards(_Memory, store_contract.ShardContract):
    pass


class TestReshaping(_Memory, store_contract.ReshapeContract):
    pass


class TestLeases(_Memory, store_contract.LeaseContract):
    pass


class TestDocuments(_Memory, store_contract.DocumentContract):
    pass


class TestCheckpoints(_Memory, store_contract.CheckpointContract):
    pass


class TestHistories(_Memory, store_contract.HistoryContract):
    pass


class TestIndex(_Memory, store_contract.IndexContract):
    pass


class TestVisibility(_Memory, store_contract.VisibilityContract):
    pass


class _Shared(store_contract.StoreSuite):
    @asynccontextmanager
    async def opened(self, *, empty: bool = False) -> AsyncIterator[Store]:
        yield MemoryStore(is_shared=True)


class TestSharedReshaping(_Shared, store_contract.ReshapeContract):
    pass


class TestSharedIndex(_Shared, store_contract.IndexContract):
    pass
