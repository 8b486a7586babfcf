"""Failures that the frontend puts in the place of what is too large to store."""

from temporalio.api.failure.v1 import Failure

from perdure.base.limits import KIB, Limits
from perdure.workflow.failures import cut, server_failure

FAILURE_TOO_LARGE = "Failure exceeds size limit."
HEARTBEAT_TOO_LARGE = "Heartbeat details exceed size limit."
RESULT_TOO_LARGE = "Complete result exceeds size limit."
CANCEL_DETAILS_TOO_LARGE = "Cancel details exceed size limit."
_KEPT_BYTES = 512 * KIB


def too_large(message: str) -> Failure:
    """The failure of an activity whose report is too large; it isn't retried."""
    return server_failure(message, non_retryable=True)


def failure_within(failure: Failure, limits: Limits) -> Failure:
    """`failure` itself, or, if it is over the limit, a server failure with what can be kept of it as its cause."""
    if failure.ByteSize() <= limits.blob_bytes_max:
        return failure
    replaced = too_large(FAILURE_TOO_LARGE)
    replaced.cause.CopyFrom(cut(failure, _KEPT_BYTES))
    return replaced
