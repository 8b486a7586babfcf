"""Checks of durations that callers send: not negative, and capped.

The cap (100 years) keeps every due time inside what clients and databases can hold; a longer duration is shortened
without an error, as the reference does. Refuses to know what a duration is for: callers name the field in their own
message.
"""

from google.protobuf.duration_pb2 import Duration

from perdure.base.clock import SECOND_NS, from_duration

DURATION_NS_MAX = 100 * 365 * 24 * 3600 * SECOND_NS


def duration_fault(duration: Duration) -> str:
    """What is wrong with `duration`, in the reference's words; "" if nothing is."""
    if (duration.seconds > 0 > duration.nanos) or (duration.seconds < 0 < duration.nanos):
        return "duration has seconds and nanos with different signs"
    if duration.seconds < 0 or duration.nanos < 0:
        return "negative duration"
    return ""


def capped_ns(duration: Duration) -> int:
    """`duration` in nanoseconds, at most the cap; an unset one is 0."""
    return min(from_duration(duration), DURATION_NS_MAX)
