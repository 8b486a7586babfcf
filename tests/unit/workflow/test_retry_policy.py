import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowExecutionFailureInfo,
    Failure,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)

from perdure.base.clock import SECOND_NS, from_duration
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits, RetryDefaults
from perdure.workflow.retry_policy import check, filled, is_retryable, next_attempt, requested_delay_ns
from tests.unit.workflow.bench import seconds

LIMITS = Limits()


def timeout(kind: TimeoutType.ValueType) -> Failure:
    return Failure(timeout_failure_info=TimeoutFailureInfo(timeout_type=kind))


def test_an_empty_policy_gets_every_default_but_a_maximum_of_attempts() -> None:
    policy = filled(RetryPolicy(), LIMITS)
    assert policy == RetryPolicy(initial_interval=seconds(1), backoff_coefficient=2, maximum_interval=seconds(100))


def test_activities_and_runs_have_defaults_of_their_own() -> None:
    limits = Limits(
        activity_retry=RetryDefaults(initial_interval_ns=2 * SECOND_NS, maximum_coefficient=10, maximum_attempts=7),
        workflow_retry=RetryDefaults(backoff_coefficient=3),
    )
    activity = filled(RetryPolicy(), limits, activity=True)
    assert activity == RetryPolicy(
        initial_interval=seconds(2), backoff_coefficient=2, maximum_interval=seconds(20), maximum_attempts=7
    )
    assert filled(RetryPolicy(maximum_attempts=1), limits, activity=True).maximum_attempts == 1
    run = filled(RetryPolicy(), limits)
    assert run == RetryPolicy(initial_interval=seconds(1), backoff_coefficient=3, maximum_interval=seconds(100))


def test_the_maximum_interval_follows_the_initial_one() -> None:
    given = RetryPolicy(initial_interval=seconds(3), backoff_coefficient=1.5, maximum_attempts=4)
    policy = filled(given, LIMITS)
    assert from_duration(policy.maximum_interval) == 300 * SECOND_NS
    assert policy.backoff_coefficient == 1.5
    assert not given.HasField("maximum_interval")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RetryPolicy(initial_interval=seconds(-1)), "invalid InitialInterval set on retry policy: negative duration"),
        (RetryPolicy(backoff_coefficient=0.5), "BackoffCoefficient cannot be less than 1 on retry policy."),
        (RetryPolicy(maximum_interval=seconds(-5)), "invalid MaximumInterval set on retry policy: negative duration"),
        (
            RetryPolicy(initial_interval=seconds(5), maximum_interval=seconds(4)),
            "MaximumInterval cannot be less than InitialInterval on retry policy.",
        ),
        (RetryPolicy(maximum_attempts=-1), "MaximumAttempts cannot be negative on retry policy."),
        (RetryPolicy(non_retryable_error_types=["TemporalTimeout:Later"]), "Invalid timeout type value: Later."),
        (
            RetryPolicy(maximum_interval=Duration(seconds=1, nanos=-1)),
            "invalid MaximumInterval set on retry policy: duration has seconds and nanos with different signs",
        ),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: RetryPolicy, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        check(filled(policy, LIMITS))
    assert refusal.value.message == message


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(maximum_attempts=1, backoff_coefficient=0.5),
        RetryPolicy(non_retryable_error_types=["TemporalTimeout:StartToClose", "Mine"]),
    ],
)
def test_a_policy_that_is_fine_or_never_used_passes(policy: RetryPolicy) -> None:
    check(filled(policy, LIMITS))


START_TO_CLOSE = timeout(TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)


@pytest.mark.parametrize(
    ("failure", "types", "retryable"),
    [
        (None, [], True),
        (Failure(), [], True),
        (Failure(application_failure_info=ApplicationFailureInfo(type="Mine")), [], True),
        (Failure(application_failure_info=ApplicationFailureInfo(type="Mine")), ["Mine"], False),
        (Failure(application_failure_info=ApplicationFailureInfo(non_retryable=True)), [], False),
        (Failure(server_failure_info=ServerFailureInfo()), [], True),
        (Failure(server_failure_info=ServerFailureInfo(non_retryable=True)), [], False),
        (Failure(canceled_failure_info=CanceledFailureInfo()), [], False),
        (Failure(terminated_failure_info=TerminatedFailureInfo()), [], False),
        (Failure(child_workflow_execution_failure_info=ChildWorkflowExecutionFailureInfo()), [], True),
        (START_TO_CLOSE, [], True),
        (START_TO_CLOSE, ["TemporalTimeout:StartToClose"], False),
        (START_TO_CLOSE, ["TemporalTimeout:Heartbeat"], True),
        (timeout(TimeoutType.TIMEOUT_TYPE_HEARTBEAT), ["TemporalTimeout:Heartbeat"], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START), [], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE), [], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_UNSPECIFIED), [], False),
    ],
)
def test_which_failures_permit_another_attempt(failure: Failure | None, types: list[str], retryable: bool) -> None:
    assert is_retryable(failure, RetryPolicy(non_retryable_error_types=types)) is retryable


IN_PROGRESS = RetryState.RETRY_STATE_IN_PROGRESS
TIMEOUT = RetryState.RETRY_STATE_TIMEOUT
MAXIMUM = RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED


@pytest.mark.parametrize(
    ("policy", "attempt", "expires_in", "expected"),
    [
        (RetryPolicy(), 1, 0, (IN_PROGRESS, 1)),
        (RetryPolicy(), 2, 0, (IN_PROGRESS, 2)),
        (RetryPolicy(), 7, 0, (IN_PROGRESS, 64)),
        (RetryPolicy(), 8, 0, (IN_PROGRESS, 100)),
        (RetryPolicy(), 5_000, 0, (IN_PROGRESS, 100)),
        (RetryPolicy(maximum_attempts=3), 2, 0, (IN_PROGRESS, 2)),
        (RetryPolicy(maximum_attempts=3), 3, 0, (MAXIMUM, 0)),
        (RetryPolicy(maximum_attempts=3), 4, 0, (MAXIMUM, 0)),
        (RetryPolicy(), 3, 4, (IN_PROGRESS, 4)),
        (RetryPolicy(), 3, 3.9, (TIMEOUT, 0)),
        (RetryPolicy(initial_interval=seconds(2), backoff_coefficient=1), 9, 0, (IN_PROGRESS, 2)),
    ],
)
def test_when_the_next_attempt_is(
    policy: RetryPolicy, attempt: int, expires_in: float, expected: tuple[RetryState.ValueType, float]
) -> None:
    now_ns = 10**18
    expiration_ns = now_ns + int(expires_in * SECOND_NS) if expires_in else 0
    state, interval_ns = next_attempt(filled(policy, LIMITS), attempt, now_ns, expiration_ns)
    assert (state, interval_ns / SECOND_NS) == expected


def test_a_requested_delay_replaces_the_interval() -> None:
    failure = Failure(application_failure_info=ApplicationFailureInfo(next_retry_delay=seconds(500)))
    delay_ns = requested_delay_ns(failure)
    assert delay_ns == 500 * SECOND_NS
    policy = filled(RetryPolicy(), LIMITS)
    assert next_attempt(policy, 1, 0, 0, delay_ns) == (IN_PROGRESS, 100 * SECOND_NS)
    assert next_attempt(policy, 1, 0, 0, delay_ns, delay_ns) == (IN_PROGRESS, delay_ns)
    assert next_attempt(policy, 1, 0, 0, 0, 0) == (TIMEOUT, 0)


@pytest.mark.parametrize("seconds_asked", [-315_576_000_000, 315_576_000_000])
def test_the_time_after_an_absurd_delay_still_fits_a_record(seconds_asked: int) -> None:
    asked = ApplicationFailureInfo(next_retry_delay=Duration(seconds=seconds_asked))
    delay_ns = requested_delay_ns(Failure(application_failure_info=asked))
    assert delay_ns is not None
    now_ns = 1_700_000_000 * SECOND_NS
    state, interval_ns = next_attempt(filled(RetryPolicy(), LIMITS), 1, now_ns, 0, delay_ns, delay_ns)
    assert state == IN_PROGRESS
    assert -(2**63) < now_ns + interval_ns < 2**63


def test_a_coefficient_that_is_no_number_leads_to_the_maximum() -> None:
    policy = filled(RetryPolicy(backoff_coefficient=float("nan")), LIMITS)
    assert [next_attempt(policy, attempt, 10**18, 0)[1] // SECOND_NS for attempt in (1, 2, 9)] == [1, 100, 100]


def test_no_delay_was_requested() -> None:
    assert requested_delay_ns(None) is None
    assert requested_delay_ns(Failure(application_failure_info=ApplicationFailureInfo())) is None
