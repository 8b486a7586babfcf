"""The store's contract as a test suite that every adapter runs: every sentence of `perdure.store.contract` has a test
here.

An adapter's test module makes one class per part:

    class TestLog(LogContract):
        @asynccontextmanager
        async def opened(self, *, empty: bool = False) -> AsyncIterator[Store]:
            ...

A test method is an `async def test_…` without arguments and plain asserts; any runner that awaits them will do. Methods
name their rows afresh, so that one store may serve many of them; where a test needs a store that holds nothing, it asks
for `empty`.
"""

from perdure.testing.store_contract.checkpoints import CheckpointContract
from perdure.testing.store_contract.documents import DocumentContract, ShardContract
from perdure.testing.store_contract.durability import DurabilityContract
from perdure.testing.store_contract.histories import HistoryContract
from perdure.testing.store_contract.index import IndexContract
from perdure.testing.store_contract.leases import LeaseContract
from perdure.testing.store_contract.log import LogContract
from perdure.testing.store_contract.reshaping import ReshapeContract
from perdure.testing.store_contract.suite import StoreSuite
from perdure.testing.store_contract.visibility import VisibilityContract

__all__ = [
    "CheckpointContract",
    "DocumentContract",
    "DurabilityContract",
    "HistoryContract",
    "IndexContract",
    "LeaseContract",
    "LogContract",
    "ReshapeContract",
    "ShardContract",
    "StoreSuite",
    "VisibilityContract",
]
