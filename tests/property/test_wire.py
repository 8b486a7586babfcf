"""What goes in at one end comes out at the other: arguments and replies of every method between hosts."""

import contextlib
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.base.errors import PerdureError
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost
from perdure.rpc.codec import Named, named, reader, unnamed, write
from perdure.rpc.role_methods import HISTORY, MATCHING, SHARD_HOST, RoleMethod
from perdure.rpc.vocabulary import NAMED
from tests.property.wire_values import values

METHODS: list[tuple[RoleMethod, Any]] = [
    (method, getattr(role, name))
    for role, methods in ((HistoryRole, HISTORY), (MatchingRole, MATCHING), (ShardHost, SHARD_HOST))
    for name, method in methods.items()
]
each_method = pytest.mark.parametrize(("method", "function"), METHODS, ids=[method.path for method, _ in METHODS])


@pytest.mark.parametrize("name", sorted(NAMED))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_request_and_a_reply_of_the_vocabulary_come_back(name: str, data: st.DataObject) -> None:
    value = data.draw(values(NAMED[name]))
    found = unnamed(reader(Named)(write(named(value))))
    assert type(found) is type(value)
    assert found == value


@each_method
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_arguments_and_replies_come_back(method: RoleMethod, function: Any, data: st.DataObject) -> None:
    hints = get_type_hints(function)
    reply = data.draw(values(hints.pop("return")))
    arguments = [data.draw(values(hint)) for hint in hints.values()]
    assert method.read(method.write(*arguments)) == arguments
    assert method.read_reply(method.write_reply(reply)) == reply


@each_method
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_an_error_or_a_value(method: RoleMethod, function: Any, data: st.DataObject) -> None:
    hints = get_type_hints(function)
    body = bytearray(method.write(*(data.draw(values(hint)) for name, hint in hints.items() if name != "return")))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] ^= data.draw(st.integers(1, 255))
    else:
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    with contextlib.suppress(PerdureError):
        assert len(method.read(bytes(body))) == len(hints) - 1


@each_method
@settings(max_examples=40, deadline=None)
@given(body=st.binary(max_size=64))
def test_any_bytes_in_the_place_of_a_reply_are_an_error_or_a_value(
    method: RoleMethod, function: Any, body: bytes
) -> None:
    for kind in (b"", b"\0", b"\1"):
        with contextlib.suppress(PerdureError):
            method.read_reply(kind + body)
