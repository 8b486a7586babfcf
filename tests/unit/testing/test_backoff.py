"""The checkers' own backoff arithmetic."""

import pytest
from temporalio.api.common.v1 import RetryPolicy

from perdure.base.clock import SECOND_NS
from perdure.testing.checkers.backoff import backoff_ns


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (7, 60), (8, 60), (5_000, 60)])
def test_backoff_doubles_up_to_the_maximum(attempt: int, seconds: int) -> None:
    policy = RetryPolicy(backoff_coefficient=2.0)
    policy.initial_interval.FromSeconds(1)
    policy.maximum_interval.FromSeconds(60)
    assert backoff_ns(policy, attempt) == seconds * SECOND_NS


def test_backoff_without_a_maximum_stays_within_64_bits() -> None:
    policy = RetryPolicy(backoff_coefficient=10.0)
    policy.initial_interval.FromSeconds(1)
    assert 0 < backoff_ns(policy, 10_000) < 2**63
