"""A request as the driver has it, less what it costs: most of a request's time in the driver goes into locks, an event
and a timer that only a waiting thread needs.

Invariant: how a request finds its node, what its errors mean and how it is prepared anew are the driver's own. Knows no
statement.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cassandra import OperationTimedOut
from cassandra.cluster import ResponseFuture
from cassandra.policies import FallthroughRetryPolicy
from cassandra.protocol import ExecuteMessage

# The names of the columns, and the rows as tuples; an empty answer is (), [].
Result = tuple[Sequence[str], list[tuple[Any, ...]]]
Done = Callable[[Result | None, bytes | None, Exception | None], None]

_KEY_PART = struct.Struct(">H")


class Prepared(NamedTuple):
    """A prepared statement, and how its values become bytes. `key`: which of them are the partition key."""

    statement: Any
    protocol: int
    serializers: Sequence[Callable[[object, int], bytes]]
    key: Sequence[int]


class Paging(NamedTuple):
    """`fetch`: rows of a page, None = all. `page`: where this one begins, None = at the start."""

    fetch: int | None
    page: bytes | None


class _Routed(NamedTuple):
    """What the driver's policies look at to find a node."""

    keyspace: str | None
    routing_key: bytes | None


def prepared(statement: Any) -> Prepared:
    """The driver's prepared statement, ready for requests."""
    serializers = [column.type.serialize for column in statement.column_metadata]
    return Prepared(statement, statement.protocol_version, serializers, statement.routing_key_indexes or ())


class Request(ResponseFuture):  # type: ignore[misc]  # the driver has no types
    """A prepared statement on its way. `done` gets the answer, in the driver's thread; `send_request` sends it.

    Raises TypeError for values that the columns don't take.
    """

    _retry_policy = FallthroughRetryPolicy()
    _continuous_paging_state = None
    # Read when a request goes on to a next node; our own timer ends it.
    timeout = None

    def __init__(self, session: Any, prepared: Prepared, values: Sequence[object], paging: Paging, done: Done) -> None:
        # Not the driver's own: it makes the locks, the event and the timer. All else that its methods read is here.
        statement = prepared.statement
        sent = _serialized(prepared, values)
        self.session = session
        self.prepared_statement = statement
        self.message = ExecuteMessage(
            statement.query_id,
            sent,
            statement.consistency_level,
            statement.serial_consistency_level,
            paging.fetch,
            paging.page,
            skip_meta=bool(statement.result_metadata),
            result_metadata_id=statement.result_metadata_id,
        )
        self._routes = session.cluster.profile_manager.default.load_balancing_policy
        self._asked: Any = None
        self.query_plan = self._routes.make_query_plan(
            session.keyspace, _Routed(session.keyspace, _routing_key(prepared, sent))
        )
        self.attempted_hosts: list[Any] = []
        self._errors: dict[Any, Any] = {}
        self._done = done

    def expire(self) -> None:
        """Its time is over: what comes later is of no use."""
        if self._asked is not None:
            self._routes.was_late(self._asked)
        if self._connection is None:
            self._set_final_exception(OperationTimedOut(self._errors, None))
        else:
            self._on_timeout()

    def _query(self, host: Any, message: Any = None, cb: Any = None) -> int | None:
        # The driver keeps the first number only. After a statement was prepared anew that number is another request's,
        # and a time-out here would take the answer from it.
        number: int | None = ResponseFuture._query(self, host, message, cb)
        if number is not None:
            self._req_id = number
            self._asked = host
        return number

    @staticmethod
    def row_factory(names: Sequence[str], rows: list[tuple[Any, ...]]) -> Result:
        """Rows as they are."""
        return names, rows

    def _set_final_result(self, response: Result | None) -> None:
        self._done(response, self._paging_state, None)

    def _set_final_exception(self, response: Exception) -> None:
        self._final_exception = response
        self._done(None, None, response)


def _serialized(prepared: Prepared, values: Sequence[object]) -> list[bytes | None]:
    protocol = prepared.protocol
    try:
        return [
            None if value is None else serialize(value, protocol)
            for serialize, value in zip(prepared.serializers, values, strict=True)
        ]
    except Exception as error:
        # What a column type raises for a value that is none of its own: nearly anything.
        raise TypeError(f"These values don't fit {prepared.statement.query_string}: {error}") from error


def _routing_key(prepared: Prepared, sent: Sequence[bytes | None]) -> bytes | None:
    """The partition's key as nodes hash it."""
    parts = [sent[index] or b"" for index in prepared.key]
    if len(parts) < 2:
        return parts[0] if parts else None
    return b"".join([_KEY_PART.pack(len(part)) + part + b"\0" for part in parts])
