"""Shard rows and small documents: compare-and-set on a version."""

import asyncio

from perdure.base.slots import SLOTS, SlotRange, even_ranges
from perdure.store.contract import Document, Home, SegmentId, ShardRow
from perdure.testing.store_contract.suite import StoreSuite, fresh


def _rows(count: int) -> list[ShardRow]:
    return [ShardRow(fresh(), slots, 1, None) for slots in even_ranges(count)]


class ShardContract(StoreSuite):
    """`ShardStore`."""

    async def test_a_new_store_has_no_shards(self) -> None:
        async with self.opened(empty=True) as store:
            assert await store.shards.list_shards() == []
            assert await store.shards.read_shard(fresh()) is None

    async def test_initialised_shards_are_listed_by_first_slot_and_cover_the_hash_space(self) -> None:
        async with self.opened(empty=True) as store:
            rows = _rows(5)
            assert await store.shards.initialise(rows[::-1]) == rows
            listed = await store.shards.list_shards()
            assert listed == rows
            assert listed[0].slots.first == 0
            assert [row.slots.end for row in listed] == [*(row.slots.first for row in listed[1:]), SLOTS]
            assert await store.shards.read_shard(rows[3].shard) == rows[3]

    async def test_the_second_initialise_changes_nothing_and_gets_what_stands(self) -> None:
        async with self.opened(empty=True) as store:
            rows = _rows(2)
            await store.shards.initialise(rows)
            assert await store.shards.initialise(_rows(3)) == rows
            assert await store.shards.list_shards() == rows

    async def test_of_two_initialisers_at_once_one_wins_with_all_its_rows(self) -> None:
        async with self.opened(empty=True) as store:
            ours, theirs = _rows(3), _rows(4)
            stand = await asyncio.gather(store.shards.initialise(ours), store.shards.initialise(theirs))
            assert stand[0] == stand[1] == await store.shards.list_shards()
            assert stand[0] in (ours, theirs)

    async def test_a_row_is_replaced_over_the_version_before_it_only(self) -> None:
        async with self.opened(empty=True) as store:
            row = (await store.shards.initialise(_rows(1)))[0]
            first = SegmentId(row.shard, 2, 0)
            changed = ShardRow(row.shard, row.slots, 2, first, version=1)
            for version in (0, 2):
                assert not await store.shards.replace_shard(ShardRow(row.shard, row.slots, 9, None, version=version))
            assert await store.shards.replace_shard(changed)
            assert await store.shards.read_shard(row.shard) == changed
            assert not await store.shards.replace_shard(changed)
            assert await store.shards.list_shards() == [changed]

    async def test_a_missing_row_is_not_replaced(self) -> None:
        async with self.opened(empty=True) as store:
            row = _rows(1)[0]
            for version in (0, 1):
                assert not await store.shards.replace_shard(ShardRow(row.shard, row.slots, 1, None, version=version))
            assert await store.shards.read_shard(row.shard) is None

    async def test_of_many_replacements_at_once_one_is_done(self) -> None:
        async with self.opened(empty=True) as store:
            row = (await store.shards.initialise(_rows(1)))[0]
            rows = [ShardRow(row.shard, row.slots, epoch, None, version=1) for epoch in range(2, 8)]
            done = await asyncio.gather(*map(store.shards.replace_shard, rows))
            assert sum(done) == 1
            assert await store.shards.read_shard(row.shard) == rows[done.index(True)]

    async def test_a_row_keeps_what_is_known_of_its_reshaping(self) -> None:
        async with self.opened(empty=True) as store:
            row = (await store.shards.initialise(_rows(1)))[0]
            assert (row.reshaping, row.after_us, row.inherits) == (None, 0, ())
            homes = (Home(fresh(), SlotRange(0, 7)), Home(fresh(), SlotRange(7, SLOTS)))
            changed = ShardRow(row.shard, row.slots, 1, None, 1, "host", 0, 1 << 50, homes)
            assert await store.shards.replace_shard(changed)
            assert await store.shards.read_shard(row.shard) == changed


class DocumentContract(StoreSuite):
    """`Documents`."""

    async def test_a_document_is_created_once(self) -> None:
        async with self.opened() as store:
            document = Document("namespace", fresh(), 0, b"\x00body")
            assert await store.documents.read_document("namespace", document.key) is None
            assert await store.documents.replace_document(document)
            assert not await store.documents.replace_document(Document("namespace", document.key, 0, b"other"))
            assert await store.documents.read_document("namespace", document.key) == document

    async def test_a_document_is_replaced_over_the_version_before_it_only(self) -> None:
        async with self.opened() as store:
            key = fresh()
            assert not await store.documents.replace_document(Document("queue", key, 1, b"too early"))
            assert await store.documents.replace_document(Document("queue", key, 0, b"0"))
            assert not await store.documents.replace_document(Document("queue", key, 2, b"2"))
            assert await store.documents.replace_document(Document("queue", key, 1, b"1"))
            assert await store.documents.read_document("queue", key) == Document("queue", key, 1, b"1")

    async def test_of_many_replacements_at_once_one_is_done(self) -> None:
        async with self.opened() as store:
            documents = [Document("cluster", "one", 0, b"%d" % n) for n in range(6)]
            found = await store.documents.read_document("cluster", "one")
            if found is not None:
                documents = [Document("cluster", "one", found.version + 1, document.body) for document in documents]
            done = await asyncio.gather(*map(store.documents.replace_document, documents))
            assert sum(done) == 1
            assert await store.documents.read_document("cluster", "one") == documents[done.index(True)]

    async def test_documents_of_a_kind_are_listed_by_key(self) -> None:
        async with self.opened(empty=True) as store:
            for kind, key in (("namespace", "b"), ("queue", "a"), ("namespace", "c"), ("namespace", "a")):
                await store.documents.replace_document(Document(kind, key, 0, key.encode()))
            listed = await store.documents.list_documents("namespace")
            assert listed == [Document("namespace", key, 0, key.encode()) for key in "abc"]
            assert await store.documents.list_documents("cluster") == []

    async def test_one_key_in_two_kinds_is_two_documents(self) -> None:
        async with self.opened() as store:
            key = fresh()
            await store.documents.replace_document(Document("namespace", key, 0, b"n"))
            await store.documents.replace_document(Document("queue", key, 0, b"q"))
            assert await store.documents.read_document("queue", key) == Document("queue", key, 0, b"q")
            assert await store.documents.read_document("cluster", key) is None
