"""Checkpoint tables in Cassandra: plain statements with the checkpoint's stamp, sent many at once.

Invariants: of one row the highest stamp wins in every cell, whatever the order of arrival; a snapshot and a pointer are
one cell, with the position they stand for. Their deletion leaves that cell for a day, and at the same stamp beats a
write, as a cell that expires does. Snapshots and pointers are sent when all else is durable.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import chain

from perdure.base.clock import Clock
from perdure.base.slots import ChainKey
from perdure.store.cassandra.index import CassandraIndex
from perdure.store.cassandra.session import Rows, Session
from perdure.store.cassandra.statements import read, stamped
from perdure.store.cassandra.tables import Sent, batches_of, in_batches
from perdure.store.contract import Checkpoint, Home, Node, Pointer, QueueCount, Snapshot
from perdure.workflow.tasks import Offer, QueueKey, Timer

_DELETION_S = 24 * 3600
# So many bytes of one checkpoint are in flight, and one row more.
_TOGETHER_BYTES = 4 << 20
# Nodes of a branch travel in batches up to here; larger ones alone.
_BATCH_BYTES = 128 << 10
# Nodes that are read before it is known how large they are here, and at most.
_FIRST_NODES = 8
_NODES_MAX = 256
_SMALL_NODE_BYTES = 512

_RUN = "namespace_id = ? AND workflow_id = ? AND run_id = ?"
_CHAIN = "namespace_id = ? AND workflow_id = ?"
_EXPIRING = f"USING TIMESTAMP ? AND TTL {_DELETION_S}"

_WRITE_SNAPSHOT = stamped(f"UPDATE snapshot USING TIMESTAMP ? SET body = ? WHERE {_RUN}")
_DELETE_SNAPSHOT = stamped(f"UPDATE snapshot {_EXPIRING} SET body = ? WHERE {_RUN}")
_READ_SNAPSHOT = read(f"SELECT body FROM snapshot WHERE {_RUN}")
_WRITE_POINTER = stamped(f"UPDATE pointer USING TIMESTAMP ? SET body = ? WHERE {_CHAIN}")
_DELETE_POINTER = stamped(f"UPDATE pointer {_EXPIRING} SET body = ? WHERE {_CHAIN}")
_READ_POINTER = read(f"SELECT body FROM pointer WHERE {_CHAIN}")

_WRITE_NODES = batches_of("UPDATE node SET end_id = ?, body = ? WHERE branch = ? AND first = ?")
_DROP_BRANCH = stamped("DELETE FROM node USING TIMESTAMP ? WHERE branch = ?")
_NODE = "SELECT first, end_id, body FROM node WHERE branch = ?"
_READ_NODES = read(f"{_NODE} AND first >= ? AND first < ? LIMIT ?")
_READ_NODES_BACK = read(f"{_NODE} AND first >= ? AND first < ? ORDER BY first DESC LIMIT ?")
_READ_NODE_UP_TO = read(f"{_NODE} AND first <= ? ORDER BY first DESC LIMIT 1")

# Of a partition's key, with what Cassandra puts around its parts.
_KEY_BYTES_MAX = 65_535
_PART_BYTES = 3
_CELL = struct.Struct(">q?")  # position, whether there is a body behind it


def _is_too_long(*key: str) -> bool:
    """Whether Cassandra has nothing under this key, as it takes none of that length; callers may ask for any."""
    return sum(len(part.encode()) + _PART_BYTES for part in key) > _KEY_BYTES_MAX


class CassandraCheckpoints:
    """`perdure.store.contract.Checkpoints`."""

    index_by_slot = False

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self._index = CassandraIndex(session, clock)

    async def write(self, checkpoint: Checkpoint) -> None:
        index = self._index.begin(checkpoint)
        is_durable = False
        try:
            await index.find_empty()
            await self._send(chain(_histories(checkpoint), index.statements()))
            is_durable = True
        finally:
            index.end(is_durable=is_durable)
        await self._send(_states(checkpoint))

    def adopt(self, home: Home) -> None:
        self._index.adopt(home)

    async def drop_index(self, home: Home, stamp_us: int) -> None:
        await self._index.drop(home, stamp_us)

    async def _send(self, work: Iterable[Sent]) -> None:
        """Send all of it, so many bytes at a time. Values are made when their turn comes."""
        together: list[Sent] = []
        size = 0
        for sent in work:
            together.append(sent)
            size += sum(len(value) for value in sent[1] if isinstance(value, bytes))
            if size >= _TOGETHER_BYTES:
                await self._session.all(together)
                together, size = [], 0
        if together:
            await self._session.all(together)

    async def read_snapshot(self, key: ChainKey, run_id: str) -> Snapshot | None:
        if _is_too_long(key.namespace_id, key.workflow_id, run_id):
            return None
        rows = await self._session.run(_READ_SNAPSHOT, (key.namespace_id, key.workflow_id, run_id))
        return Snapshot(key, run_id, *_decoded(rows[0][0])) if rows else None

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        if _is_too_long(key.namespace_id, key.workflow_id):
            return None
        rows = await self._session.run(_READ_POINTER, (key.namespace_id, key.workflow_id))
        return Pointer(key, *_decoded(rows[0][0])) if rows else None

    async def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        if first + 1 == end:
            return await self._overlapping(branch, first)
        taken = _Taken(branch, limit_bytes)
        while first < end and not taken.is_full:
            asked = taken.next_count()
            rows = await self._session.run(_READ_NODES, (branch, first, end, asked))
            if not taken.nodes and (not rows or rows[0][0] > first):
                # A node may begin before the range and reach into it.
                for node in await self._overlapping(branch, first):
                    taken.add((node.first, node.end, node.body))
            last = taken.take(rows)
            first = last + 1 if len(rows) == asked else end
        return taken.nodes

    async def read_nodes_back(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        taken = _Taken(branch, limit_bytes)
        while first < end and not taken.is_full:
            asked = taken.next_count()
            rows = await self._session.run(_READ_NODES_BACK, (branch, first, end, asked))
            end = taken.take(rows) if rows else end
            if len(rows) < asked:
                break
        if first < end and not taken.is_full:
            for node in await self._overlapping(branch, first):
                taken.add((node.first, node.end, node.body))
        return taken.nodes

    async def _overlapping(self, branch: str, event_id: int) -> list[Node]:
        """The node that has this event, if there is one."""
        rows = await self._session.run(_READ_NODE_UP_TO, (branch, event_id))
        return [Node(branch, *row) for row in rows if row[1] > event_id]

    async def read_offers(self, home: Home, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        return await self._index.read_offers(home, queue, after, limit)

    async def count_offers(self, home: Home) -> list[QueueCount]:
        return await self._index.count_offers(home)

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        return await self._index.read_timers(home, after, limit)


class _Taken:
    """Nodes that were read, up to and with the one that passes the limit; and how many to ask for next."""

    def __init__(self, branch: str, limit_bytes: int) -> None:
        self.nodes: list[Node] = []
        self.is_full = False
        self._branch = branch
        self._limit = limit_bytes
        self._size = 0

    def add(self, row: tuple[int, int, bytes]) -> None:
        if not self.is_full:
            self.nodes.append(Node(self._branch, *row))
            self._size += len(row[2])
            self.is_full = self._size > self._limit

    def take(self, rows: Rows) -> int:
        """The `first` of the last one, 0 if there is none."""
        for row in rows:
            self.add((row[0], row[1], row[2]))
        return int(rows[-1][0]) if rows else 0

    def next_count(self) -> int:
        """As many as the rest of the limit may need, by the size of those that came; a few if none have come."""
        left = max(0, self._limit - self._size)
        if not self.nodes:
            return min(_FIRST_NODES, left // _SMALL_NODE_BYTES + 1)
        mean = max(_SMALL_NODE_BYTES, self._size // len(self.nodes))
        return min(_NODES_MAX, left // mean + 1)


def _decoded(cell: bytes) -> tuple[int, bytes | None]:
    applied, is_there = _CELL.unpack_from(cell)
    return applied, cell[_CELL.size :] if is_there else None


def _encoded(applied: int, body: bytes | None) -> bytes:
    return _CELL.pack(applied, body is not None) + (body or b"")


def _states(checkpoint: Checkpoint) -> Iterator[Sent]:
    """Snapshots and pointers."""
    stamp = checkpoint.stamp_us
    for snapshot in checkpoint.snapshots:
        statement = _DELETE_SNAPSHOT if snapshot.body is None else _WRITE_SNAPSHOT
        key = snapshot.key
        cell = _encoded(snapshot.applied, snapshot.body)
        yield statement, (stamp, cell, key.namespace_id, key.workflow_id, snapshot.run_id)
    for pointer in checkpoint.pointers:
        statement = _DELETE_POINTER if pointer.body is None else _WRITE_POINTER
        key = pointer.key
        yield statement, (stamp, _encoded(pointer.applied, pointer.body), key.namespace_id, key.workflow_id)


def _histories(checkpoint: Checkpoint) -> Iterator[Sent]:
    """Nodes by branch, and branches that are dropped."""
    stamp = checkpoint.stamp_us
    dropped = {branch for _, branch in checkpoint.dropped_branches}
    for branch in dropped:
        yield _DROP_BRANCH, (stamp, branch)
    branches: dict[str, list[Node]] = {}
    for node in checkpoint.nodes:
        if node.branch not in dropped:
            branches.setdefault(node.branch, []).append(node)
    for nodes in branches.values():
        for together in _cut(nodes):
            rows = [(node.end, node.body, node.branch, node.first) for node in together]
            yield from in_batches(_WRITE_NODES, rows, stamp)


def _cut(nodes: list[Node]) -> Iterator[list[Node]]:
    """Nodes of one branch in lists that may travel together."""
    together: list[Node] = []
    size = 0
    for node in nodes:
        if together and size + len(node.body) > _BATCH_BYTES:
            yield together
            together, size = [], 0
        together.append(node)
        size += len(node.body)
    if together:
        yield together
