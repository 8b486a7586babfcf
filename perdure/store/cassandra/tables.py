"""The statements of index tables: what a bucket's partition, an order within it and a directory row are in CQL.

Invariant: all writes are stamped, and all rows of one write to one partition travel in few statements. Knows nothing of
when a bucket comes or goes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from perdure.base.slots import ChainKey
from perdure.store.cassandra.buckets import Bucket, Place, Scope
from perdure.store.cassandra.statements import Statement, read, stamped
from perdure.workflow.tasks import Offer, Timer, TimerKind, partition_of

T = TypeVar("T")
Sent = tuple[Statement, Sequence[object]]

MINUTE_NS = 60_000_000_000
# Rows of one partition travel together, in batches of these sizes: the history of a short run in one statement.
BATCHES = (16, 12, 8, 7, 6, 5, 4, 3, 2)
_REMOVED_TOGETHER = 100
_INT64_MAX = (1 << 63) - 1
_LEAST = {"priority": -(1 << 31), "pass": -(1 << 63), "minute": -(1 << 63)}

_encoder = msgspec.msgpack.Encoder()
_offer_decoder = msgspec.msgpack.Decoder(Offer)
_timer_decoder = msgspec.msgpack.Decoder(Timer)


def batches_of(part: str) -> dict[int, Statement]:
    """A stamped write of one row, and batches of it: `part` is the statement without its stamp."""
    verb, _, rest = part.partition(" SET ")
    single = stamped(f"{verb} USING TIMESTAMP ? SET {rest}")
    many = {
        size: stamped(f"BEGIN UNLOGGED BATCH USING TIMESTAMP ? {f'{part}; ' * size}APPLY BATCH") for size in BATCHES
    }
    return {**many, 1: single}


def in_batches(statements: dict[int, Statement], rows: Sequence[Sequence[object]], stamp_us: int) -> Iterator[Sent]:
    """The rows of one partition in as few statements as there are sizes for."""
    at = 0
    for size, statement in statements.items():
        while len(rows) - at >= size:
            yield statement, [stamp_us, *(value for row in rows[at : at + size] for value in row)]
            at += size


class Columns:
    """The columns of a table and its directory: `scope` and `place` are a bucket's, `order` those within it."""

    def __init__(self, scope: Sequence[str], place: Sequence[str], order: Sequence[str]) -> None:
        self.scope = ("shard", *scope)
        self.place = tuple(place)
        self.order = tuple(order)

    @property
    def bucket(self) -> tuple[str, ...]:
        return self.scope + self.place


class Table(Generic[T]):
    """One index table and its directory. `bucket` and `order`: where a row is; `row` makes it from order and body."""

    def __init__(
        self,
        name: str,
        columns: Columns,
        bucket: Callable[[T], Bucket],
        order: Callable[[T], tuple[Any, ...]],
        body: Callable[[T], bytes],
        row: Callable[[Sequence[Any]], T],
    ) -> None:
        self.bucket = bucket
        self.order = order
        self.row = row
        self._body = body
        key, order_columns, directory = _equal(columns.bucket), ", ".join(columns.order), f"{name}_bucket"
        marks = ", ".join("?" * len(columns.order))
        select = f"SELECT {order_columns}, body FROM {name} WHERE {key}"
        self._least = tuple(_LEAST[column] for column in columns.place)
        self._add = batches_of(f"UPDATE {name} SET body = ? WHERE {key} AND {_equal(columns.order)}")
        self._remove = stamped(f"DELETE FROM {name} USING TIMESTAMP ? WHERE {key} AND ({order_columns}) IN ?")
        self._drop = stamped(f"DELETE FROM {name} USING TIMESTAMP ? WHERE {key}")
        self._trim = stamped(f"DELETE FROM {name} USING TIMESTAMP ? WHERE {key} AND {columns.order[0]} < ?")
        self._read = read(f"{select} LIMIT ?")
        self._read_from = read(f"{select} AND {columns.order[0]} >= ? LIMIT ?")
        self._read_after = read(f"{select} AND ({order_columns}) > ({marks}) LIMIT ?")
        self._count = read(f"SELECT count(*), min({columns.order[0]}) FROM {name} WHERE {key}")
        every = ", ".join(columns.bucket)
        values = ", ".join("?" * len(columns.bucket))
        places = ", ".join(columns.place)
        self._enter = stamped(f"INSERT INTO {directory} ({every}) VALUES ({values}) USING TIMESTAMP ?")
        self._leave = stamped(f"DELETE FROM {directory} USING TIMESTAMP ? WHERE {key}")
        self._leave_all = stamped(
            f"DELETE FROM {directory} USING TIMESTAMP ? WHERE {_equal(columns.bucket[:-1])} AND minute <= ?"
        )
        self._forget = stamped(f"DELETE FROM {directory} USING TIMESTAMP ? WHERE shard = ?")
        self._scope_columns = len(columns.scope) - 1
        self._scopes = read(f"SELECT {', '.join(columns.bucket[1:])} FROM {directory} WHERE shard = ?")
        self._places = read(
            f"SELECT {places} FROM {directory} WHERE {_equal(columns.scope)}"
            f" AND ({places}) > ({', '.join('?' * len(columns.place))}) LIMIT ?"
        )

    def add(self, shard: str, bucket: Bucket, rows: Sequence[T], stamp_us: int) -> Iterator[Sent]:
        """Write rows of one bucket."""
        key = _key(shard, bucket)
        return in_batches(self._add, [(self._body(row), *key, *self.order(row)) for row in rows], stamp_us)

    def remove(self, shard: str, bucket: Bucket, rows: Sequence[T], stamp_us: int) -> Iterator[Sent]:
        """Delete rows of one bucket."""
        for at in range(0, len(rows), _REMOVED_TOGETHER):
            orders = [self.order(row) for row in rows[at : at + _REMOVED_TOGETHER]]
            yield self._remove, (stamp_us, *_key(shard, bucket), orders)

    def drop(self, shard: str, bucket: Bucket, stamp_us: int) -> Sent:
        """Delete all rows of a bucket."""
        return self._drop, (stamp_us, *_key(shard, bucket))

    def trim(self, shard: str, bucket: Bucket, low: int, stamp_us: int) -> Sent:
        """Delete all rows of a bucket before `low`, by the first part of their order."""
        return self._trim, (stamp_us, *_key(shard, bucket), low)

    def enter(self, shard: str, bucket: Bucket, stamp_us: int) -> Sent:
        """Write a bucket's directory row."""
        return self._enter, (*_key(shard, bucket), stamp_us)

    def leave(self, shard: str, bucket: Bucket, stamp_us: int, *, is_first: bool) -> Sent:
        """Delete a bucket's directory row; if there is none before it (but for the minute alike), with all that was
        there before it: one deletion then stands for all of them, and reading the directory goes over one.
        """
        return self._leave_all if is_first else self._leave, (stamp_us, *_key(shard, bucket))

    def forget(self, shard: str, stamp_us: int) -> Sent:
        """Delete the whole directory of a shard."""
        return self._forget, (stamp_us, shard)

    def read_from(self, shard: str, bucket: Bucket, low: int | None, limit: int) -> Sent:
        """Rows in order, from `low` on by the first part of their order."""
        if low is None:
            return self._read, (*_key(shard, bucket), limit)
        return self._read_from, (*_key(shard, bucket), min(low, _INT64_MAX), limit)

    def read_after(self, shard: str, bucket: Bucket, after: T, limit: int) -> Sent:
        """Rows in order, beyond one."""
        return self._read_after, (*_key(shard, bucket), *self.order(after), limit)

    def count(self, shard: str, bucket: Bucket) -> Sent:
        """How many rows a bucket has, and the lowest first part of their orders."""
        return self._count, _key(shard, bucket)

    def read_places(self, shard: str, scope: Scope, after: Place | None, limit: int) -> Sent:
        """The directory of one scope, beyond a place."""
        return self._places, (shard, *scope, *(self._least if after is None else after), limit)

    def read_scopes(self, shard: str) -> Sent:
        """The whole directory of a shard: scope and place."""
        return self._scopes, (shard,)

    def bucket_of(self, row: Sequence[Any]) -> Bucket:
        """The bucket of a row that `read_scopes` found."""
        return tuple(row[: self._scope_columns]), tuple(row[self._scope_columns :])


def _equal(columns: Sequence[str]) -> str:
    return " AND ".join(f"{column} = ?" for column in columns)


def _key(shard: str, bucket: Bucket) -> tuple[object, ...]:
    return shard, *bucket[0], *bucket[1]


def _offer_bucket(offer: Offer) -> Bucket:
    queue = partition_of(offer)
    priority, passed, scheduled_ns = offer.order[:3]
    scope = queue.namespace_id, queue.name, int(queue.kind), queue.version
    return scope, (priority, passed, scheduled_ns // MINUTE_NS)


def _due_ns(timer: Timer) -> int:
    """A timer due beyond 64 bits is kept as due at their end, and whole in its body."""
    return min(timer.due_ns, _INT64_MAX)


def _timer_order(timer: Timer) -> tuple[Any, ...]:
    key = timer.key
    identity = timer.run_id, int(timer.kind), timer.event_id, timer.attempt, timer.stamp
    return (_due_ns(timer), key.namespace_id, key.workflow_id, *identity)


def _timer_row(columns: Sequence[Any]) -> Timer:
    due_ns, namespace_id, workflow_id, run_id, kind, event_id, attempt, stamp, body = columns
    if body:
        return _timer_decoder.decode(body)
    return Timer(due_ns, ChainKey(namespace_id, workflow_id), run_id, TimerKind(kind), event_id, attempt, stamp)


OFFERS: Table[Offer] = Table(
    "offer",
    Columns(
        ("namespace_id", "queue", "kind", "queue_version"),
        ("priority", "pass", "minute"),
        ("scheduled_ns", "run_id", "event_id", "attempt", "task_stamp"),
    ),
    _offer_bucket,
    lambda offer: offer.order[2:],
    _encoder.encode,
    lambda columns: _offer_decoder.decode(columns[-1]),
)
TIMERS: Table[Timer] = Table(
    "timer",
    Columns(
        (),
        ("minute",),
        ("due_ns", "namespace_id", "workflow_id", "run_id", "kind", "event_id", "attempt", "task_stamp"),
    ),
    lambda timer: ((), (_due_ns(timer) // MINUTE_NS,)),
    _timer_order,
    lambda timer: b"" if timer.due_ns <= _INT64_MAX else _encoder.encode(timer),
    _timer_row,
)
