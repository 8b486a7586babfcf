"""Values of any type that a role's contract has, for tests of how they travel."""

import collections.abc
import dataclasses
import types
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from perdure.rpc.vocabulary import NAMED

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    bytes: st.binary(max_size=8),
    type(None): st.none(),
}
_FIELDS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: _SCALARS[str],
    FieldDescriptor.CPPTYPE_BOOL: _SCALARS[bool],
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: _SCALARS[int],
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: _SCALARS[float],
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 2),
}
_DEPTH = 2


@cache
def values(type_: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation. Any: of the vocabulary."""
    if type_ in _SCALARS:
        return _SCALARS[type_]
    if type_ is Any:
        return st.sampled_from(sorted(NAMED)).flatmap(lambda name: values(NAMED[name]))
    if get_origin(type_) is not None:
        return _composed(type_)
    if issubclass(type_, Enum):
        return st.sampled_from(list(type_))
    if issubclass(type_, Message):
        return st.composite(_message)(type_, _DEPTH)
    assert issubclass(type_, msgspec.Struct) or dataclasses.is_dataclass(type_), type_
    hints = {name: hint for name, hint in get_type_hints(type_).items() if not name.startswith("_")}
    return st.builds(type_, **{name: _later(hint) for name, hint in hints.items()})


def _later(type_: Any) -> st.SearchStrategy[Any]:
    def definition() -> st.SearchStrategy[Any]:
        return values(type_)

    return st.deferred(definition)


def _composed(type_: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(each) for each in arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(values(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*(values(each) for each in arguments))
    if origin in (list, collections.abc.Sequence):
        return st.lists(values(arguments[0]), max_size=2)
    assert origin in (dict, collections.abc.Mapping), type_
    return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)


def _message(draw: st.DrawFn, type_: type[Message], depth: int) -> Message:
    """A message with a few of its fields set."""
    message = type_()
    fields = [field for field in type_.DESCRIPTOR.fields if not field.is_repeated]
    for field in draw(st.lists(st.sampled_from(fields), max_size=3)) if fields else ():
        if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            is_bytes = field.type == FieldDescriptor.TYPE_BYTES
            setattr(message, field.name, draw(_SCALARS[bytes] if is_bytes else _FIELDS[field.cpp_type]))
        elif depth:
            inner = getattr(message, field.name)
            inner.CopyFrom(_message(draw, type(inner), depth - 1))
            inner.SetInParent()
    return message
