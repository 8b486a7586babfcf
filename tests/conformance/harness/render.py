"""Messages as deterministic text: one `path: value` line per set field, in field order.

Invariant: two runs of one scenario on one server give the same text. What legitimately varies is named by a Rule with
its reason, or replaced by a symbolic name in order of first appearance (ids), never dropped silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.history.v1 import message_pb2 as history

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX = re.compile(r"\b[0-9a-f]{32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|\+0000 UTC|UTC))?")
_LONG = 300


@dataclass(frozen=True, slots=True)
class Rule:
    """How to show a field that may differ: `field` is its name, or `Message.name`; `show` None hides it."""

    field: str
    why: str
    show: str | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """How to show a part of an error's text that is a library's and not the server's: `pattern` becomes `show`."""

    pattern: str
    why: str
    show: str


RULES = (
    Rule("HistoryEvent.event_time", "a wall-clock time"),
    Rule("HistoryEvent.task_id", "a number of the server's own queue"),
    Rule("history_size_bytes", "sizes depend on ids of varying length"),
    Rule("external_payload_size_bytes", "sizes depend on ids of varying length"),
    Rule("state_transition_count", "counts internal writes"),
    Rule("server_version", "the version of the product", "<version>"),
    Rule("backlog_count_hint", "depends on the moment of the poll"),
    Rule("poller_scaling_decision", "depends on the moment of the poll"),
    Rule("poller_group_id", "names a partition of the server"),
    Rule("poller_group_infos", "names partitions of the server"),
    Rule("execution_duration", "how long it took", "<duration>"),
    Rule("task_token", "opaque", "<token>"),
    Rule("next_page_token", "opaque", "<token>"),
)


@dataclass(slots=True)
class Names:
    """Symbolic names of ids, given in order of first appearance; `nonce` is cut out of the scenario's own names."""

    nonce: str
    rules: tuple[Rule | Wording, ...] = ()
    known: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def name(self, value: str, label: str) -> str:
        """The symbolic name of one id."""
        if value not in self.known:
            self.counts[label] = self.counts.get(label, 0) + 1
            self.known[value] = f"<{label}-{self.counts[label]}>"
        return self.known[value]

    def clean(self, text: str, label: str = "uuid") -> str:
        """Text with the nonce removed and every id and time in it replaced."""
        text = text.replace(f"-{self.nonce}", "")
        text = _UUID.sub(lambda found: self.name(found.group(), label), text)
        text = _HEX.sub(lambda found: self.name(found.group(), "hex"), text)
        return _TIME.sub("<time>", text)

    def error(self, text: str) -> str:
        """The text of an error, in the scenario's wording."""
        for rule in self.rules:
            if isinstance(rule, Wording):
                text = re.sub(rule.pattern, rule.show, text)
        return self.clean(text)

    def rule(self, message: Message, name: str) -> Rule | None:
        """The rule for a field of a message, the scenario's own rules first."""
        full = f"{message.DESCRIPTOR.name}.{name}"
        for rule in (*self.rules, *RULES):
            if isinstance(rule, Rule) and rule.field in (name, full):
                return rule
        return None


def _label(field_name: str) -> str:
    for ending in ("run_id", "request_id", "namespace_id"):
        if field_name.endswith(ending):
            return ending.removesuffix("_id")
    return "uuid"


def _enum(kind: EnumDescriptor, number: int) -> str:
    value = kind.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.name).upper() + "_"
    return str(value.name.removeprefix(prefix))


def seconds(duration: Duration) -> str:
    """A duration as seconds, `1.5s`."""
    # To the millisecond: the reference reckons a retry interval as the difference of two readings of its clock.
    return f"{round(duration.seconds + duration.nanos / 1e9, 3):g}s"


def quoted(text: str) -> str:
    """Text in quotes on one line, cut if it is long."""
    shown = text if len(text) <= _LONG else f"{text[:40]}...({len(text)} characters)"
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _bytes(value: bytes, names: Names) -> str:
    try:
        return names.clean(quoted(value.decode()))
    except UnicodeDecodeError:
        return f"({len(value)} bytes)"


def _payload(value: common.Payload, names: Names) -> str:
    parts = [f"{key}={value.metadata[key].decode(errors='replace')}" for key in sorted(value.metadata)]
    return " ".join([*parts, _bytes(value.data, names)])


def _scalar(descriptor: FieldDescriptor, value: Any, names: Names) -> str:
    if descriptor.enum_type is not None:
        return _enum(descriptor.enum_type, value)
    if isinstance(value, bytes):
        return _bytes(value, names)
    if isinstance(value, str):
        return quoted(names.clean(value, _label(descriptor.name)))
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _is_map(descriptor: FieldDescriptor) -> bool:
    kind = descriptor.message_type
    return kind is not None and bool(kind.GetOptions().map_entry)


def _values(descriptor: FieldDescriptor, value: Any, names: Names) -> Iterator[tuple[str, FieldDescriptor, Any]]:
    if _is_map(descriptor):
        entry: Any = descriptor.message_type
        for key in sorted(value):
            yield f"[{names.clean(str(key))}]", entry.fields_by_name["value"], value[key]
    elif descriptor.is_repeated:
        for index, item in enumerate(value):
            yield f"[{index}]", descriptor, item
    else:
        yield "", descriptor, value


def event_lines(event: history.HistoryEvent, names: Names) -> list[str]:
    """A history event: `id TYPE`, then its attributes, indented."""
    lines = [f"{event.event_id} {_scalar(event.DESCRIPTOR.fields_by_name['event_type'], event.event_type, names)}"]
    for descriptor, value in event.ListFields():
        if descriptor.name in ("event_id", "event_type"):
            continue
        if descriptor.name.endswith("_attributes"):
            lines += [f"    {line}" for line in message_lines(value, names)]
        else:
            lines += [f"    {line}" for line in _field_lines(event, descriptor, value, names, f".{descriptor.name}")]
    return lines


def _value_lines(descriptor: FieldDescriptor, value: Any, names: Names, path: str) -> list[str]:
    if not isinstance(value, Message):
        return [f"{path}: {_scalar(descriptor, value, names)}"]
    if isinstance(value, history.HistoryEvent):
        return [f"    {line}" for line in event_lines(value, names)]
    if isinstance(value, Timestamp):
        return [f"{path}: <time>"] if value.seconds > 0 else [f"{path}: <zero time> {value.seconds}"]
    if isinstance(value, Duration):
        return [f"{path}: {seconds(value)}"]
    if isinstance(value, common.Payload):
        return [f"{path}: {_payload(value, names)}"]
    return message_lines(value, names, f"{path}.") or [f"{path}: {{}}"]


def _field_lines(message: Message, descriptor: FieldDescriptor, value: Any, names: Names, path: str) -> list[str]:
    rule = names.rule(message, descriptor.name)
    if rule is not None:
        return [] if rule.show is None else [f"{path}: {rule.show}"]
    lines: list[str] = []
    for suffix, kind, item in _values(descriptor, value, names):
        lines += _value_lines(kind, item, names, path + suffix)
    return lines


def message_lines(message: Message, names: Names, prefix: str = "") -> list[str]:
    """The set fields of a message, one line each; a history event becomes a block of its own."""
    lines: list[str] = []
    fields: Sequence[tuple[FieldDescriptor, Any]] = message.ListFields()
    for descriptor, value in fields:
        lines += _field_lines(message, descriptor, value, names, f"{prefix}{descriptor.name}")
    return lines
