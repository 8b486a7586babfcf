"""Requests say to a node what the driver's own say."""

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.cqltypes import BytesType, Int32Type, LongType, UTF8Type
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement

from perdure.store.cassandra.requests import Paging, Request, prepared

_TYPES = {"a": UTF8Type, "b": LongType, "c": Int32Type, "d": BytesType}
_VALUES = ("shärd", 1 << 40, -7, b"\x00\xff")


def _statement(key: Sequence[int]) -> Any:
    columns = [ColumnMetadata("ks", "t", name, kind) for name, kind in _TYPES.items()]
    return PreparedStatement(columns, b"id", list(key), "UPDATE t", "ks", 4, None, None)


class _Policy:
    """Remembers by what a node was looked for."""

    def __init__(self) -> None:
        self.asked: Any = None
        self.late: list[object] = []

    def make_query_plan(self, keyspace: str, query: Any) -> list[str]:
        self.asked = query
        return ["node"]

    def was_late(self, host: object) -> None:
        self.late.append(host)


def _request(statement: Any, values: Sequence[object], policy: _Policy | None = None) -> Any:
    profiles = SimpleNamespace(default=SimpleNamespace(load_balancing_policy=policy or _Policy()))
    session = SimpleNamespace(keyspace="ks", cluster=SimpleNamespace(profile_manager=profiles))
    return Request(session, prepared(statement), values, Paging(10, b"page"), lambda *answer: None)


@pytest.mark.parametrize("key", [(), (0,), (3,), (0, 1), (2, 0, 1)])
def test_values_and_their_partition_are_the_drivers(key: Sequence[int]) -> None:
    statement, policy = _statement(key), _Policy()
    bound = statement.bind(_VALUES)
    assert _request(statement, _VALUES, policy).message.query_params == bound.values
    assert (policy.asked.keyspace, policy.asked.routing_key) == ("ks", bound.routing_key)


def test_levels_and_paging_are_those_asked_for() -> None:
    statement = _statement((0,))
    statement.consistency_level, statement.serial_consistency_level = 6, 9
    message = _request(statement, _VALUES).message
    assert (message.consistency_level, message.serial_consistency_level) == (6, 9)
    assert (message.fetch_size, message.paging_state, message.timestamp) == (10, b"page", None)


def test_nothing_is_a_value_of_every_column() -> None:
    assert _request(_statement((0,)), ("a", None, None, None)).message.query_params == [b"a", None, None, None]


@pytest.mark.parametrize("values", [("a", 1, 2), ("a", 1, 2, b"", 3), ("a", "1", 2, b""), ("a", 1, 1 << 40, b"")])
def test_values_that_the_columns_do_not_take_are_a_mistake_of_ours(values: Sequence[object]) -> None:
    with pytest.raises(TypeError, match="UPDATE t"):
        _request(_statement((0,)), values)


class _Connection:
    """Takes requests, each under the next number; also its own pool, and node."""

    is_shutdown = False
    endpoint = "node"
    orphaned_threshold = 100

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.orphaned_request_ids: set[int] = set()
        self.requests = self._requests = dict[int, object]()
        self._number = 0

    def borrow_connection(self, timeout: float) -> tuple["_Connection", int]:
        self._number += 1
        return self, self._number

    def return_connection(self, connection: "_Connection", stream_was_orphaned: bool = False) -> None:
        pass

    def send_msg(self, message: object, number: int, cb: object, **_: object) -> int:
        self._requests[number] = message
        return 0


def test_a_time_out_after_a_statement_was_prepared_anew_takes_no_answer_from_others() -> None:
    told: list[Any] = []
    request, connection = _request(_statement((0,)), _VALUES), _Connection()
    request._done = lambda *answer: told.append(answer)
    request.session._pools = {connection: connection}
    request.session.submit = lambda *_: None
    request.query_plan = iter([connection])
    request.send_request()
    connection.requests.pop(1)  # answered: the statement is not prepared there
    request._reprepare("PREPARE", connection, connection, connection)
    connection.requests[1] = "another's"
    request.expire()
    assert connection.requests == {1: "another's"}
    assert connection.orphaned_request_ids == {2}
    assert len(told) == 1
    assert request._routes.late == [connection]
