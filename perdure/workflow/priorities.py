"""Priority and fairness of a task, from the encoded `temporal.api.common.v1.Priority` of a run and of what it
schedules.

Values stay encoded in state; the few different ones are parsed once. Source of defaults: the API (priority key 1..5, 3
in the middle; weight 1).
"""

from functools import lru_cache

from temporalio.api.common.v1 import Priority

PRIORITY_DEFAULT = 3
PRIORITY_LOWEST = 5
_FAIRNESS_KEY_BYTES_MAX = 64
# With what a newer client says besides; the encoded ones are kept.
_BYTES_MAX = 1_024


@lru_cache(maxsize=4096)
def merge(base: bytes, override: bytes) -> bytes:
    """`override`, with `base`'s value for every field that it leaves unset."""
    if not base or not override:
        return override or base
    under, over = Priority.FromString(base), Priority.FromString(override)
    return Priority(
        priority_key=over.priority_key or under.priority_key,
        fairness_key=over.fairness_key or under.fairness_key,
        fairness_weight=over.fairness_weight or under.fairness_weight,
    ).SerializeToString()


@lru_cache(maxsize=4096)
def rank(priority: bytes) -> tuple[int, str, float]:
    """What matching sorts by: (priority 1..5, fairness key, fairness weight)."""
    if not priority:
        return PRIORITY_DEFAULT, "", 1.0
    message = Priority.FromString(priority)
    key = min(message.priority_key or PRIORITY_DEFAULT, PRIORITY_LOWEST)
    # What is no number equals nothing, not even itself: an offer with it could never be taken back.
    weight = message.fairness_weight if message.fairness_weight > 0 else 1.0
    return key, message.fairness_key, weight


def fairness_key_fault(key: str) -> str:
    """What is wrong with a fairness key, in the reference's words; "" if nothing is."""
    return "fairness key length exceeds limit" if len(key.encode()) > _FAIRNESS_KEY_BYTES_MAX else ""


def priority_fault(priority: Priority) -> str:
    """What is wrong with a caller's `priority`, in the reference's words; "" if nothing is."""
    if priority.priority_key < 0:
        return "priority key can't be negative"
    if fault := fairness_key_fault(priority.fairness_key):
        return fault
    if priority.fairness_weight < 0:
        return "must be greater than zero"
    if priority.ByteSize() > _BYTES_MAX:
        return "priority size exceeds limit"
    return ""
