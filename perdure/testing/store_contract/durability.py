"""What was acknowledged is there after the store was closed and opened again; for adapters that outlive their
process.
"""

import msgspec

from perdure.base.slots import SlotRange, even_ranges
from perdure.store.contract import Document, Group, Node, Pointer, SegmentHeader, ShardMap, ShardRow, Snapshot, Store
from perdure.testing.store_contract.suite import (
    HOME,
    StoreSuite,
    chain,
    checkpoint,
    fresh,
    new_segment,
    offer_of,
    queue_of,
    timer_of,
)
from perdure.visibility.rows import VisibilityQuery, VisibilityRow


class DurabilityContract(StoreSuite):
    """Every interface, across a restart."""

    async def reopened(self, store: Store) -> Store:
        """Close `store` and open the same data again; `opened` closes what is open in the end."""
        raise NotImplementedError

    async def test_the_log_survives_a_restart(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            groups = [Group(n, b"body %d" % n, n) for n in range(1, 20)]
            for group in groups:
                assert (await store.log.append(segment, 1, group)).applied
            again = await self.reopened(store)
            assert await again.log.read_header(segment) == SegmentHeader(1, 19, 19)
            assert await again.log.read_groups(segment, 0, 100) == groups
            assert (await again.log.append(segment, 1, Group(20, b"on", 20))).applied

    async def test_shards_and_documents_survive_a_restart(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise([ShardRow(fresh(), slots, 1, None) for slots in even_ranges(3)])
            changed = msgspec.structs.replace(rows[0], epoch=2, version=1)
            assert await store.shards.replace_shard(changed)
            document = Document("namespace", fresh(), 0, b"body")
            await store.documents.replace_document(document)
            again = await self.reopened(store)
            assert await again.shards.list_shards() == [changed, *rows[1:]]
            assert await again.documents.read_document("namespace", document.key) == document

    async def test_a_changed_map_survives_a_restart(self) -> None:
        async with self.opened(empty=True) as store:
            rows = await store.shards.initialise([ShardRow(fresh(), slots, 1, None) for slots in even_ranges(2)])
            whole = ShardRow(fresh(), SlotRange(), 1, None, reshaping=1, after_us=5)
            assert await store.shards.reshape(0, (), ())
            assert await store.shards.reshape(1, [row.shard for row in rows], [whole])
            again = await self.reopened(store)
            assert await again.shards.list_shards() == [whole]
            assert await again.shards.read_map() == ShardMap(2, ((0, whole.shard),))

    async def test_checkpoints_survive_a_restart(self) -> None:
        async with self.opened() as store:
            key = chain()
            snapshot, pointer, node = Snapshot(key, "run", 1, b"s"), Pointer(key, 1, b"p"), Node(fresh(), 1, 2, b"n")
            offer, timer = offer_of(key, 100), timer_of(key, 200)
            await store.checkpoints.write(checkpoint(10, snapshot, pointer, node, offer, timer))
            again = await self.reopened(store)
            assert await again.checkpoints.read_snapshot(key, "run") == snapshot
            assert await again.checkpoints.read_pointer(key) == pointer
            assert await again.checkpoints.read_nodes(node.branch, 1, 2, 100) == [node]
            assert await again.checkpoints.read_offers(HOME, queue_of(key), None, 10) == [offer]
            assert timer in await again.checkpoints.read_timers(HOME, None, 10_000)

    async def test_a_deletion_still_holds_after_a_restart(self) -> None:
        async with self.opened() as store:
            key, branch = chain(), fresh()
            offer, timer = offer_of(key, 100), timer_of(key, 200)
            gone = checkpoint(20, Snapshot(key, "run", 5, None), removed=[offer, timer], dropped=[(key, branch)])
            await store.checkpoints.write(gone)
            again = await self.reopened(store)
            late = checkpoint(10, Snapshot(key, "run", 4, b"late"), offer, timer, Node(branch, 1, 2, b"late"))
            await again.checkpoints.write(late)
            assert await again.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 5, None)
            assert await again.checkpoints.read_nodes(branch, 1, 2, 100) == []
            assert await again.checkpoints.read_offers(HOME, queue_of(key), None, 10) == []
            assert timer not in await again.checkpoints.read_timers(HOME, None, 10_000)

    async def test_list_rows_survive_a_restart(self) -> None:
        async with self.opened() as store:
            row = VisibilityRow(fresh(), "w", "run", 1, start_time_ns=5, memo=b"m")
            gone = VisibilityRow(row.namespace_id, "w", "gone", 3, deleted=True)
            await store.visibility.upsert([row, gone])
            again = await self.reopened(store)
            await again.visibility.upsert([VisibilityRow(row.namespace_id, "w", "gone", 2)])
            assert (await again.visibility.list(VisibilityQuery(row.namespace_id))).rows == [row]
