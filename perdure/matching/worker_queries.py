"""Filters over what workers tell of themselves: `TaskQueue = 'q' AND (SdkName STARTS_WITH 'temporal' OR ...)`.

Fields, operators and defaults are the reference's (`service/matching/workers/worker_query_engine.go`). Differs by
intent: the reference finds nothing by a query that names an unknown field or compares it in a way that there is not;
here it is refused. Invariant: what a query costs is bounded, by its length and by how much it asks. Knows no registry.
"""

import operator
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from perdure.base.clock import from_timestamp
from perdure.base.errors import InvalidArgument
from perdure.visibility.literals import rfc3339_ns

QUERY_BYTES_MAX = 4_096
CONDITIONS_MAX = 50
_DEPTH_MAX = 50

Predicate = Callable[[WorkerHeartbeat], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<word>`[^`]+`|[A-Za-z_]\w*)"
    r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<sign><=|>=|!=|<>|[=<>()]))",
    re.ASCII,
)
_STATUS_PREFIX = "WORKER_STATUS_"
_STATUSES: dict[int, str] = {
    number: "".join(word.capitalize() for word in name.removeprefix(_STATUS_PREFIX).split("_"))
    for name, number in WorkerStatus.items()
}


def _status(beat: WorkerHeartbeat) -> str:
    return _STATUSES.get(beat.status) or str(beat.status)


_TEXTS: dict[str, Callable[[WorkerHeartbeat], str]] = {
    "WorkerInstanceKey": lambda beat: beat.worker_instance_key,
    "WorkerIdentity": lambda beat: beat.worker_identity,
    "HostName": lambda beat: beat.host_info.host_name,
    "TaskQueue": lambda beat: beat.task_queue,
    "DeploymentName": lambda beat: beat.deployment_version.deployment_name,
    "BuildId": lambda beat: beat.deployment_version.build_id,
    "SdkName": lambda beat: beat.sdk_name,
    "SdkVersion": lambda beat: beat.sdk_version,
    "WorkerStatus": _status,
    "Status": _status,
    "status": _status,
}
# Nanoseconds since 1970; None = not told.
_TIMES: dict[str, Callable[[WorkerHeartbeat], int | None]] = {
    "StartTime": lambda beat: from_timestamp(beat.start_time) if beat.HasField("start_time") else None,
    "HeartbeatTime": lambda beat: from_timestamp(beat.heartbeat_time) if beat.HasField("heartbeat_time") else None,
}
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def parse_query(query: str) -> Predicate:
    """What `query` asks of a heartbeat; a blank one asks for nothing. Raises InvalidArgument."""
    if len(query) > QUERY_BYTES_MAX:
        raise InvalidArgument(f"malformed query: longer than {QUERY_BYTES_MAX} bytes")
    if not query.strip():
        return lambda beat: True
    return _Reader(query).whole()


class _Reader:
    """Reads a query from left to right. A token is (kind, text); the last one is ("end", "")."""

    def __init__(self, query: str) -> None:
        self._tokens = list(_tokens(query))
        self._next = 0
        self._depth = 0
        self._conditions = 0

    def whole(self) -> Predicate:
        """The query, to its end."""
        found = self._either()
        if self._peek() != ("end", ""):
            _fail(f"syntax error near {self._peek()[1]!r}")
        return found

    def _either(self) -> Predicate:
        parts = [self._both()]
        while self._takes("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda beat: any(part(beat) for part in parts)

    def _both(self) -> Predicate:
        parts = [self._one()]
        while self._takes("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda beat: all(part(beat) for part in parts)

    def _one(self) -> Predicate:
        kind, text = self._take()
        if (kind, text) == ("sign", "("):
            self._depth += 1
            if self._depth > _DEPTH_MAX:
                _fail("too many parentheses")
            inner = self._either()
            if self._take() != ("sign", ")"):
                _fail("syntax error: a parenthesis is open")
            self._depth -= 1
            return inner
        if kind != "word":
            _fail(f"syntax error near {text!r}")
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            _fail(f"more than {CONDITIONS_MAX} conditions")
        name = text.strip("`")
        if name in _TEXTS:
            return self._text_condition(name, _TEXTS[name])
        if name in _TIMES:
            return self._time_condition(name, _TIMES[name])
        raise InvalidArgument(f"unknown or unsupported worker heartbeat search field: {name}")

    def _text_condition(self, name: str, read: Callable[[WorkerHeartbeat], str]) -> Predicate:
        if self._takes("IS"):
            wanted = not self._takes("NOT")
            self._expect("NULL")
            return lambda beat: (not read(beat)) is wanted
        is_negated = self._takes("NOT")
        if self._takes("STARTS_WITH"):
            start = self._text(name)
            return lambda beat: read(beat).startswith(start) is not is_negated
        sign = self._take()[1]
        if is_negated or sign not in ("=", "!=", "<>"):
            raise InvalidArgument(f"invalid expression: operation {sign} is not supported for {name} column")
        value = self._text(name)
        return lambda beat: (read(beat) == value) is (sign == "=")

    def _time_condition(self, name: str, read: Callable[[WorkerHeartbeat], int | None]) -> Predicate:
        if self._takes("IS"):
            wanted = not self._takes("NOT")
            self._expect("NULL")
            return lambda beat: (read(beat) is None) is wanted
        is_negated = self._takes("NOT")
        if self._takes("BETWEEN"):
            first = self._time(name)
            self._expect("AND")
            last = self._time(name)
            return lambda beat: (time := read(beat)) is not None and (first <= time <= last) is not is_negated
        sign = self._take()[1]
        compare = _COMPARED.get(sign)
        if is_negated or compare is None:
            raise InvalidArgument(f"invalid expression: operation {sign} is not supported for {name} column")
        value = self._time(name)
        return lambda beat: compare(read(beat) or 0, value)

    def _text(self, name: str) -> str:
        kind, text = self._take()
        if kind == "end":
            _fail("syntax error: a value is missing")
        if kind != "text":
            raise InvalidArgument(f"invalid value for {name}: {text}")
        value = re.sub(r"\\(.)", r"\1", text[1:-1])
        if not value:
            raise InvalidArgument(f"{name} cannot be empty")
        return value

    def _time(self, name: str) -> int:
        text = self._text(name)
        time_ns = rfc3339_ns(text)
        if time_ns is None:
            raise InvalidArgument(f"invalid value for {name}: {text}")
        return time_ns

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next]

    def _take(self) -> tuple[str, str]:
        found = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return found

    def _takes(self, word: str) -> bool:
        kind, text = self._peek()
        if kind != "word" or text.upper() != word:
            return False
        self._take()
        return True

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            _fail(f"syntax error: {word} is missing")


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(query.rstrip())
    while at < end:
        match = _TOKEN.match(query, at)
        if match is None or match.lastgroup is None:
            _fail(f"syntax error at position {at + 1}")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()
    yield "end", ""


def _fail(what: str) -> NoReturn:
    raise InvalidArgument(f"malformed query: {what}")
