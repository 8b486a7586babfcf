"""Errors between hosts: the names of an error's classes, the most exact first, and the fields that make it again.

Invariant: an error of the tree of `perdure.base.errors` arrives as the same class with the same fields, so that its
status and details are the same. One that this release doesn't know arrives as the nearest of its ancestors that it
does, or by its status. One that is about the way to a third host arrives as plain Unavailable. Tracebacks and causes
stay where they are.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import msgspec

from perdure.base import errors
from perdure.base.errors import Bug, PerdureError
from perdure.rpc.codec import Bytes, Unreadable, reader, write


class _Sent(msgspec.Struct, frozen=True, array_like=True):
    """`classes`: names, up to what is right below the root. `fields`: of the first known of them."""

    classes: list[str]
    status: int
    message: str
    fields: dict[str, msgspec.Raw] = {}


_read = reader(_Sent)
_read_several = reader(list[_Sent | None])
_CHILDREN_MAX = 16


class _Known:
    """A class of the tree: its constructor's arguments, each kept as an attribute of its name."""

    def __init__(self, class_: type[PerdureError]) -> None:
        self._class = class_
        hints = get_type_hints(class_.__init__)
        given = list(inspect.signature(class_.__init__).parameters.values())[1:]
        self.names = [each.name for each in given]
        self._required = {each.name for each in given if each.default is inspect.Parameter.empty}
        self._readers = {name: _field_reader(hints[name]) for name in self.names}

    def fields(self, error: PerdureError) -> dict[str, Any]:
        return {name: _field(getattr(error, name)) for name in self.names if name != "message"}

    def make(self, sent: _Sent) -> PerdureError | None:
        """The error; None if a field is missing without which it can't be made."""
        given = {name: self._readers[name](raw) for name, raw in sent.fields.items() if name in self._readers}
        if "message" in self._readers:
            given["message"] = sent.message
        return None if self._required - given.keys() else self._class(**given)


def _field_reader(type_: Any) -> Callable[[Bytes], Any]:
    if type_ != Sequence[PerdureError | None]:
        return reader(type_)

    def read(raw: Bytes) -> list[PerdureError | None]:
        several = _read_several(raw)
        if len(several) > _CHILDREN_MAX:
            raise Unreadable(f"an error of {len(several)} others")
        if any(each is not None and "errors" in each.fields for each in several):
            raise Unreadable("an error of others that are of others")
        return [None if each is None else _made(each) for each in several]

    return read


def _field(value: Any) -> Any:
    return [None if each is None else _sent(each) for each in value] if type(value) is tuple else value


def _tree(class_: type[PerdureError]) -> dict[str, _Known]:
    """The class and all below it that the tree's own module has."""
    found = {class_.__name__: _Known(class_)}
    for child in class_.__subclasses__():
        if child.__module__ == errors.__name__:
            found.update(_tree(child))
    return found


_KNOWN = _tree(PerdureError)
_BY_STATUS: dict[int, type[PerdureError]] = {
    class_.status: class_
    for class_ in (
        errors.InvalidArgument,
        errors.DeadlineExceeded,
        errors.NotFound,
        errors.AlreadyExists,
        errors.PermissionDenied,
        errors.FailedPrecondition,
        errors.Aborted,
        errors.Unimplemented,
        errors.Unavailable,
    )
}


def _sent(error: PerdureError) -> tuple[list[str], int, str, dict[str, Any]]:
    classes = [each.__name__ for each in type(error).__mro__ if issubclass(each, PerdureError)]
    if len(classes) > 1:
        classes.pop()  # the root says nothing
    if isinstance(error, errors.HostUnreachable):
        # That is a third host; to who asked this one it would say that nothing was done here.
        classes = classes[classes.index(errors.Unavailable.__name__) :]
    known = next((_KNOWN[name] for name in classes if name in _KNOWN), None)
    return classes, error.status, error.message, known.fields(error) if known is not None else {}


def write_error(error: PerdureError) -> bytes:
    """An error of the tree."""
    return write(_sent(error))


def read_error(body: Bytes) -> PerdureError:
    """The error that `write_error` wrote. Raises Unreadable."""
    try:
        return _made(_read(body))
    except (TypeError, ValueError, RecursionError) as error:
        # A value of the right type that a constructor can't use, as an enum's number that it has no name for.
        raise Unreadable(f"not readable as an error: {error}") from error


def _made(sent: _Sent) -> PerdureError:
    for name in sent.classes:
        known = _KNOWN.get(name)
        error = known.make(sent) if known is not None else None
        if error is not None:
            return error
    return _BY_STATUS.get(sent.status, Bug)(sent.message)
