"""How a dynamic configuration value is read: what a key expects, and an error that says so. Knows no keys."""

from collections.abc import Callable
from typing import Any

import durationpy

from perdure.base.clock import DURATION_NS_MAX, MS_NS, SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.limits import AddressRule, RetryDefaults

_WHOLE_MAX = 1 << 53  # what every language and database holds


def whole(value: object) -> int:
    """A whole number from 1 on. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a whole number from 1 on, not {value!r}")
    return value


def up_to(most: int) -> Callable[[object], int]:
    """A whole number from 1 to what a store has to take: what it refuses as too large it refuses for ever, and a shard
    stands. Raises InvalidArgument.
    """

    def read(value: object) -> int:
        found = whole(value)
        if found > most:
            raise InvalidArgument(f"expected at most {most}, which stores take, not {value!r}")
        return found

    return read


def count(value: object) -> int:
    """A whole number from 0 on. Raises InvalidArgument."""
    if type(value) is not int or not 0 <= value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a whole number from 0 on, not {value!r}")
    return value


def number(value: object) -> float:
    """A number above 0. Raises InvalidArgument."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a number above 0, not {value!r}")
    return float(value)


def coefficient(value: object) -> float:
    """A number from 1 on. Raises InvalidArgument."""
    found = number(value)
    if found < 1:
        raise InvalidArgument(f"expected a number from 1 on, not {value!r}")
    return found


def flag(value: object) -> bool:
    """True or false. Raises InvalidArgument."""
    if not isinstance(value, bool):
        raise InvalidArgument(f"expected true or false, not {value!r}")
    return value


def duration_ns(value: object) -> int:
    """A Go-style duration, or a number of seconds. Raises InvalidArgument."""
    fault = InvalidArgument(f"expected a duration such as 10s, not {value!r}")
    if isinstance(value, bool):
        raise fault
    try:
        seconds = value if isinstance(value, int | float) else durationpy.from_str(str(value)).total_seconds()
    except (durationpy.DurationError, OverflowError) as error:
        raise fault from error
    if not 0 < seconds * SECOND_NS <= DURATION_NS_MAX:
        raise fault
    return int(seconds * SECOND_NS)


def pause_ns(value: object) -> int:
    """A duration that may be none. Raises InvalidArgument."""
    return 0 if value in (0, "0", "0s") and not isinstance(value, bool) else duration_ns(value)


def duration_ms(value: object) -> int:
    """A duration in milliseconds. Raises InvalidArgument."""
    milliseconds = duration_ns(value) // MS_NS
    if not 1 <= milliseconds < 1 << 31:  # a gRPC argument
        raise InvalidArgument(f"expected a duration from 1ms to 24 days, not {value!r}")
    return milliseconds


Read = Callable[[object], Any]
# Part of a retry policy, in lower case -> (field, reader). The first is how older configurations spell the second.
_RETRY: dict[str, tuple[str, Read]] = {
    "initialintervalinseconds": ("initial_interval_ns", duration_ns),
    "initialinterval": ("initial_interval_ns", duration_ns),
    "maximumintervalcoefficient": ("maximum_coefficient", coefficient),
    "backoffcoefficient": ("backoff_coefficient", coefficient),
    "maximumattempts": ("maximum_attempts", count),
}


def retry(value: object) -> RetryDefaults:
    """A retry policy, in the words of configurations. Raises InvalidArgument."""
    parts = "InitialInterval, MaximumIntervalCoefficient, BackoffCoefficient, MaximumAttempts"
    if not isinstance(value, dict):
        raise InvalidArgument(f"expected an object with {parts}, not {value!r}")
    fields: dict[str, Any] = {}
    for name, part in value.items():
        known = _RETRY.get(str(name).lower())
        if known is None:
            raise InvalidArgument(f"expected an object with {parts}; there is no {name!r}")
        field, read = known
        try:
            fields[field] = read(part)
        except InvalidArgument as error:
            raise InvalidArgument(f"{name}: {error.message}") from error
    return RetryDefaults(**fields)


def addresses(value: object) -> tuple[AddressRule, ...]:
    """Where callbacks may go. Raises InvalidArgument."""
    fault = InvalidArgument(f"expected a list of objects with Pattern and AllowInsecure, not {value!r}")
    if not isinstance(value, list):
        raise fault
    rules: list[AddressRule] = []
    for entry in value:
        if not isinstance(entry, dict):
            raise fault
        parts = {str(name).lower(): part for name, part in entry.items()}
        pattern, insecure = parts.pop("pattern", ""), parts.pop("allowinsecure", False)
        if parts or not isinstance(pattern, str) or not isinstance(insecure, bool):
            raise fault
        if pattern:
            rules.append(AddressRule(pattern, insecure))
    return tuple(rules)
