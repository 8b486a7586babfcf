"""Messages that differ from a good one in a single field, each time in another way that a hostile client may choose.

Walks the message's descriptor, so that fields which a new API brings are tried without anybody listing them. Refuses to
know which of the results are wrong: it is the server's task to say.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_DEPTH = 3
_LONG = "x" * 1001
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-1, -(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-1, -(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (1 << 31, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (1 << 63, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-1, 999, (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_BOOL: (True,),
    FieldDescriptor.CPPTYPE_FLOAT: (-1.0, float("nan"), float("inf"), float("-inf")),
    FieldDescriptor.CPPTYPE_DOUBLE: (-1.0, float("nan"), float("inf"), 1e308, -1e308),
}

Change = Callable[[Any], None]


def changes(message: Message) -> list[tuple[str, Change]]:
    """`(what is changed, what changes it)`; each is made for a message filled in like `message`."""
    return list(_changes(message, _DEPTH))


def _changes(message: Message, depth: int) -> Iterator[tuple[str, Change]]:
    for field in message.DESCRIPTOR.fields:
        name = field.name
        if field.is_repeated:
            yield from _of_repeated(field)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            if message.HasField(name):
                yield f"{name} unset", partial(_clear, name)
            else:
                yield f"{name} empty", partial(_touch, name)
            if depth > 1:
                for label, change in _changes(getattr(message, name), depth - 1):
                    yield f"{name}.{label}", partial(_inside, name, change)
        else:
            for value in _values(field):
                yield f"{name} = {value!r:.24}", partial(_put, name, value)


def _values(field: Any) -> tuple[Any, ...]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return (b"", b"\x00", b"\xff\xfe" * 8, b"\x93\xa0" * 400)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return ("", _LONG, "\x00", "\U0001f4a5", "/_sys/x", "../../x")
    return _INTEGERS[field.cpp_type]


def _of_repeated(field: Any) -> Iterator[tuple[str, Change]]:
    name, kind = field.name, field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        value = kind.fields_by_name["value"]
        if value.message_type is not None:
            yield f"{name} with an empty key", partial(_key, name, "")
            yield f"{name} with a long key", partial(_key, name, _LONG)
        else:
            for worst in _values(value):
                yield f"{name} with {worst!r:.24}", partial(_update, name, worst)
    elif kind is not None:
        yield f"{name} with an empty element", partial(_add, name, 1)
        yield f"{name} with many elements", partial(_add, name, 3000)
    else:
        for worst in _values(field):
            yield f"{name} with {worst!r:.24}", partial(_append, name, worst)


def _clear(name: str, message: Any) -> None:
    message.ClearField(name)


def _touch(name: str, message: Any) -> None:
    getattr(message, name).SetInParent()


def _inside(name: str, change: Change, message: Any) -> None:
    change(getattr(message, name))


def _put(name: str, value: object, message: Any) -> None:
    setattr(message, name, value)


def _key(name: str, key: str, message: Any) -> None:
    getattr(message, name)[key].SetInParent()


def _update(name: str, value: object, message: Any) -> None:
    getattr(message, name).update({"": value})


def _add(name: str, count: int, message: Any) -> None:
    for _ in range(count):
        getattr(message, name).add()


def _append(name: str, value: object, message: Any) -> None:
    getattr(message, name).append(value)
