"""Task tokens: what a worker sends back to name its task.

Opaque to workers, versioned, bound to their namespace, and free of shard numbers: answers come minutes after an
upgrade or a split. Layout: version byte, archetype byte (what kind of execution the task belongs to), msgpack body.
"""

from enum import IntEnum

import msgspec

from perdure.base.errors import InvalidArgument

_VERSION = 1


class Archetype(IntEnum):
    """What a token's task belongs to. Stored in tokens: values never change; further kinds are reserved."""

    WORKFLOW = 1


class TaskToken(msgspec.Struct, frozen=True, array_like=True):
    """Names one started task. `started_time_ns` tells apart speculative tasks that reuse event ids."""

    namespace_id: str
    workflow_id: str
    run_id: str
    scheduled_event_id: int
    started_event_id: int = 0
    started_time_ns: int = 0
    attempt: int = 1
    stamp: int = 0
    activity_id: str = ""
    activity_type: str = ""
    workflow_type: str = ""


class QueryToken(msgspec.Struct, frozen=True, array_like=True):
    """Names one query that was handed to a worker; leads back to the partition that waits for its answer."""

    namespace_id: str
    task_queue: str
    query_id: str


_encoder = msgspec.msgpack.Encoder()
_task_decoder = msgspec.msgpack.Decoder(TaskToken)
_query_decoder = msgspec.msgpack.Decoder(QueryToken)
_HEAD = bytes((_VERSION, Archetype.WORKFLOW))
_QUERY_HEAD = bytes((_VERSION, 0x71))


def encode_token(token: TaskToken | QueryToken) -> bytes:
    """The bytes a worker gets."""
    return (_HEAD if isinstance(token, TaskToken) else _QUERY_HEAD) + _encoder.encode(token)


def decode_token(data: bytes) -> TaskToken:
    """The task that `data` names. Raises InvalidArgument for anything that `encode_token` did not make."""
    if data[:2] != _HEAD:
        raise InvalidArgument("Error deserializing task token.")
    try:
        return _task_decoder.decode(data[2:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument("Error deserializing task token.") from error


def decode_query_token(data: bytes) -> QueryToken:
    """The query that `data` names. Raises InvalidArgument."""
    if data[:2] != _QUERY_HEAD:
        raise InvalidArgument("Error deserializing task token.")
    try:
        return _query_decoder.decode(data[2:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument("Error deserializing task token.") from error
