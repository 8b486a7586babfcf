"""The values that a filter compares with: read from text, and checked against the attribute's type.

Messages are the reference's, since people read them in the Web UI. Times become nanoseconds since 1970, statuses the
API's numbers, durations nanoseconds.
"""

import re
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import WorkflowExecutionStatus

from perdure.base.errors import InvalidArgument
from perdure.visibility.attributes import BOOL, DATETIME, DOUBLE, INT, type_name

Value = str | int | float | bool
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS_PREFIX = "WORKFLOW_EXECUTION_STATUS_"
_STATUS_NAMES: dict[int, str] = {
    number: "".join(word.capitalize() for word in name.removeprefix(_STATUS_PREFIX).split("_"))
    for name, number in WorkflowExecutionStatus.items()
}
_STATUSES: dict[str, int] = dict(WorkflowExecutionStatus.items())
_STATUSES |= {name: number for number, name in _STATUS_NAMES.items()}
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
}
_SPAN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_SPAN_LENGTH_MAX = 100
_CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d)", re.ASCII)


def invalid(message: str) -> InvalidArgument:
    """The refusal of a filter."""
    return InvalidArgument(f"invalid query: {message}")


def rfc3339_ns(text: str) -> int | None:
    """Nanoseconds since 1970 of an RFC 3339 time; None if it isn't one."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone == 'Z' else zone}")
        whole = moment - _EPOCH
    except (ValueError, OverflowError):
        return None
    return whole // timedelta(seconds=1) * 1_000_000_000 + int((fraction or "0")[:9].ljust(9, "0"))


def duration_ns(text: str) -> int | None:
    """Nanoseconds of `1h30m`, `-1.5d`, `01:30:00` or a plain number of nanoseconds; None if it is none of them."""
    if re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII):
        return int(text)
    sign = -1 if text.startswith("-") else 1
    rest = text.removeprefix("-") if sign < 0 else text.removeprefix("+")
    if len(rest) <= _SPAN_LENGTH_MAX and (clock := _CLOCK.fullmatch(rest)):
        hours, minutes, seconds = map(int, clock.groups())
        return sign * (hours * 3_600 + minutes * 60 + seconds) * 1_000_000_000
    spans = _SPAN.findall(rest) if len(rest) <= _SPAN_LENGTH_MAX else ()
    if not spans or "".join(number + unit for number, unit in spans) != rest:
        return None
    return sign * sum(round(float(number) * _UNITS_NS[unit]) for number, unit in spans)


def checked(alias: str, attribute: str, value_type: int, value: Value) -> Value:
    """`value` as the attribute is compared with it. Raises InvalidArgument where its type isn't the attribute's."""
    if not isinstance(value, bool):
        if attribute == "ExecutionStatus":
            return _status(value)
        if attribute == "ExecutionDuration":
            return _duration(value)
    fault = invalid(
        f"invalid expression: invalid value type for search attribute {alias} of type {type_name(value_type)}: "
        f"{_shown(value)} (type: {_go_type(value)})"
    )
    if value_type in (INT, DOUBLE):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif value_type == BOOL:
        fits = isinstance(value, bool)
    elif value_type == DATETIME:
        if isinstance(value, str):
            return _time(value)
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, str)
    if not fits:
        raise fault
    return value


def _time(text: str) -> int:
    time_ns = rfc3339_ns(text)
    if time_ns is None:
        raise invalid(f"invalid expression: unable to parse datetime '{text}'")
    return time_ns


def status_name(number: int) -> str:
    """`ContinuedAsNew` for WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, as filters and counts have it."""
    return _STATUS_NAMES[number]


def _status(value: Value) -> int:
    if isinstance(value, str):
        number = _STATUSES.get(value)
        if number is None:
            raise invalid(f"invalid expression: invalid ExecutionStatus value '{value}'")
        return number
    if isinstance(value, float):
        raise invalid("invalid expression: unexpected value type float64 for search attribute ExecutionStatus")
    if value not in _STATUSES.values():
        raise invalid(f"invalid expression: invalid ExecutionStatus value {value}")
    return value


def _duration(value: Value) -> int:
    if isinstance(value, float):
        raise invalid("invalid expression: unexpected value type float64 for search attribute ExecutionDuration")
    if isinstance(value, int):
        return value
    length_ns = duration_ns(value)
    if length_ns is None:
        raise invalid(f"invalid expression: invalid duration value for search attribute ExecutionDuration: {value}")
    return length_ns


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _go_type(value: Value) -> str:
    """The type's name as messages of the reference have it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    return "float64" if isinstance(value, float) else "string"
