"""Payloads whose data is kept elsewhere: how many of them an event refers to, and how large they are.

Few events have any, so the encoded event is looked at first: only one that has the bytes such a reference begins with
is taken apart. Those of search attributes are not counted, as in the reference.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.history.v1 import HistoryEvent

# By a message's type, the fields of it that payloads can be in, and whether they are repeated. Of the API's own
# messages, so it stays small.
_WAYS: dict[type[Message], tuple[tuple[str, bool], ...]] = {}
_MAY_REFER = re.compile(rb"\x1a(?:\x00|[\x02-\x0b]\x08)")


def external_payloads(event: HistoryEvent, encoded: bytes) -> tuple[int, int]:
    """(number, bytes) of what the event, whose encoding is `encoded`, refers to."""
    if _MAY_REFER.search(encoded) is None:
        return 0, 0
    kind = event.WhichOneof("attributes")
    count, size = _within(getattr(event, kind)) if kind is not None else (0, 0)
    if event.HasField("user_metadata"):
        more, bytes_more = _within(event.user_metadata)
        count, size = count + more, size + bytes_more
    return count, size


def _within(message: Message) -> tuple[int, int]:
    if isinstance(message, Payload):
        return len(message.external_payloads), sum(each.size_bytes for each in message.external_payloads)
    count = size = 0
    for name, is_repeated in _ways(message):
        if not is_repeated and not message.HasField(name):
            continue
        value = getattr(message, name)
        for each in _each(value) if is_repeated else (value,):
            more, bytes_more = _within(each)
            count, size = count + more, size + bytes_more
    return count, size


def _each(values: Any) -> Iterable[Message]:
    return values.values() if isinstance(values, Mapping) else values


def _ways(message: Message) -> tuple[tuple[str, bool], ...]:
    kind = type(message)
    found = _WAYS.get(kind)
    if found is None:
        fields: Any = message.DESCRIPTOR.fields  # the stubs know two sorts of descriptors
        found = tuple((field.name, field.is_repeated) for field in fields if _is_on_the_way(field.message_type, set()))
        _WAYS[kind] = found
    return found


def _is_on_the_way(kind: Descriptor | None, seen: set[str]) -> bool:
    if kind is None or kind.full_name in seen or kind.full_name == SearchAttributes.DESCRIPTOR.full_name:
        return False
    seen.add(kind.full_name)
    return kind.full_name == Payload.DESCRIPTOR.full_name or any(
        _is_on_the_way(field.message_type, seen) for field in kind.fields
    )
