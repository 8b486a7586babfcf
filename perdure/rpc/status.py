"""Errors as gRPC statuses: code, message, and `grpc-status-details-bin` with the API's detail message.

Holds the whole mapping. What is not in the error tree is a fault of ours: the caller reads a generic message, the log
the rest.
"""

import grpc
from google.protobuf import any_pb2
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.errors import PerdureError, ResourceExhausted

DETAILS_KEY = "grpc-status-details-bin"
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
INTERNAL_MESSAGE = "internal error; it was logged"

Metadata = tuple[tuple[str, str | bytes], ...]


def status_of(error: PerdureError) -> tuple[grpc.StatusCode, str, Metadata]:
    """Code, message and trailing metadata of an error."""
    code = _CODES.get(error.status, grpc.StatusCode.UNKNOWN)
    details = error.details()
    if details is None:
        return code, error.message, ()
    packed = any_pb2.Any()
    packed.Pack(details)
    status = GrpcStatus(code=error.status, message=error.message, details=[packed])
    return code, error.message, ((DETAILS_KEY, status.SerializeToString()),)


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
