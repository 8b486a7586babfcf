"""When the lanes of a task queue have their turns: weighted and fair, without anything remembered of a lane.

Time here is counted in ticks of `STRIDE` to a task of weight 1. Each lane has a clock of its own, that ticks every
`STRIDE / weight` from an offset of its own on; at each of its ticks it may have one task started. The queue's hand goes
to the next tick of any lane that has tasks, and passes those of lanes that have none. So while two lanes have tasks,
each gets one per stride, give or take one: their shares are as their weights, whatever else happens, and a lane that
comes anew waits for one of its own strides at most. All that is kept is the hand, one for each priority: another owner
of the queue begins anywhere and is as fair. Values only; knows no task.
"""

from collections.abc import Mapping

STRIDE = 1_000_000_000
# The reference's least (`service/matching/fairness_util.go`), and as much in the other direction.
WEIGHT_MIN = 0.001
WEIGHT_MAX = 1_000.0
_OFFSETS = 1 << 64

# A tick, and whose of those that tick at once.
Turn = tuple[int, str]
FIRST: Turn = (0, "")


def stride_of(weight: float) -> int:
    """Ticks between two turns of a lane; a weight that is no number above 0 is 1."""
    if not weight > 0:
        return STRIDE
    return int(STRIDE / _within(weight))


def next_turn(hand: Turn, lane: str, stride: int) -> Turn:
    """The first turn of a lane beyond the hand."""
    begun, last = hand
    offset = int(lane[1:], 16) * stride // _OFFSETS if lane else 0
    tick = offset - (offset - begun) // stride * stride  # at or beyond the hand
    if tick == begun and lane <= last:
        tick += stride
    return tick, lane


def weight_in(overrides: Mapping[str, float], key: str, weight: float) -> float:
    """What counts for a task: what operators set for its fairness key, else what it came with; within bounds."""
    found = overrides.get(key, weight)
    return _within(found) if found > 0 else 1.0


def _within(weight: float) -> float:
    return min(max(weight, WEIGHT_MIN), WEIGHT_MAX)
