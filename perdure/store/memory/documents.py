"""Shard rows and small documents in memory: both change by compare-and-set on a version."""

from collections.abc import Sequence

from perdure.store.contract import Document, ShardRow


class MemoryShards:
    """`perdure.store.contract.ShardStore` in a dict."""

    def __init__(self) -> None:
        self._rows: dict[str, ShardRow] = {}

    async def list_shards(self) -> list[ShardRow]:
        return sorted(self._rows.values(), key=lambda row: row.slots)

    async def initialise(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        if not self._rows:
            self._rows = {row.shard: row for row in rows}
        return await self.list_shards()

    async def read_shard(self, shard: str) -> ShardRow | None:
        return self._rows.get(shard)

    async def replace_shard(self, row: ShardRow) -> bool:
        found = self._rows.get(row.shard)
        if found is None or found.version != row.version - 1:
            return False
        self._rows[row.shard] = row
        return True


class MemoryDocuments:
    """`perdure.store.contract.Documents` in a dict."""

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], Document] = {}

    async def read_document(self, kind: str, key: str) -> Document | None:
        return self._documents.get((kind, key))

    async def list_documents(self, kind: str) -> list[Document]:
        return [self._documents[at] for at in sorted(self._documents) if at[0] == kind]

    async def replace_document(self, document: Document) -> bool:
        at = (document.kind, document.key)
        found = self._documents.get(at)
        if document.version != (0 if found is None else found.version + 1):
            return False
        self._documents[at] = document
        return True
