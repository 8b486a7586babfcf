"""The SQLite store keeps the store's contract: in a file, in a file across restarts, and in memory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from perdure.base.clock import SystemClock
from perdure.store.contract import Store
from perdure.store.sqlite import SqliteStore
from perdure.testing import store_contract


class _File(store_contract.StoreSuite):
    _path = Path()
    _store: SqliteStore | None = None

    def opened(self, *, empty: bool = False) -> AbstractAsyncContextManager[Store]:
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Store]:
        with TemporaryDirectory() as directory:
            self._path = Path(directory) / "perdure.db"
            self._store = await SqliteStore.open(self._path, clock=SystemClock())
            yield self._store
            await self._store.close()

    async def reopened(self, store: Store) -> Store:
        await store.close()
        self._store = await SqliteStore.open(self._path, clock=SystemClock())
        return self._store


class _InMemory(store_contract.StoreSuite):
    def opened(self, *, empty: bool = False) -> AbstractAsyncContextManager[Store]:
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Store]:
        store = await SqliteStore.open(":memory:", clock=SystemClock())
        yield store
        await store.close()


class TestLog(_File, store_contract.LogContract):
    pass


class TestShards(_File, store_contract.ShardContract):
    pass


class TestReshaping(_File, store_contract.ReshapeContract):
    pass


class TestLeases(_File, store_contract.LeaseContract):
    pass


class TestDocuments(_File, store_contract.DocumentContract):
    pass


class TestCheckpoints(_File, store_contract.CheckpointContract):
    pass


class TestHistories(_File, store_contract.HistoryContract):
    pass


class TestIndex(_File, store_contract.IndexContract):
    pass


class TestVisibility(_File, store_contract.VisibilityContract):
    pass


class TestDurability(_File, store_contract.DurabilityContract):
    pass


class TestLogInMemory(_InMemory, store_contract.LogContract):
    pass


class TestShardsInMemory(_InMemory, store_contract.ShardContract):
    pass


class TestCheckpointsInMemory(_InMemory, store_contract.CheckpointContract):
    pass


class TestVisibilityInMemory(_InMemory, store_contract.VisibilityContract):
    pass
