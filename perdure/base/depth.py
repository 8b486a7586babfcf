"""Parsing requests with room left in depth, so that whatever is made of one can be read again.

Libraries parse messages within messages a hundred deep and no deeper. What comes in a request is stored and handed out
further inside other messages: a failure of ninety-nine causes would make an event that no worker can read, and one of
a hundred a log that this server can't. What a request carries as bytes, and who reads it parses for himself, begins
at depth nought again, so it is parsed by the same rule. Invariant: a request that parses is at least `HEADROOM` short
of the limit. Knows no request by name.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

# A failure is deepest where a completion's reply carries the next task: four deeper than in the request that brought
# it; as the cause of a timeout it is five.
HEADROOM = 6
_LIBRARY_DEPTH = 100
# A level takes two bytes at the least: a tag and a length, or the two ends of a group.
_SHALLOW_BYTES = 2 * (_LIBRARY_DEPTH - HEADROOM)
_PACKAGE = "perdure.base.depth"
_Field = descriptor_pb2.FieldDescriptorProto


def parser(request: type[Message]) -> Callable[[bytes], Any]:
    """What parses bytes as `request`. It raises DecodeError also for what is too deep."""
    plain, within = request.FromString, _wrapper(request).FromString

    def parse(body: bytes) -> Any:
        if len(body) < _SHALLOW_BYTES:
            return plain(body)
        message: Any = within(_prefix(len(body)) + body)
        for _ in range(HEADROOM - 1):
            message = message.deeper
        return message.request

    return parse


@lru_cache(maxsize=4096)
def _prefix(size: int) -> bytes:
    """What makes `size` bytes of a request the innermost field of wrappers within wrappers."""
    prefix = b"\x12" + _varint(size)
    for _ in range(HEADROOM - 1):
        prefix = b"\x0a" + _varint(len(prefix) + size) + prefix
    return prefix


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


def _wrapper(request: type[Message]) -> type[Message]:
    """`message X { X deeper = 1; Request request = 2; }`, with X a name of its own for each class of requests."""
    pool = descriptor_pool.Default()
    wrapped = request.DESCRIPTOR
    name = wrapped.full_name.replace(".", "_")
    try:
        found = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto(
            name=f"perdure/base/depth/{name}.proto", package=_PACKAGE, dependency=[wrapped.file.name], syntax="proto3"
        )
        fields = {"deeper": f".{_PACKAGE}.{name}", "request": f".{wrapped.full_name}"}
        message = file.message_type.add(name=name)
        for number, (field, type_name) in enumerate(fields.items(), 1):
            message.field.add(
                name=field,
                number=number,
                type=_Field.TYPE_MESSAGE,
                label=_Field.LABEL_OPTIONAL,
                type_name=type_name,
            )
        pool.AddSerializedFile(file.SerializeToString())
        found = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(found)
