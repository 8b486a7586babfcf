"""Shard rows and small documents in memory: both change by compare-and-set on a version."""

from collections.abc import Sequence

from perdure.store.contract import Document, ShardMap, ShardRow


class MemoryShards:
    """`perdure.store.contract.ShardStore` in a dict. Retired rows stay until they are removed."""

    def __init__(self) -> None:
        self._rows: dict[str, ShardRow] = {}
        self._map: ShardMap | None = None

    async def list_shards(self) -> list[ShardRow]:
        return [self._rows[shard] for _, shard in self._map.shards] if self._map is not None else []

    async def initialise(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        if self._map is None and rows:
            self._rows = {row.shard: row for row in rows}
            self._map = ShardMap(0, _sorted(rows))
        return await self.list_shards()

    async def read_shard(self, shard: str) -> ShardRow | None:
        return self._rows.get(shard)

    async def replace_shard(self, row: ShardRow) -> bool:
        found = self._rows.get(row.shard)
        if found is None or found.version != row.version - 1:
            return False
        self._rows[row.shard] = row
        return True

    async def read_map(self) -> ShardMap | None:
        return self._map

    async def reshape(self, at: int, retired: Sequence[str], created: Sequence[ShardRow]) -> bool:
        for row in created:
            self._rows.setdefault(row.shard, row)
        if self._map is None or self._map.version != at:
            return False
        kept = tuple(entry for entry in self._map.shards if entry[1] not in retired)
        self._map = ShardMap(at + 1, tuple(sorted(kept + _sorted(created))))
        return True

    async def list_unnamed(self) -> list[ShardRow]:
        named = {shard for _, shard in self._map.shards} if self._map is not None else set()
        return [row for row in self._rows.values() if row.shard not in named]

    async def remove_shard(self, shard: str, version: int) -> bool:
        found = self._rows.get(shard)
        if found is None or found.version != version:
            return False
        del self._rows[shard]
        return True


def _sorted(rows: Sequence[ShardRow]) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((row.slots.first, row.shard) for row in rows))


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
