"""Checkpoint tables in SQLite: plain statements in which the highest stamp wins. A whole checkpoint is one job, so
never torn.

A deletion's trace is kept for an hour, in the row itself where rows are read by their key, and in the table `tombstone`
where they are read in order, so that reading a queue or the timers never walks over what is gone. Index rows lie by
slot: of a home its slots count.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.slots import ChainKey, SlotRange
from perdure.store.contract import Checkpoint, Home, Node, Pointer, QueueCount, Snapshot
from perdure.store.sqlite.readers import Readers
from perdure.store.sqlite.statements import READ, STAMPED, SWEEP
from perdure.store.sqlite.writer import Writer
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer, TimerKind, partition_of

KEEP_US = 3600 * 1_000_000
_SWEEP_EVERY_NS = 60 * SECOND_NS
_INT64_MAX = (1 << 63) - 1

_encoder = msgspec.msgpack.Encoder()
_offer_decoder = msgspec.msgpack.Decoder(Offer)
_timer_decoder = msgspec.msgpack.Decoder(Timer)


class SqliteCheckpoints:
    """`perdure.store.contract.Checkpoints`."""

    index_by_slot = True

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._swept_ns = clock.monotonic_ns()

    def adopt(self, home: Home) -> None:
        """Nothing is remembered."""

    async def write(self, checkpoint: Checkpoint) -> None:
        now_us = self._clock.now_ns() // 1000
        sweep = self._clock.monotonic_ns() - self._swept_ns >= _SWEEP_EVERY_NS
        if sweep:
            self._swept_ns = self._clock.monotonic_ns()

        def write(connection: sqlite3.Connection) -> None:
            _write_keyed(connection, checkpoint, now_us)
            _write_index(connection, checkpoint, now_us)
            if sweep:
                for table in ("snapshot", "pointer", "tombstone"):
                    connection.execute(SWEEP[table], (now_us - KEEP_US,))

        await self._writer.run(write, _size(checkpoint))

    async def drop_index(self, home: Home, stamp_us: int) -> None:
        """Rows lie by slot: they are the next owner's."""

    async def read_snapshot(self, key: ChainKey, run_id: str) -> Snapshot | None:
        def read(connection: sqlite3.Connection) -> Snapshot | None:
            row = connection.execute(READ["snapshot"], (key.namespace_id, key.workflow_id, run_id)).fetchone()
            return None if row is None else Snapshot(key, run_id, row[0], row[1])

        return await self._readers.run(read)

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        def read(connection: sqlite3.Connection) -> Pointer | None:
            row = connection.execute(READ["pointer"], (key.namespace_id, key.workflow_id)).fetchone()
            return None if row is None else Pointer(key, row[0], row[1])

        return await self._readers.run(read)

    async def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        return await self._nodes("nodes", branch, first, end, limit_bytes)

    async def read_nodes_back(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        return await self._nodes("nodes_back", branch, first, end, limit_bytes)

    async def _nodes(self, statement: str, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        def read(connection: sqlite3.Connection) -> list[Node]:
            nodes: list[Node] = []
            size = 0
            rows = connection.execute(READ[statement], {"branch": branch, "first": first, "end": end})
            for node_first, node_end, body in rows:
                nodes.append(Node(branch, node_first, node_end, body))
                size += len(body)
                if size > limit_bytes:
                    break
            rows.close()
            return nodes

        return await self._readers.run(read)

    async def read_offers(self, home: Home, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        values = _queue_values(queue) | _slot_values(home.slots) | {"limit": limit}
        if after is not None:
            values |= _order_values(after)
        statement = READ["offers_from_start" if after is None else "offers"]
        return await self._readers.run(
            lambda connection: [_offer_decoder.decode(body) for (body,) in connection.execute(statement, values)]
        )

    async def count_offers(self, home: Home) -> list[QueueCount]:
        def read(connection: sqlite3.Connection) -> list[QueueCount]:
            return [
                QueueCount(QueueKey(namespace_id, name, QueueKind(kind), version), count, oldest_ns)
                for namespace_id, name, kind, version, count, oldest_ns in connection.execute(
                    READ["count_offers"], _slot_values(home.slots)
                )
            ]

        return await self._readers.run(read)

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        values = _slot_values(home.slots) | {"limit": limit}
        if after is not None:
            values |= _timer_values(after)
        statement = READ["timers_from_start" if after is None else "timers"]
        return await self._readers.run(
            lambda connection: [_timer(row) for row in connection.execute(statement, values)]
        )


def _write_keyed(connection: sqlite3.Connection, checkpoint: Checkpoint, now_us: int) -> None:
    """Rows that are read by their key, and branches."""
    stamp = checkpoint.stamp_us
    connection.executemany(
        STAMPED["snapshot"],
        [
            (*_chain(row.key), row.run_id, stamp, _gone(row.body, now_us), row.applied, row.body)
            for row in checkpoint.snapshots
        ],
    )
    connection.executemany(
        STAMPED["pointer"],
        [(*_chain(row.key), stamp, _gone(row.body, now_us), row.applied, row.body) for row in checkpoint.pointers],
    )
    connection.executemany(
        STAMPED["node"],
        [
            {
                "branch": node.branch,
                "first": node.first,
                "end_id": node.end,
                "body": node.body,
                "stamp_us": stamp,
                "row": _digest(node.branch),
            }
            for node in checkpoint.nodes
        ],
    )
    branches = [branch for _, branch in checkpoint.dropped_branches]
    connection.executemany(STAMPED["tombstone"], _tombstones(map(_digest, branches), stamp, now_us))
    connection.executemany(STAMPED["drop_branch"], [(branch, stamp) for branch in branches])


def _write_index(connection: sqlite3.Connection, checkpoint: Checkpoint, now_us: int) -> None:
    """Offers and timers. What is both removed and added is added."""
    stamp = {"stamp_us": checkpoint.stamp_us}
    offers = {_digest((partition_of(offer), offer.order)): offer for offer in checkpoint.added_offers}
    timers = {_digest(timer): timer for timer in checkpoint.added_timers}
    removed_offers = {_digest((partition_of(offer), offer.order)): offer for offer in checkpoint.removed_offers}
    removed_timers = {_digest(timer): timer for timer in checkpoint.removed_timers}
    gone_offers = [row for row in removed_offers if row not in offers]
    gone_timers = [row for row in removed_timers if row not in timers]
    tombstones = _tombstones([*gone_offers, *gone_timers], checkpoint.stamp_us, now_us)
    connection.executemany(STAMPED["tombstone"], tombstones)
    connection.executemany(
        STAMPED["remove_offer"],
        [_offer_values(removed_offers[row]) | stamp for row in gone_offers],
    )
    connection.executemany(
        STAMPED["remove_timer"],
        [_timer_values(removed_timers[row]) | stamp for row in gone_timers],
    )
    connection.executemany(
        STAMPED["add_offer"],
        [
            _offer_values(offer) | stamp | {"row": row, "slot": offer.key.slot, "body": _encoder.encode(offer)}
            for row, offer in offers.items()
        ],
    )
    connection.executemany(
        STAMPED["add_timer"],
        [
            _timer_values(timer) | stamp | {"row": row, "slot": timer.key.slot, "body": _timer_body(timer)}
            for row, timer in timers.items()
        ],
    )


def _tombstones(rows: Iterable[bytes], stamp: int, now_us: int) -> list[dict[str, Any]]:
    return [{"row": row, "stamp_us": stamp, "gone_us": now_us} for row in rows]


def _digest(row: Any) -> bytes:
    """A row's key in 16 bytes. A branch is text, an offer's key an array of two, a timer's of seven: no two kinds are
    alike.
    """
    return hashlib.blake2b(_encoder.encode(row), digest_size=16).digest()


def _chain(key: ChainKey) -> tuple[str, str]:
    return key.namespace_id, key.workflow_id


def _gone(body: bytes | None, now_us: int) -> int | None:
    return now_us if body is None else None


def _queue_values(queue: QueueKey) -> dict[str, Any]:
    return {
        "namespace_id": queue.namespace_id,
        "queue": queue.name,
        "kind": int(queue.kind),
        "queue_version": queue.version,
    }


def _order_values(offer: Offer) -> dict[str, Any]:
    names = ("priority", "pass", "scheduled_ns", "run_id", "event_id", "attempt", "task_stamp")
    return dict(zip(names, offer.order, strict=True))


def _offer_values(offer: Offer) -> dict[str, Any]:
    return _queue_values(partition_of(offer)) | _order_values(offer)


def _slot_values(slots: SlotRange) -> dict[str, Any]:
    return {"slot_first": slots.first, "slot_end": slots.end}


def _timer_values(timer: Timer) -> dict[str, Any]:
    return {
        "due_ns": min(timer.due_ns, _INT64_MAX),
        "namespace_id": timer.key.namespace_id,
        "workflow_id": timer.key.workflow_id,
        "run_id": timer.run_id,
        "kind": int(timer.kind),
        "event_id": timer.event_id,
        "attempt": timer.attempt,
        "task_stamp": timer.stamp,
    }


def _timer_body(timer: Timer) -> bytes | None:
    return None if timer.due_ns <= _INT64_MAX else _encoder.encode(timer)


def _timer(row: tuple[Any, ...]) -> Timer:
    due_ns, namespace_id, workflow_id, run_id, kind, event_id, attempt, stamp, body = row
    if body is not None:
        return _timer_decoder.decode(body)
    return Timer(due_ns, ChainKey(namespace_id, workflow_id), run_id, TimerKind(kind), event_id, attempt, stamp)


def _size(checkpoint: Checkpoint) -> int:
    """About how many bytes a checkpoint keeps in memory."""
    bodies = sum(len(snapshot.body or b"") for snapshot in checkpoint.snapshots)
    bodies += sum(len(pointer.body or b"") for pointer in checkpoint.pointers)
    index = len(checkpoint.added_offers) + len(checkpoint.removed_offers)
    index += len(checkpoint.added_timers) + len(checkpoint.removed_timers)
    return bodies + sum(len(node.body) for node in checkpoint.nodes) + 512 * index
