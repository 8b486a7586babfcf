"""Failures that the cluster itself makes, and cutting down failures that are kept in state.

Source of messages and of what a cut keeps: the reference (`common/failure`). Refuses to know who failed.
"""

from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure, ServerFailureInfo, TimeoutFailureInfo

EXCEEDS_LIMIT = "Failure exceeds size limit."
_DEPTH_MAX = 20
# What an encoded field costs beside its text, so that the result stays under its limit.
_TEXT_OVERHEAD = 4
_APPLICATION_OVERHEAD = 8
_SERVER_OVERHEAD = 4


def server_failure(message: str, *, non_retryable: bool) -> Failure:
    """A failure that the server reports in the place of a worker's."""
    return Failure(message=message, server_failure_info=ServerFailureInfo(non_retryable=non_retryable))


def timeout_failure(message: str, timeout_type: TimeoutType.ValueType) -> Failure:
    """Something took longer than it may."""
    return Failure(message=message, source="Server", timeout_failure_info=TimeoutFailureInfo(timeout_type=timeout_type))


def kept(failure: Failure, bytes_max: int) -> Failure:
    """`failure` as state keeps it: itself if it is small, else wrapped and cut to about `bytes_max` encoded bytes."""
    if failure.ByteSize() <= bytes_max:
        return failure
    wrapper = server_failure(EXCEEDS_LIMIT, non_retryable=False)
    wrapper.cause.CopyFrom(cut(failure, bytes_max))
    return wrapper


def cut(failure: Failure, bytes_max: int, depth_max: int = _DEPTH_MAX) -> Failure:
    """The failure's kind and texts up to `bytes_max` bytes: type, source, message, stack trace, then its causes; no
    payloads.
    """
    result = Failure()
    room = bytes_max
    kind = failure.WhichOneof("failure_info")
    if kind == "application_failure_info":
        info = failure.application_failure_info
        type_, room = _fit(info.type, room)
        result.application_failure_info.non_retryable = info.non_retryable
        result.application_failure_info.type = type_
        result.application_failure_info.SetInParent()
        room -= _APPLICATION_OVERHEAD
    elif kind == "server_failure_info":
        result.server_failure_info.non_retryable = failure.server_failure_info.non_retryable
        result.server_failure_info.SetInParent()
        room -= _SERVER_OVERHEAD
    result.source, room = _fit(failure.source, room)
    result.message, room = _fit(failure.message, room)
    result.stack_trace, room = _fit(failure.stack_trace, room)
    if failure.HasField("cause") and room > _TEXT_OVERHEAD and depth_max > 0:
        result.cause.CopyFrom(cut(failure.cause, room - _TEXT_OVERHEAD, depth_max - 1))
    return result


def _fit(text: str, room: int) -> tuple[str, int]:
    """As many whole characters of `text` as fit into `room` bytes, and the room that is left."""
    encoded = text.encode()
    if len(encoded) > room:
        encoded = encoded[: max(room, 0)]
        text = encoded.decode(errors="ignore")
        encoded = text.encode()
    return text, room - len(encoded) - (_TEXT_OVERHEAD if text else 0)
