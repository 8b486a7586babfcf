"""Dynamic configuration values: the keys that self-hosters know, where the thing they configure exists here.

A key that is not known here is reported, never an error: test environments of SDKs set keys of features to come.
"""

from collections.abc import Callable, Iterable
from typing import Any

import durationpy
import msgspec

from perdure.base.clock import DURATION_NS_MAX, SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits

_WHOLE_MAX = 1 << 53  # what every language and database holds


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a whole number from 1 on, not {value!r}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a number above 0, not {value!r}")
    return float(value)


def _duration_ns(value: object) -> int:
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


# lower-case key -> (field of Limits, reader of the value)
KEYS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "limit.maxidlength": ("id_bytes_max", _whole),
    "limit.blobsize.error": ("blob_bytes_max", _whole),
    "limit.memosize.error": ("memo_bytes_max", _whole),
    "limit.historysize.error": ("history_bytes_max", _whole),
    "limit.historysize.suggestcontinueasnew": ("history_bytes_suggest_continue", _whole),
    "limit.historycount.error": ("history_events_max", _whole),
    "limit.historycount.suggestcontinueasnew": ("history_events_suggest_continue", _whole),
    "limit.numpendingactivities.error": ("pending_activities_max", _whole),
    "system.transactionsizelimit": ("transaction_bytes_max", _whole),
    "history.maximumsignalsperexecution": ("signals_max", _whole),
    "history.maximumbufferedeventsbatch": ("buffered_events_max", _whole),
    "history.defaultworkflowtasktimeout": ("workflow_task_timeout_ns", _duration_ns),
    "history.longpollexpirationinterval": ("long_poll_ns", _duration_ns),
    "matching.longpollexpirationinterval": ("matching_poll_ns", _duration_ns),
    "frontend.rps": ("host_rps", _whole),
    "frontend.namespacerps": ("namespace_rps", _whole),
    "frontend.namespacerps.visibility": ("visibility_rps", _whole),
    "frontend.namespaceburstratio": ("burst_ratio", _number),
    "frontend.namespacecount": ("waiting_polls_max", _whole),
    "frontend.visibilitymaxpagesize": ("list_page_max", _whole),
}


def with_values(limits: Limits, values: Iterable[tuple[str, object]]) -> tuple[Limits, list[str]]:
    """`limits` with the values set, and the keys that are not known here. Raises InvalidArgument for a bad value."""
    changes: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in values:
        known = KEYS.get(key.lower())
        if known is None:
            unknown.append(key)
            continue
        field, read = known
        try:
            changes[field] = read(value)
        except InvalidArgument as error:
            raise InvalidArgument(f"{key}: {error.message}") from error
    return msgspec.structs.replace(limits, **changes), unknown
