"""Advice to workers on how many pollers to keep, and the fields that carry it in a poll's answer.

The rules are the reference's (`service/matching/physical_task_queue_manager.go`, semantics 13): fewer if the poller was
idle, more if there is an old backlog or tasks come faster than they go. Appended to the encoded answer as bytes: two
concatenated messages merge. Knows no partition.
"""

import msgspec

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.matching.pacing import RateLimit
from perdure.workflow.tasks import QueueKind

IDLE_NS = SECOND_NS
BACKLOG_AGE_NS = 200 * MS_NS
ADD_TO_DISPATCH = 1.2
DECISIONS_PER_SECOND = 10.0  # for each poller seen lately

# PollWorkflowTaskQueueResponse.backlog_count_hint = 7, varint.
_HINT = b"\x38"
# poller_scaling_decision, length-delimited: field 16 of the workflow answer, 18 of the activity answer.
_DECISION = {QueueKind.WORKFLOW: b"\x82\x01", QueueKind.ACTIVITY: b"\x92\x01"}


class Load(msgspec.Struct, frozen=True):
    """What a partition looks like when a poll is answered. `rate_limited`: a worker's limit holds tasks back."""

    backlog_count: int
    backlog_age_ns: int
    add_rate: float
    dispatch_rate: float
    rate_limited: bool


def idle_delta(waited_ns: int, *, from_backlog: bool) -> int:
    """-1 for a poller that waited long for a task that came just now, else 0."""
    return -1 if waited_ns >= IDLE_NS and not from_backlog else 0


def busy_delta(load: Load) -> int:
    """1 if one more poller would help, else 0."""
    if load.rate_limited:
        return 0
    if load.backlog_count > 0 and load.backlog_age_ns > BACKLOG_AGE_NS:
        return 1
    return 1 if load.add_rate > load.dispatch_rate * ADD_TO_DISPATCH else 0


class Advice:
    """Limits how often a partition advises more pollers: ten times a second for each poller it knows."""

    __slots__ = ("_limit",)

    def __init__(self) -> None:
        self._limit = RateLimit()

    def may_raise(self, pollers: int, now_ns: int) -> bool:
        """True if there may be one more advice now."""
        self._limit.set_rate(DECISIONS_PER_SECOND * max(1, pollers), now_ns)
        if not self._limit.available(now_ns):
            return False
        self._limit.take()
        return True


def appended_fields(kind: QueueKind, backlog_count: int, delta: int) -> bytes:
    """The fields to append to an encoded poll answer; fields at their default are left out. Activities get no hint."""
    fields = b""
    if backlog_count > 0 and kind == QueueKind.WORKFLOW:
        fields = _HINT + _varint(backlog_count)
    if delta:
        decision = b"\x08" + _varint(delta)
        fields += _DECISION[kind] + _varint(len(decision)) + decision
    return fields


def _varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
