"""Requests and replies of the admin service, which are `google.protobuf.Struct`: plain values by name.

Invariant: whatever a request holds, it is either what a method expects or an error that names the field. Numbers of a
reply are exact up to 2^53; times are text, in UTC.
"""

from datetime import UTC, datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument

TEXT_MAX = 1_000


def text_of(request: Struct, name: str, *, needed: bool = True) -> str:
    """A field that is text. Raises InvalidArgument."""
    value = request.fields[name].string_value if name in request.fields else ""
    if needed and not value:
        raise InvalidArgument(f"{name} is missing: expected text.")
    if len(value) > TEXT_MAX:
        raise InvalidArgument(f"{name} is longer than {TEXT_MAX} characters.")
    return value


def whole_of(request: Struct, name: str, otherwise: int) -> int:
    """A field that is a whole number. Raises InvalidArgument."""
    if name not in request.fields:
        return otherwise
    value = request.fields[name].number_value
    if request.fields[name].WhichOneof("kind") != "number_value" or not -(2**53) <= value <= 2**53 or value % 1:
        raise InvalidArgument(f"{name}: expected a whole number.")
    return int(value)


def texts_of(request: Struct, name: str, most: int) -> list[str]:
    """A field that is a list of texts, none empty. Raises InvalidArgument."""
    values = [value.string_value for value in request.fields[name].list_value.values] if name in request.fields else []
    if not values or not all(values):
        raise InvalidArgument(f"{name}: expected a list of texts.")
    if len(values) > most:
        raise InvalidArgument(f"{name}: expected at most {most}.")
    return values


def reply_of(values: dict[str, Any]) -> Struct:
    """A reply of plain values: None, bool, numbers, text, lists and dicts of them."""
    reply = Struct()
    reply.update(values)
    return reply


def time_text(time_ns: int) -> str:
    """A time for people and programs, "" for none."""
    if time_ns <= 0:
        return ""
    return datetime.fromtimestamp(time_ns / SECOND_NS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(time_ns: int) -> float:
    """Seconds, to the millisecond."""
    return round(time_ns / SECOND_NS, 3)
