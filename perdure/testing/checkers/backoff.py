"""How long until the next attempt, reckoned apart from the core: a checker does not ask the code that it checks.

Source: the semantics of `temporal.api.common.v1.RetryPolicy`; the reference's default intervals are in `Limits`.
"""

from temporalio.api.common.v1 import RetryPolicy

from perdure.base.clock import from_duration


def backoff_ns(policy: RetryPolicy, attempt: int) -> int:
    """Nanoseconds between the end of attempt `attempt` (1-based) and the start of the next, capped by the policy's
    maximum.
    """
    initial = from_duration(policy.initial_interval)
    maximum = from_duration(policy.maximum_interval)
    coefficient = policy.backoff_coefficient or 1.0
    try:
        interval = int(initial * coefficient ** (attempt - 1))
    except OverflowError:
        interval = maximum or 2**62
    if interval <= 0:
        interval = maximum or 2**62
    return min(interval, maximum) if maximum else interval
