"""Payloads whose data is kept elsewhere: how many of them an event refers to, and how large they are.

Few events have any, so the encoded event is looked at first: only one that has the bytes such a reference begins with
is taken apart. Those of search attributes are not counted, as in the reference.
"""

import re
from collections.abc import Mapping

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes

_LEADS: dict[str, bool] = {}  # by a field's full name; of the API's own messages, so it stays small
_MAY_REFER = re.compile(rb"\x1a(?:\x00|[\x02-\x0b]\x08)")


def external_payloads(event: Message, encoded: bytes) -> tuple[int, int]:
    """(number, bytes) of what the event, whose encoding is `encoded`, refers to."""
    if _MAY_REFER.search(encoded) is None:
        return 0, 0
    return _within(event)


def _within(message: Message) -> tuple[int, int]:
    if isinstance(message, Payload):
        return len(message.external_payloads), sum(each.size_bytes for each in message.external_payloads)
    count = size = 0
    for field, value in message.ListFields():
        if not _leads(field):
            continue
        if not field.is_repeated:
            inner = (value,)
        elif isinstance(value, Mapping):
            inner = tuple(value.values())
        else:
            inner = tuple(value)
        for each in inner:
            more, bytes_more = _within(each)
            count, size = count + more, size + bytes_more
    return count, size


def _leads(field: FieldDescriptor) -> bool:
    """Whether there may be payloads in a field of this kind."""
    found = _LEADS.get(field.full_name)
    if found is None:
        found = _LEADS[field.full_name] = _is_on_the_way(field.message_type, set())
    return found


def _is_on_the_way(kind: Descriptor | None, seen: set[str]) -> bool:
    if kind is None or kind.full_name in seen or kind.full_name == SearchAttributes.DESCRIPTOR.full_name:
        return False
    seen.add(kind.full_name)
    return kind.full_name == Payload.DESCRIPTOR.full_name or any(
        _is_on_the_way(field.message_type, seen) for field in kind.fields
    )
