"""Dynamic configuration values: the keys that self-hosters know, where the thing they configure exists here.

A key that is not known here is reported, never an error: test environments of SDKs set keys of features to come. A
value that its key can't have is an error, which names the key and what was expected. Invariant: every key sets a
field that something reads; the defaults are the fields' own, which are the reference's.
"""

from collections.abc import Callable, Iterable
from typing import Any

import durationpy
import msgspec

from perdure.base.clock import DURATION_NS_MAX, MS_NS, SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.limits import MIB, AddressRule, Limits, RetryDefaults
from perdure.rpc.server import ServerOptions
from perdure.server.cluster import CACHE_BYTES_MAX

_WHOLE_MAX = 1 << 53  # what every language and database holds


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What keys set: what callers may use, how connections are kept, and the bytes of executions in memory."""

    limits: Limits = Limits()
    listener: ServerOptions = ServerOptions()
    cache_bytes_max: int = CACHE_BYTES_MAX


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a whole number from 1 on, not {value!r}")
    return value


def _up_to(most: int) -> Callable[[object], int]:
    """What a store has to take: one that refuses it as too large refuses it for ever, and a shard stands."""

    def read(value: object) -> int:
        number = _whole(value)
        if number > most:
            raise InvalidArgument(f"expected at most {most}, which stores take, not {value!r}")
        return number

    return read


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a whole number from 0 on, not {value!r}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _WHOLE_MAX:
        raise InvalidArgument(f"expected a number above 0, not {value!r}")
    return float(value)


def _coefficient(value: object) -> float:
    number = _number(value)
    if number < 1:
        raise InvalidArgument(f"expected a number from 1 on, not {value!r}")
    return number


def _flag(value: object) -> bool:
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


def _pause_ns(value: object) -> int:
    return 0 if value in (0, "0", "0s") and not isinstance(value, bool) else duration_ns(value)


def _duration_ms(value: object) -> int:
    milliseconds = duration_ns(value) // MS_NS
    if not 1 <= milliseconds < 1 << 31:  # a gRPC argument
        raise InvalidArgument(f"expected a duration from 1ms to 24 days, not {value!r}")
    return milliseconds


_Read = Callable[[object], Any]
# Part of a retry policy, in lower case -> (field, reader). The first is how older configurations spell the second.
_RETRY: dict[str, tuple[str, _Read]] = {
    "initialintervalinseconds": ("initial_interval_ns", duration_ns),
    "initialinterval": ("initial_interval_ns", duration_ns),
    "maximumintervalcoefficient": ("maximum_coefficient", _coefficient),
    "backoffcoefficient": ("backoff_coefficient", _coefficient),
    "maximumattempts": ("maximum_attempts", _count),
}


def _retry(value: object) -> RetryDefaults:
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


def _addresses(value: object) -> tuple[AddressRule, ...]:
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


# lower-case key -> (part of Settings, its field, reader of the value)
KEYS: dict[str, tuple[str, str, _Read]] = {
    "limit.maxidlength": ("limits", "id_bytes_max", _up_to(10_000)),
    "limit.blobsize.error": ("limits", "blob_bytes_max", _whole),
    "limit.memosize.error": ("limits", "memo_bytes_max", _up_to(8 * MIB)),
    "limit.historysize.error": ("limits", "history_bytes_max", _whole),
    "limit.historysize.suggestcontinueasnew": ("limits", "history_bytes_suggest_continue", _whole),
    "limit.historycount.error": ("limits", "history_events_max", _whole),
    "limit.historycount.suggestcontinueasnew": ("limits", "history_events_suggest_continue", _whole),
    "limit.historysize.warn": ("limits", "history_bytes_warn", _whole),
    "limit.historycount.warn": ("limits", "history_events_warn", _whole),
    "limit.mutablestatesize.error": ("limits", "state_bytes_max", _up_to(12 * MIB)),
    "limit.mutablestatesize.warn": ("limits", "state_bytes_warn", _whole),
    "limit.numpendingactivities.error": ("limits", "pending_activities_max", _whole),
    "limit.numpendingchildexecutions.error": ("limits", "pending_children_max", _whole),
    "limit.numpendingsignals.error": ("limits", "pending_signals_max", _whole),
    "limit.numpendingcancelrequests.error": ("limits", "pending_cancel_requests_max", _whole),
    "system.transactionsizelimit": ("limits", "transaction_bytes_max", _up_to(8 * MIB)),
    "system.enableactivityeagerexecution": ("limits", "eager_activities", _flag),
    "system.enableeagerworkflowstart": ("limits", "eager_starts", _flag),
    "history.maximumsignalsperexecution": ("limits", "signals_max", _whole),
    "history.maximumbufferedeventsbatch": ("limits", "buffered_events_max", _whole),
    "history.maximumbufferedeventssizeinbytes": ("limits", "buffered_events_bytes_max", _whole),
    "history.maxbufferedquerycount": ("limits", "buffered_queries_max", _whole),
    "history.defaultworkflowtasktimeout": ("limits", "workflow_task_timeout_ns", duration_ns),
    "history.longpollexpirationinterval": ("limits", "long_poll_ns", duration_ns),
    "history.workflowidreuseminimalinterval": ("limits", "continue_as_new_interval_ns", _pause_ns),
    "history.defaultactivityretrypolicy": ("limits", "activity_retry", _retry),
    "history.defaultworkflowretrypolicy": ("limits", "workflow_retry", _retry),
    "history.hostlevelcachemaxsizebytes": ("", "cache_bytes_max", _whole),
    "matching.longpollexpirationinterval": ("limits", "matching_poll_ns", duration_ns),
    "frontend.workflowtimeskippingenabled": ("limits", "time_skipping", _flag),
    "frontend.workflowtimeskippingmaxskippersession": ("limits", "time_skips_max", _whole),
    "frontend.rps": ("limits", "host_rps", _whole),
    "frontend.namespacerps": ("limits", "namespace_rps", _whole),
    "frontend.namespacerps.visibility": ("limits", "visibility_rps", _whole),
    "frontend.namespaceburstratio": ("limits", "burst_ratio", _number),
    "frontend.namespacecount": ("limits", "waiting_polls_max", _whole),
    "frontend.visibilitymaxpagesize": ("limits", "list_page_max", _whole),
    "frontend.historymaxpagesize": ("limits", "history_page_max", _whole),
    "frontend.searchattributesnumberofkeyslimit": ("limits", "search_attributes_max", _whole),
    "frontend.searchattributessizeofvaluelimit": ("limits", "search_attribute_bytes_max", _whole),
    "frontend.searchattributestotalsizelimit": ("limits", "search_attributes_bytes_max", _whole),
    "callback.maxperexecution": ("limits", "callbacks_max", _whole),
    "frontend.callbackurlmaxlength": ("limits", "callback_url_bytes_max", _whole),
    "frontend.callbackheadermaxlength": ("limits", "callback_header_bytes_max", _whole),
    "callback.allowedaddresses": ("limits", "callback_addresses", _addresses),
    "callback.request.timeout": ("limits", "callback_timeout_ns", duration_ns),
    "callback.retrypolicy.initialinterval": ("limits", "callback_retry_ns", duration_ns),
    "callback.retrypolicy.maxinterval": ("limits", "callback_retry_ns_max", duration_ns),
    "history.maxinflightupdates": ("limits", "updates_in_flight_max", _count),
    "history.maxinflightupdatepayloads": ("limits", "updates_in_flight_bytes_max", _count),
    "history.maxtotalupdates": ("limits", "updates_max", _count),
    "history.maxtotalupdates.suggestcontinueasnewthreshold": ("limits", "updates_suggest_continue_ratio", _number),
    "history.discardspeculativeworkflowtaskmaximumeventscount": ("limits", "discarded_events_max", _count),
    "frontend.maxlinksperrequest": ("limits", "links_max", _whole),
    "system.numconsecutiveworkflowtaskproblemstotriggersearchattribute": ("limits", "reported_problems_min", _count),
    "frontend.workflowpauseenabled": ("limits", "workflow_pause", _flag),
    "frontend.keepalivemintime": ("listener", "ping_interval_ms_min", _duration_ms),
    "frontend.keepalivemaxconnectionidle": ("listener", "connection_idle_ms", _duration_ms),
    "frontend.keepalivemaxconnectionage": ("listener", "connection_age_ms", _duration_ms),
    "frontend.keepalivemaxconnectionagegrace": ("listener", "connection_grace_ms", _duration_ms),
    "frontend.keepalivetime": ("listener", "keepalive_ms", _duration_ms),
    "frontend.keepalivetimeout": ("listener", "keepalive_timeout_ms", _duration_ms),
}


def with_values(settings: Settings, values: Iterable[tuple[str, object]]) -> tuple[Settings, list[str]]:
    """`settings` with the values set, and the keys that are not known here. Raises InvalidArgument for a bad value."""
    changes: dict[str, dict[str, Any]] = {}
    unknown: list[str] = []
    for key, value in values:
        known = KEYS.get(key.lower())
        if known is None:
            unknown.append(key)
            continue
        part, field, read = known
        try:
            changes.setdefault(part, {})[field] = read(value)
        except InvalidArgument as error:
            raise InvalidArgument(f"{key}: {error.message}") from error
    own = changes.pop("", {})
    for part, fields in changes.items():
        own[part] = msgspec.structs.replace(getattr(settings, part), **fields)
    return msgspec.structs.replace(settings, **own), unknown
