"""The methods of the roles' contracts as they are called between hosts: path, arguments, reply.

Everything follows from the Protocols: arguments travel as an array in their order, each read by its annotation, and a
reply by the method's. A reply's first byte tells an answer from an error. Invariant: what a Protocol can say travels,
or this module can't be loaded. Refuses to know connections.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import msgspec
from google.protobuf.message import DecodeError, Message

from perdure.base.errors import PerdureError
from perdure.base.limits import MIB
from perdure.cluster.roles import Call, HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost
from perdure.rpc.codec import Named, Unreadable, named, reader, unnamed, write
from perdure.rpc.error_codec import read_error, write_error

# Of a request or a reply; what travels between roles is a completion, a page of a history, or less.
MESSAGE_BYTES_MAX = 128 * MIB
_ANSWER, _ERROR = b"\0", b"\1"


class RoleMethod:
    """A method of a role. `call_at`: where among its arguments the `Call` is, -1 = it has none."""

    def __init__(self, service: str, function: Callable[..., Any]) -> None:
        name = "".join(word.capitalize() for word in function.__name__.split("_"))
        self.path = f"/{service}/{name}"
        hints = get_type_hints(function)
        given = list(inspect.signature(function).parameters.values())[1:]
        types = [hints[each.name] for each in given]
        self.call_at = types.index(Call) if Call in types else -1
        self._named_at = types.index(Any) if Any in types else -1
        self._read = reader(_arguments(name, given, types))
        self._write_reply, self._read_reply = _reply(hints["return"])

    def write(self, *arguments: Any) -> bytes:
        """The bytes of a request. Raises Bug for what can't travel."""
        if self._named_at < 0:
            return write(arguments)
        sent = list(arguments)
        sent[self._named_at] = named(sent[self._named_at])
        return write(sent)

    def read(self, body: bytes) -> list[Any]:
        """The arguments. Raises Unreadable, Unimplemented."""
        found = list(msgspec.structs.astuple(self._read(body)))
        if self._named_at >= 0:
            found[self._named_at] = unnamed(found[self._named_at])
        return found

    def write_reply(self, reply: Any) -> bytes:
        """The bytes of an answer. Raises Bug for what can't travel."""
        return _ANSWER + self._write_reply(reply)

    def read_reply(self, body: bytes) -> Any:
        """The answer. Raises the error in its place, or Unreadable."""
        kind = body[:1]
        if kind == _ANSWER:
            return self._read_reply(body)
        if kind == _ERROR:
            raise read_error(memoryview(body)[1:])
        raise Unreadable("neither an answer nor an error")


def write_failure(error: PerdureError) -> bytes:
    """The bytes of an error in the place of an answer."""
    return _ERROR + write_error(error)


def _arguments(name: str, given: Sequence[inspect.Parameter], types: Sequence[Any]) -> type[msgspec.Struct]:
    """The arguments as a struct; more of them, as a newer host may send, are left alone."""
    fields: list[Any] = []
    for each, type_ in zip(given, types, strict=True):
        field = (each.name, Named if type_ is Any else type_)
        fields.append(field if each.default is inspect.Parameter.empty else (*field, each.default))
    return msgspec.defstruct(f"{name}Arguments", fields, array_like=True, frozen=True)


def _reply(type_: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """What writes and what reads an answer's bytes, of which the first isn't its own."""
    if type_ is type(None):
        return lambda _reply: b"", lambda _body: None
    if type_ is bytes:
        return lambda reply: reply, lambda body: body[1:]
    if type_ is Any:
        read_named = reader(Named)
        return lambda reply: write(named(reply)), lambda body: unnamed(read_named(memoryview(body)[1:]))
    if inspect.isclass(type_) and issubclass(type_, Message):
        return _message_reply(type_)
    read = reader(type_)
    return write, lambda body: read(memoryview(body)[1:])


def _message_reply(type_: type[Message]) -> tuple[Callable[[Message], bytes], Callable[[bytes], Message]]:
    def read(body: bytes) -> Message:
        try:
            return type_.FromString(body[1:])
        except DecodeError as error:
            raise Unreadable(f"not readable as {type_.__name__}: {error}") from error

    return lambda reply: reply.SerializeToString(), read


def _methods(role: type, service: str) -> dict[str, RoleMethod]:
    functions = [each for name, each in vars(role).items() if inspect.isfunction(each) and not name.startswith("_")]
    return {each.__name__: RoleMethod(service, each) for each in functions}


# The contract's name of a method -> how it travels.
HISTORY = _methods(HistoryRole, "perdure.internal.History")
MATCHING = _methods(MatchingRole, "perdure.internal.Matching")
SHARD_HOST = _methods(ShardHost, "perdure.internal.ShardHost")
