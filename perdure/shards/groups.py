"""Positions, and the bytes of a group.

A group's number rises along a shard's chain of segments: each epoch starts at `epoch << 35`, so that a new owner
knows its first number before it knows the former owner's last. A position is `number << 8 | index in the group`:
known when a transition is appended, rising over the whole life of the shard, and not dense.
"""

from collections.abc import Sequence

import msgspec

from perdure.base.errors import Bug
from perdure.base.framing import CorruptFrame, frame, unframe

FORMAT = 1
INDEX_BITS = 8
GROUP_MAX = 1 << INDEX_BITS
_NUMBER_BITS = 35
_EPOCH_MAX = 1 << 20


class CorruptLog(Bug):
    """The log has a hole or bytes that can't be read: the shard stops until somebody looks at it."""


class GroupBody(msgspec.Struct, frozen=True, array_like=True):
    """What a group holds. Records before `floor` were checkpointed when it was written; `time_ns` was the shard's
    time.
    """

    time_ns: int
    floor: int
    records: Sequence[tuple[int, bytes]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(GroupBody)


def encode_group(body: GroupBody) -> bytes:
    """The group's framed bytes."""
    return frame(FORMAT, _encoder.encode(body))


def decode_group(data: bytes) -> GroupBody:
    """The group in `data`. Raises CorruptLog."""
    try:
        return _decoder.decode(unframe(FORMAT, data, "a log group"))
    except (CorruptFrame, msgspec.DecodeError) as error:
        raise CorruptLog(f"A group of the log can't be read: {error}") from error


def base_of(epoch: int) -> int:
    """The number before the first group of an epoch."""
    if epoch >= _EPOCH_MAX:
        raise Bug(f"epoch {epoch} is beyond the last")
    return epoch << _NUMBER_BITS


def first_position(number: int) -> int:
    """The position of the first transition of a group."""
    return number << INDEX_BITS


def last_position(number: int) -> int:
    """The greatest position that a group may hold."""
    return number << INDEX_BITS | (GROUP_MAX - 1)
