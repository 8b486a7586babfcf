"""Whether a row matches a filter, in memory; and what an attribute's name stands for.

Invariant: every adapter that translates the filter tree gives the same rows as `matches`. An attribute that a run
doesn't have (no close time, no parent, no such custom attribute) equals nothing. Comparison is strict about types:
text never equals a number and a boolean never equals 1; whole and fractional numbers compare by value.

Knows no database, and not the language that the tree was parsed from.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload

from perdure.visibility.rows import VisibilityRow
from perdure.visibility.tree import And, Equals, Filter

Value = str | int | float | bool

# Attribute name -> field of VisibilityRow, for those that every run has.
ALWAYS: dict[str, str] = {
    "WorkflowId": "workflow_id",
    "RunId": "run_id",
    "WorkflowType": "workflow_type",
    "TaskQueue": "task_queue",
    "ExecutionStatus": "status",
    "HistoryLength": "history_length",
    "HistorySizeBytes": "history_bytes",
    "StateTransitionCount": "state_transitions",
}
# The same for those that a run may lack: 0 or "" in the row is none.
OPTIONAL: dict[str, str] = {
    "StartTime": "start_time_ns",
    "ExecutionTime": "execution_time_ns",
    "CloseTime": "close_time_ns",
    "ParentWorkflowId": "parent_workflow_id",
    "ParentRunId": "parent_run_id",
    "RootWorkflowId": "root_workflow_id",
    "RootRunId": "root_run_id",
}
EXECUTION_DURATION = "ExecutionDuration"
PREDEFINED = frozenset({*ALWAYS, *OPTIONAL, EXECUTION_DURATION})

_ALWAYS = {name: attrgetter(field) for name, field in ALWAYS.items()}
_OPTIONAL = {name: attrgetter(field) for name, field in OPTIONAL.items()}
_EMPTY_ROW = VisibilityRow("", "", "", 0)
_INT64 = 1 << 63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_json = msgspec.json.Decoder(float_hook=float)


def kind_of(value: Value) -> str:
    """`b`, `n` or `s`: values of different kinds are never equal."""
    if isinstance(value, bool):
        return "b"
    return "s" if isinstance(value, str) else "n"


def stored_value(value: Value) -> Value:
    """The value as it is compared: a whole number beyond 64 bits becomes a fraction, as databases hold it."""
    if type(value) is int and not -_INT64 <= value < _INT64:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def values(row: VisibilityRow, name: str) -> tuple[Value, ...]:
    """The values of an attribute: none, one, or the elements of a list."""
    always = _ALWAYS.get(name)
    if always is not None:
        return (always(row),)
    optional = _OPTIONAL.get(name)
    if optional is not None:
        value = optional(row)
        return (value,) if value else ()
    if name == EXECUTION_DURATION:
        return (row.close_time_ns - row.execution_time_ns,) if row.close_time_ns else ()
    payload = row.search_attributes.get(name)
    return () if payload is None else decode(payload)


def custom_values(search_attributes: Mapping[str, bytes]) -> dict[str, tuple[Value, ...]]:
    """Every custom attribute's values, by name; one that can't be read has none."""
    return {name: decode(payload) for name, payload in search_attributes.items()}


def decode(encoded: bytes) -> tuple[Value, ...]:
    """The values in an encoded Payload of JSON. Of type Datetime: nanoseconds since 1970. Empty if it holds none."""
    try:
        payload = Payload.FromString(encoded)
        content: Any = _json.decode(payload.data) if payload.data else None
    except (DecodeError, msgspec.DecodeError, ValueError):
        return ()
    found = content if isinstance(content, list) else [content]
    if payload.metadata.get("type") == b"Datetime":
        return tuple(stored_value(time) for time in map(_nanoseconds, found) if time is not None)
    return tuple(stored_value(value) for value in found if isinstance(value, str | int | float))


def _nanoseconds(text: Any) -> int | None:
    if not isinstance(text, str):
        return None
    # datetime keeps microseconds; the digits behind them are read here.
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if dot else ""
    try:
        moment = datetime.fromisoformat(head + tail[len(digits) :])
        whole = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return (whole.days * 86_400 + whole.seconds) * 1_000_000_000 + int(digits[:9].ljust(9, "0") if digits else 0)


def matches(condition: Filter | None, row: VisibilityRow) -> bool:
    """Whether `row` is what the filter asks for; None asks for every row."""
    return predicate(condition)(row)


def predicate(condition: Filter | None) -> Callable[[VisibilityRow], bool]:
    """`matches` for many rows of one filter."""
    if condition is None:
        return _always
    if isinstance(condition, And):
        parts = [_equals(part) for part in condition.parts]
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)
    return _equals(condition)


def workflow_id(condition: Filter | None) -> str | None:
    """The one workflow id that the filter asks for, so that a store may look there only; None if it asks for none."""
    parts = condition.parts if isinstance(condition, And) else (condition,)
    for part in parts:
        if isinstance(part, Equals) and part.attribute == "WorkflowId" and isinstance(part.value, str):
            return part.value
    return None


def _always(_: VisibilityRow) -> bool:
    return True


def _never(_: VisibilityRow) -> bool:
    return False


def _equals(condition: Equals) -> Callable[[VisibilityRow], bool]:
    name, wanted = condition.attribute, stored_value(condition.value)
    kind = kind_of(wanted)
    field = _ALWAYS.get(name) or _OPTIONAL.get(name)
    if field is None:
        return lambda row: any(value == wanted and kind_of(value) == kind for value in values(row, name))
    # A field has one kind of value, and none where it is 0 or "".
    if kind != kind_of(field(_EMPTY_ROW)) or (name in _OPTIONAL and not wanted):
        return _never
    return lambda row: bool(field(row) == wanted)
