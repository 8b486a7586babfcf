"""Payloads whose data is kept elsewhere: how many of them an event refers to, and how large they are.

Few events have any, so the encoded event is looked at first: only one that has the bytes such a reference begins with
is taken apart. Those of search attributes are not counted, as in the reference.
"""

import re

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes

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
    if isinstance(message, SearchAttributes):
        return count, size
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not field.is_repeated:
            inner = [value]
        elif field.message_type.GetOptions().map_entry:
            inner = [each for each in value.values() if isinstance(each, Message)]
        else:
            inner = list(value)
        for each in inner:
            more, bytes_more = _within(each)
            count, size = count + more, size + bytes_more
    return count, size
