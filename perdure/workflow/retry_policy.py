"""Retry policies: filling in defaults, validating, and deciding whether and when there is a next attempt.

Used for activities and for whole runs. Refuses to know what is retried: callers bring the attempt's number, the
failure, and the time after which a retry makes no sense. Source: the semantics of `temporal.api.common.v1.RetryPolicy`
and the reference's limits.
"""

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure

from perdure.base.clock import from_duration, to_duration
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.durations import DURATION_NS_MAX, duration_fault

TIMEOUT_TYPE_PREFIX = "TemporalTimeout:"
# The API's names of timeout types, as non-retryable error types and messages spell them.
TIMEOUT_NAMES: dict[int, str] = {
    TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE: "StartToClose",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.TIMEOUT_TYPE_HEARTBEAT: "Heartbeat",
}
_RETRYABLE_TIMEOUTS = (TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE, TimeoutType.TIMEOUT_TYPE_HEARTBEAT)
# Of a policy without a maximum: a time that is so far off is one that rows can hold.
_INTERVAL_NS_MAX = DURATION_NS_MAX


def filled(policy: RetryPolicy, limits: Limits, *, activity: bool = False) -> RetryPolicy:
    """A copy of `policy`, a run's or an activity's, with the defaults for what it leaves out, and durations capped."""
    defaults = limits.activity_retry if activity else limits.workflow_retry
    result = RetryPolicy()
    result.CopyFrom(policy)
    if from_duration(result.initial_interval) == 0:
        result.initial_interval.CopyFrom(to_duration(defaults.initial_interval_ns))
    if from_duration(result.maximum_interval) == 0:
        maximum_ns = int(defaults.maximum_coefficient * from_duration(result.initial_interval))
        # A bad initial interval is reported by `check`, so the maximum only has to be a duration at all.
        result.maximum_interval.CopyFrom(to_duration(max(0, min(maximum_ns, DURATION_NS_MAX))))
    if result.backoff_coefficient == 0:
        result.backoff_coefficient = defaults.backoff_coefficient
    result.maximum_attempts = result.maximum_attempts or defaults.maximum_attempts
    for interval in (result.initial_interval, result.maximum_interval):
        if from_duration(interval) > DURATION_NS_MAX:
            interval.CopyFrom(to_duration(DURATION_NS_MAX))
    return result


def check(policy: RetryPolicy) -> None:
    """Raises InvalidArgument unless the `filled` policy makes sense. One attempt only: the rest doesn't matter."""
    if policy.maximum_attempts == 1:
        return
    _check_interval("InitialInterval", policy.initial_interval)
    if policy.backoff_coefficient < 1:
        raise InvalidArgument("BackoffCoefficient cannot be less than 1 on retry policy.")
    _check_interval("MaximumInterval", policy.maximum_interval)
    maximum_ns = from_duration(policy.maximum_interval)
    if 0 < maximum_ns < from_duration(policy.initial_interval):
        raise InvalidArgument("MaximumInterval cannot be less than InitialInterval on retry policy.")
    if policy.maximum_attempts < 0:
        raise InvalidArgument("MaximumAttempts cannot be negative on retry policy.")
    for name in policy.non_retryable_error_types:
        if name.startswith(TIMEOUT_TYPE_PREFIX):
            _check_timeout_name(name.removeprefix(TIMEOUT_TYPE_PREFIX))


def _check_interval(name: str, interval: Duration) -> None:
    if fault := duration_fault(interval):
        raise InvalidArgument(f"invalid {name} set on retry policy: {fault}")


def _check_timeout_name(name: str) -> None:
    known = {*TIMEOUT_NAMES.values(), *TimeoutType.keys()} - {"TIMEOUT_TYPE_UNSPECIFIED"}
    if name not in known:
        raise InvalidArgument(f"Invalid timeout type value: {name}.")


def is_retryable(failure: Failure | None, policy: RetryPolicy) -> bool:
    """Whether `failure` permits another attempt. A missing or an unrecognized failure does."""
    if failure is None:
        return True
    kind = failure.WhichOneof("failure_info")
    if kind in ("terminated_failure_info", "canceled_failure_info"):
        return False
    if kind == "timeout_failure_info":
        timeout = failure.timeout_failure_info.timeout_type
        name = TIMEOUT_TYPE_PREFIX + TIMEOUT_NAMES.get(timeout, "")
        return timeout in _RETRYABLE_TIMEOUTS and name not in policy.non_retryable_error_types
    if kind == "server_failure_info":
        return not failure.server_failure_info.non_retryable
    if kind == "application_failure_info":
        info = failure.application_failure_info
        return not info.non_retryable and info.type not in policy.non_retryable_error_types
    return True


def requested_delay_ns(failure: Failure | None) -> int | None:
    """The delay before the next attempt that the application asked for; None if it did not."""
    if failure is None or not failure.application_failure_info.HasField("next_retry_delay"):
        return None
    return from_duration(failure.application_failure_info.next_retry_delay)


def next_attempt(
    policy: RetryPolicy,
    attempt: int,
    now_ns: int,
    expiration_ns: int,
    delay_ns: int | None = None,
    maximum_ns: int | None = None,
) -> tuple[RetryState.ValueType, int]:
    """(IN_PROGRESS, nanoseconds until attempt `attempt` + 1), or (why there is none, 0).

    `expiration_ns`: a retry that would begin later is not made; 0 = never expires. `delay_ns` replaces the exponential
    interval, `maximum_ns` the policy's maximum.
    """
    if 0 < policy.maximum_attempts <= attempt:
        return RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED, 0
    interval_ns = _exponential_ns(policy, attempt) if delay_ns is None else delay_ns
    cap_ns = from_duration(policy.maximum_interval) if maximum_ns is None else maximum_ns
    if cap_ns == 0 and interval_ns <= 0:
        return RetryState.RETRY_STATE_TIMEOUT, 0
    interval_ns = _within(interval_ns, cap_ns)
    if expiration_ns and now_ns + interval_ns > expiration_ns:
        return RetryState.RETRY_STATE_TIMEOUT, 0
    return RetryState.RETRY_STATE_IN_PROGRESS, interval_ns


def interval_after(policy: RetryPolicy, attempt: int) -> int:
    """Nanoseconds between the end of attempt `attempt` and the next one, by the policy alone."""
    return _within(_exponential_ns(policy, attempt), from_duration(policy.maximum_interval))


def _within(interval_ns: int, cap_ns: int) -> int:
    return cap_ns if cap_ns and not 0 < interval_ns <= cap_ns else interval_ns


def _exponential_ns(policy: RetryPolicy, attempt: int) -> int:
    initial_ns = from_duration(policy.initial_interval)
    try:
        interval = initial_ns * policy.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        return _INTERVAL_NS_MAX
    if interval >= _INTERVAL_NS_MAX:
        return _INTERVAL_NS_MAX
    # Not a number: clients can send it as a coefficient. As in the reference, the maximum interval stands in.
    return int(interval) if interval > 0 else 0
