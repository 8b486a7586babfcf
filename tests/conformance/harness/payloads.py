"""Plain values of the API that scenarios pass around: payloads, failures, durations, memos, headers."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.failure.v1 import message_pb2 as failures


def payload(text: str) -> common.Payload:
    """A string as json/plain."""
    return common.Payload(metadata={"encoding": b"json/plain"}, data=f'"{text}"'.encode())


def payloads(*texts: str) -> common.Payloads:
    """Strings as json/plain."""
    return common.Payloads(payloads=[payload(text) for text in texts])


def memo(**texts: str) -> common.Memo:
    """A memo of strings."""
    return common.Memo(fields={key: payload(text) for key, text in texts.items()})


def header(**texts: str) -> common.Header:
    """A header of strings."""
    return common.Header(fields={key: payload(text) for key, text in texts.items()})


def search_attributes(**texts: str) -> common.SearchAttributes:
    """Search attributes of strings."""
    return common.SearchAttributes(indexed_fields={key: payload(text) for key, text in texts.items()})


def failure(
    message: str, kind: str = "", non_retryable: bool = False, next_retry_delay: float | None = None
) -> failures.Failure:
    """An application failure as an SDK would send it."""
    application = failures.ApplicationFailureInfo(type=kind, non_retryable=non_retryable)
    if next_retry_delay is not None:
        application.next_retry_delay.CopyFrom(duration(next_retry_delay))
    return failures.Failure(message=message, source="test", application_failure_info=application)


def duration(seconds: float) -> Duration:
    """Seconds as a Duration."""
    found = Duration()
    found.FromNanoseconds(round(seconds * 1e9))
    return found


def retry_policy(
    initial: float = 0.2, attempts: int = 0, coefficient: float = 1.0, maximum: float = 0, never: tuple[str, ...] = ()
) -> common.RetryPolicy:
    """A retry policy; zeros leave a field unset."""
    policy = common.RetryPolicy(
        maximum_attempts=attempts, backoff_coefficient=coefficient, non_retryable_error_types=never
    )
    if initial:
        policy.initial_interval.CopyFrom(duration(initial))
    if maximum:
        policy.maximum_interval.CopyFrom(duration(maximum))
    return policy
