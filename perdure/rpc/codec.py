"""How the values of the roles' contracts become bytes and come back: msgpack, with API messages inside as they are.

A value is written by its own type and read by the type that the contract gives its place; where the contract says Any
(`HistoryRole.transact`), a name from `perdure.rpc.vocabulary` goes before it. Invariants: what is read is of the type
that its place has, or `Unreadable` is raised; no length in the bytes makes more memory than there are bytes. Names and
positions are never used for anything else; new fields come last and have a default, so that hosts of two releases
understand each other. Refuses to know methods and connections.
"""

from collections.abc import Callable, MutableSequence
from typing import Any

import msgspec
from google.protobuf.message import DecodeError, Message

from perdure.base.errors import Bug, Unimplemented
from perdure.rpc.vocabulary import NAMED, name_of


class Unreadable(Bug):
    """Bytes of another host that aren't what they should be."""


Bytes = bytes | memoryview | msgspec.Raw
# What readers raise of bytes that are not theirs.
_FAULTS = (msgspec.MsgspecError, DecodeError, RecursionError, UnicodeDecodeError, OverflowError)


def _outgoing(value: Any) -> Any:
    if isinstance(value, Message):
        return value.SerializeToString()
    if isinstance(value, MutableSequence):  # a repeated field of a message
        return list(value)
    raise TypeError(f"{type(value).__name__} does not travel between hosts")


def _incoming(type_: type, value: Any) -> Any:
    if not issubclass(type_, Message) or type(value) is not bytes:
        raise TypeError(f"expected {type_.__name__}")
    return type_.FromString(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=_outgoing)


def write(value: Any) -> bytes:
    """A value whose type the reader knows."""
    try:
        return _encoder.encode(value)
    except (TypeError, OverflowError, RecursionError) as error:
        raise Bug(f"cannot be sent to another host: {error}") from error


def reader(type_: Any) -> Callable[[Bytes], Any]:
    """What reads values of a type. It raises Unreadable."""
    decode = msgspec.msgpack.Decoder(type_, dec_hook=_incoming).decode

    def read(body: Bytes) -> Any:
        try:
            return decode(body)
        except _FAULTS as error:
            raise Unreadable(f"not readable as {getattr(type_, '__name__', type_)}: {error}") from error

    return read


class Named(msgspec.Struct, frozen=True, array_like=True):
    """A value of the vocabulary with its name before it; `name` "" = None."""

    name: str
    value: msgspec.Raw


_readers: dict[str, Callable[[Bytes], Any]] = {}


def named(value: Any) -> tuple[str, Any]:
    """A value of the vocabulary, ready to be written in the place of a `Named`. Raises Bug for any other."""
    return name_of(value), value


def unnamed(found: Named) -> Any:
    """The value. Raises Unreadable; Unimplemented for a name that this release doesn't know."""
    read = _readers.get(found.name)
    if read is None:
        if found.name not in NAMED:
            raise Unimplemented(f"this host knows no {shown(found.name)}")
        read = _readers[found.name] = reader(NAMED[found.name])
    return read(found.value)


def shown(name: str) -> str:
    """A name from outside, as it may stand in a message."""
    return repr(name[:100])
