"""Errors as gRPC statuses: code, message, and `grpc-status-details-bin` with the API's detail message.

Holds the whole mapping. What is not in the error tree is a fault of ours: the caller reads a generic message, the log
the rest.

Invariant: what travels in an error's trailers stays below 8 KiB in all, which is what clients accept unless they are
told otherwise; a client that gets more sees a broken stream in the place of the error.
"""

from urllib.parse import quote

import grpc
from google.protobuf import any_pb2
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.errors import PerdureError, ResourceExhausted

DETAILS_KEY = "grpc-status-details-bin"
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
# Bytes, as they travel: the message escaped, the details in base64.
_MESSAGE_MAX = 2_000
_DETAILS_MAX = 4_000
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
INTERNAL_MESSAGE = "internal error; it was logged"

Metadata = tuple[tuple[str, str | bytes], ...]
# Goes with a refusal of a call that was not begun: another host may have it done elsewhere.
NOT_DONE: Metadata = (("perdure-not-done", "1"),)


def status_of(error: PerdureError) -> tuple[grpc.StatusCode, str, Metadata]:
    """Code, message and trailing metadata of an error."""
    code = _CODES.get(error.status, grpc.StatusCode.UNKNOWN)
    message = shortened(error.message)
    details = error.details()
    if details is None:
        return code, message, ()
    packed = any_pb2.Any()
    packed.Pack(details)
    status = GrpcStatus(code=error.status, message=message, details=[packed])
    if status.ByteSize() > _DETAILS_MAX:
        return code, message, ()
    return code, message, ((DETAILS_KEY, status.SerializeToString()),)


def shortened(message: str) -> str:
    """`message`, or as much of its beginning as may travel, and dots."""
    if len(message) * 12 <= _MESSAGE_MAX or _travelling(message) <= _MESSAGE_MAX:
        return message
    size, end = len("..."), 0
    while (size := size + _travelling(message[end])) <= _MESSAGE_MAX:
        end += 1
    return message[:end] + "..."


def _travelling(text: str) -> int:
    """The size of a message in a trailer: everything but printable ASCII is escaped."""
    return len(quote(text, safe=_PLAIN, errors="replace"))


def headers_of(error: PerdureError) -> Metadata:
    """Initial metadata that goes with an error: what a proxy should see of an exhausted limit."""
    if not isinstance(error, ResourceExhausted):
        return ()
    cause = ResourceExhaustedCause.Name(error.cause).removeprefix("RESOURCE_EXHAUSTED_CAUSE_")
    scope = ResourceExhaustedScope.Name(error.scope).removeprefix("RESOURCE_EXHAUSTED_SCOPE_")
    return (
        ("x-resource-exhausted-cause", _camel(cause)),
        ("x-resource-exhausted-scope", _camel(scope)),
    )


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
