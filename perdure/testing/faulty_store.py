"""Any store, with faults: wraps the interfaces and asks `Faults` what happens to each operation.

Invariant: it adds no outcome that the store's contract doesn't allow. Several hosts share one `Faults` and the store
inside, each through a `FaultyStore` of its own, so that one's late write lands among the others' operations.
"""

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from typing import TypeVar

from perdure.base.slots import ChainKey
from perdure.store.contract import (
    Checkpoint,
    Checkpoints,
    Document,
    Documents,
    Group,
    Home,
    LeaseRow,
    LeaseStore,
    LogStore,
    Node,
    Pointer,
    QueueCount,
    SegmentHeader,
    SegmentId,
    ShardMap,
    ShardRow,
    ShardStore,
    Snapshot,
    Store,
    VisibilityStore,
    Written,
)
from perdure.testing.store_faults import Faults
from perdure.visibility.rows import VisibilityPage, VisibilityQuery, VisibilityRow
from perdure.workflow.tasks import Offer, QueueKey, Timer

T = TypeVar("T")
_Row = TypeVar("_Row", Offer, Timer)


class Writers:
    """Who wrote each index row last, by its stamp, and when."""

    def __init__(self) -> None:
        self.now = 0
        self._rows: dict[tuple[str, Offer | Timer], tuple[int, str, int]] = {}

    def wrote(self, host: str, checkpoint: Checkpoint) -> None:
        """A host's rows are there."""
        self.now += 1
        stamp, shard = checkpoint.stamp_us, checkpoint.home.shard
        added: list[Offer | Timer] = [*checkpoint.added_offers, *checkpoint.added_timers]
        removed: list[Offer | Timer] = [*checkpoint.removed_offers, *checkpoint.removed_timers]
        for row in added:
            before = self._rows.get((shard, row))
            if before is None or before[0] <= stamp:
                self._rows[shard, row] = stamp, host, self.now
        for row in removed:
            before = self._rows.get((shard, row))
            if before is not None and before[0] <= stamp:
                del self._rows[shard, row]

    def is_news(self, home: Home, row: Offer | Timer, host: str, since: int) -> bool:
        """Whether another host has written it since then."""
        _, writer, at = self._rows.get((home.shard, row), (0, host, 0))
        return writer != host and at > since


class FaultyStore:
    """`inner` as `host` sees it. `writers`: of all its hosts, where one may have a shard again. Closing it leaves the
    store inside open: it is shared.
    """

    def __init__(self, inner: Store, faults: Faults, host: str = "", writers: Writers | None = None) -> None:
        self.faults = faults
        self.is_shared = inner.is_shared
        self.log = FaultyLog(inner.log, faults, host)
        self.shards = FaultyShards(inner.shards, faults, host)
        self.leases = FaultyLeases(inner.leases, faults, host)
        self.checkpoints = FaultyCheckpoints(inner.checkpoints, faults, host, writers or Writers())
        self.visibility = FaultyVisibility(inner.visibility, faults, host)
        self.documents = FaultyDocuments(inner.documents, faults, host)

    async def close(self) -> None:
        """Nothing to release here."""


class FaultyLog:
    """`LogStore`."""

    def __init__(self, inner: LogStore, faults: Faults, host: str) -> None:
        self._inner = inner
        self._faults = faults
        self._host = host

    async def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Written:
        return await self._faults.perform(
            "open_segment",
            lambda: self._inner.open_segment(segment, header),
            host=self._host,
            write=True,
            place=segment,
        )

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        return await self._faults.perform(
            "append", lambda: self._inner.append(segment, epoch, group), host=self._host, write=True, place=segment
        )

    async def link(self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int) -> Written:
        async def link() -> Written:
            written = await self._inner.link(segment, epoch, last, following, new_epoch)
            if written.applied and new_epoch != epoch:
                self._faults.epoch_raised()
            return written

        return await self._faults.perform("link", link, host=self._host, write=True, place=segment)

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        return await self._faults.perform(
            "read_header", lambda: self._inner.read_header(segment), host=self._host, place=segment
        )

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        return await self._faults.perform(
            "read_groups", lambda: self._inner.read_groups(segment, after, limit), host=self._host
        )

    async def drop_segment(self, segment: SegmentId) -> None:
        await self._faults.perform(
            "drop_segment", lambda: self._inner.drop_segment(segment), host=self._host, write=True
        )

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        return await self._faults.perform(
            "list_segments", lambda: self._inner.list_segments(place, limit), host=self._host
        )


class FaultyShards:
    """`ShardStore`."""

    def __init__(self, inner: ShardStore, faults: Faults, host: str) -> None:
        self._inner = inner
        self._faults = faults
        self._host = host

    async def list_shards(self) -> list[ShardRow]:
        return await self._faults.perform("list_shards", self._inner.list_shards, host=self._host)

    async def initialise(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        return await self._faults.perform(
            "initialise", lambda: self._inner.initialise(rows), host=self._host, write=True, place="shard map"
        )

    async def read_shard(self, shard: str) -> ShardRow | None:
        return await self._faults.perform(
            "read_shard", lambda: self._inner.read_shard(shard), host=self._host, place=("shard", shard)
        )

    async def replace_shard(self, row: ShardRow) -> bool:
        return await self._faults.perform(
            "replace_shard",
            lambda: self._inner.replace_shard(row),
            host=self._host,
            write=True,
            place=("shard", row.shard),
        )

    async def read_map(self) -> ShardMap | None:
        return await self._faults.perform("read_map", self._inner.read_map, host=self._host, place="shard map")

    async def reshape(self, at: int, retired: Sequence[str], created: Sequence[ShardRow]) -> bool:
        return await self._faults.perform(
            "reshape",
            lambda: self._inner.reshape(at, retired, created),
            host=self._host,
            write=True,
            part=lambda: self._inner.reshape(-1, (), created),  # the rows, and no map that names them
            place="shard map",
        )

    async def list_unnamed(self) -> list[ShardRow]:
        return await self._faults.perform("list_unnamed", self._inner.list_unnamed, host=self._host)

    async def remove_shard(self, shard: str, version: int) -> bool:
        return await self._faults.perform(
            "remove_shard",
            lambda: self._inner.remove_shard(shard, version),
            host=self._host,
            write=True,
            place=("shard", shard),
        )


class FaultyLeases:
    """`LeaseStore`."""

    def __init__(self, inner: LeaseStore, faults: Faults, host: str) -> None:
        self._inner = inner
        self._faults = faults
        self._host = host

    async def read_lease(self, host: str) -> LeaseRow | None:
        return await self._faults.perform(
            "read_lease", lambda: self._inner.read_lease(host), host=self._host, place=("lease", host)
        )

    async def replace_lease(self, row: LeaseRow) -> bool:
        return await self._faults.perform(
            "replace_lease",
            lambda: self._inner.replace_lease(row),
            host=self._host,
            write=True,
            place=("lease", row.host),
        )

    async def remove_lease(self, host: str, version: int) -> bool:
        return await self._faults.perform(
            "remove_lease",
            lambda: self._inner.remove_lease(host, version),
            host=self._host,
            write=True,
            place=("lease", host),
        )


class FaultyCheckpoints:
    """`Checkpoints`, as of an adapter that remembers index rows: what others have written since a host adopted a home
    it doesn't see. Where they are kept by slot nobody remembers them.
    """

    def __init__(self, inner: Checkpoints, faults: Faults, host: str, writers: Writers) -> None:
        self._inner = inner
        self._faults = faults
        self.host = host
        self._writers = writers
        self._adopted: dict[str, int] = {}

    @property
    def index_by_slot(self) -> bool:
        return self._inner.index_by_slot

    def adopt(self, home: Home) -> None:
        self._inner.adopt(home)
        self._adopted[home.shard] = self._writers.now

    async def drop_index(self, home: Home, stamp_us: int) -> None:
        await self._faults.perform(
            "drop_index", lambda: self._inner.drop_index(home, stamp_us), host=self.host, write=True
        )

    async def write(self, checkpoint: Checkpoint) -> None:
        await self._faults.perform(
            "write",
            lambda: self._written(checkpoint),
            host=self.host,
            write=True,
            part=lambda: self._written(self._part(checkpoint)),
        )

    async def _written(self, checkpoint: Checkpoint) -> None:
        await self._inner.write(checkpoint)
        if not self._inner.index_by_slot:
            self._writers.wrote(self.host, checkpoint)

    async def _known(
        self, home: Home, read: Callable[[_Row | None, int], Awaitable[list[_Row]]], after: _Row | None, limit: int
    ) -> list[_Row]:
        """The rows that an adapter finds which remembers."""
        since = self._adopted.get(home.shard, 0)
        found: list[_Row] = []
        while True:
            page = await read(after, limit)
            found += [row for row in page if not self._writers.is_news(home, row, self.host, since)]
            if len(page) < limit or len(found) >= limit:
                return found[:limit]
            after = page[-1]

    def _part(self, checkpoint: Checkpoint) -> Checkpoint:
        """What a crash leaves: some of the other rows and no snapshot, or all of them and some snapshots."""

        def some(rows: list[T]) -> list[T]:
            return [row for row in rows if self._faults.keep()]

        part = copy(checkpoint)
        if self._faults.keep():
            part.snapshots = some(checkpoint.snapshots)
            part.pointers = some(checkpoint.pointers)
            return part
        part.snapshots, part.pointers = [], []
        part.nodes = some(checkpoint.nodes)
        part.dropped_branches = some(checkpoint.dropped_branches)
        part.added_offers = some(checkpoint.added_offers)
        part.removed_offers = some(checkpoint.removed_offers)
        part.added_timers = some(checkpoint.added_timers)
        part.removed_timers = some(checkpoint.removed_timers)
        return part

    async def read_snapshot(self, key: ChainKey, run_id: str) -> Snapshot | None:
        return await self._faults.perform(
            "read_snapshot", lambda: self._inner.read_snapshot(key, run_id), host=self.host
        )

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        return await self._faults.perform("read_pointer", lambda: self._inner.read_pointer(key), host=self.host)

    async def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        return await self._faults.perform(
            "read_nodes", lambda: self._inner.read_nodes(branch, first, end, limit_bytes), host=self.host
        )

    async def read_nodes_back(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        return await self._faults.perform(
            "read_nodes_back", lambda: self._inner.read_nodes_back(branch, first, end, limit_bytes), host=self.host
        )

    async def read_offers(self, home: Home, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        return await self._faults.perform(
            "read_offers",
            lambda: self._known(home, partial(self._inner.read_offers, home, queue), after, limit),
            host=self.host,
        )

    async def count_offers(self, home: Home) -> list[QueueCount]:
        return await self._faults.perform("count_offers", lambda: self._inner.count_offers(home), host=self.host)

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        return await self._faults.perform(
            "read_timers",
            lambda: self._known(home, partial(self._inner.read_timers, home), after, limit),
            host=self.host,
        )


class FaultyVisibility:
    """`VisibilityStore`."""

    def __init__(self, inner: VisibilityStore, faults: Faults, host: str) -> None:
        self._inner = inner
        self._faults = faults
        self._host = host

    async def upsert(self, rows: Sequence[VisibilityRow]) -> None:
        await self._faults.perform(
            "upsert",
            lambda: self._inner.upsert(rows),
            host=self._host,
            write=True,
            part=lambda: self._inner.upsert([row for row in rows if self._faults.keep()]),
        )

    async def list(self, query: VisibilityQuery) -> VisibilityPage:
        return await self._faults.perform("list", lambda: self._inner.list(query), host=self._host)

    async def count(self, query: VisibilityQuery) -> int:
        return await self._faults.perform("count", lambda: self._inner.count(query), host=self._host)

    async def count_by_status(self, query: VisibilityQuery) -> dict[int, int]:
        return await self._faults.perform(
            "count_by_status", lambda: self._inner.count_by_status(query), host=self._host
        )

    async def overdue(
        self, namespace_id: str, closed_before_ns: int, place: bytes, limit: int
    ) -> tuple[Sequence[VisibilityRow], bytes]:
        return await self._faults.perform(
            "overdue", lambda: self._inner.overdue(namespace_id, closed_before_ns, place, limit), host=self._host
        )


class FaultyDocuments:
    """`Documents`."""

    def __init__(self, inner: Documents, faults: Faults, host: str) -> None:
        self._inner = inner
        self._faults = faults
        self._host = host

    async def read_document(self, kind: str, key: str) -> Document | None:
        return await self._faults.perform(
            "read_document", lambda: self._inner.read_document(kind, key), host=self._host
        )

    async def list_documents(self, kind: str) -> list[Document]:
        return await self._faults.perform("list_documents", lambda: self._inner.list_documents(kind), host=self._host)

    async def replace_document(self, document: Document) -> bool:
        return await self._faults.perform(
            "replace_document",
            lambda: self._inner.replace_document(document),
            host=self._host,
            write=True,
            place=("document", document.kind),
        )
