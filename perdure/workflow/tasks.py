"""What a run wants from the world outside, as values.

A task is never stored on its own in the log: it is derived from the run's state (`perdure.workflow.outstanding`). The
index rows that a checkpoint writes are hints for paging and for cold recovery; firing or starting one validates it
against the state again. Equality is identity: two equal tasks are the same task.
"""

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b

import msgspec

from perdure.base.slots import ChainKey


class QueueKind(IntEnum):
    """The task types a task queue serves; the values are those of `temporal.api.enums.v1.TaskQueueType`."""

    WORKFLOW = 1
    ACTIVITY = 2
    NEXUS = 3


class QueueKey(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One task-queue partition's address, or that of one lane of its tasks: `version` is what the queue's tasks are
    split by, the lane of a fairness key (`lane_of`), "" for the tasks of none.
    """

    namespace_id: str
    name: str
    kind: QueueKind
    version: str = ""


class Offer(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """A reference to a workflow or activity task that is scheduled and not started.

    Keyed by (run, scheduled event id, attempt, stamp). `queue` is the normal queue, in the lane of the fairness key if
    the task counts for that; `sticky` is the worker's own queue, "" if there is none. `order` sorts a lane's backlog:
    (priority 1..5, 0, scheduled time in ns).
    """

    key: ChainKey
    run_id: str
    queue: QueueKey
    scheduled_event_id: int
    attempt: int
    stamp: int
    scheduled_time_ns: int
    sticky: str = ""
    priority: int = 3
    fairness_key: str = ""
    fairness_weight: float = 1.0
    schedule_to_start_ns: int = 0

    @property
    def order(self) -> tuple[int, int, int, str, int, int, int]:
        """Where this offer stands in its queue; unique per offer."""
        return (
            self.priority,
            0,
            self.scheduled_time_ns,
            self.run_id,
            self.scheduled_event_id,
            self.attempt,
            self.stamp,
        )


class TimerKind(IntEnum):
    """What a timer is for. Stored: values never change."""

    USER = 1
    WORKFLOW_TASK_SCHEDULE_TO_START = 2
    WORKFLOW_TASK_START_TO_CLOSE = 3
    WORKFLOW_TASK_BACKOFF = 4
    ACTIVITY_SCHEDULE_TO_START = 5
    ACTIVITY_SCHEDULE_TO_CLOSE = 6
    ACTIVITY_START_TO_CLOSE = 7
    ACTIVITY_HEARTBEAT = 8
    ACTIVITY_RETRY = 9
    RUN_TIMEOUT = 10
    EXECUTION_TIMEOUT = 11
    RETENTION = 12
    CHILD_START = 13
    CHILD_UNCLAIMED = 14
    EXTERNAL_SIGNAL = 15
    EXTERNAL_CANCEL = 16
    PARENT_REPORT = 17
    CHILDREN_CLOSE = 18
    CALLBACK = 19
    FAST_FORWARD = 20


# Errands: work at another workflow id, or outside, for as long as the run's state wants it. They are timers so that
# they are found again after any crash, repeated more and more slowly, and hold nothing else up.
ERRANDS = frozenset(
    {
        TimerKind.CHILD_START,
        TimerKind.CHILD_UNCLAIMED,
        TimerKind.EXTERNAL_SIGNAL,
        TimerKind.EXTERNAL_CANCEL,
        TimerKind.PARENT_REPORT,
        TimerKind.CHILDREN_CLOSE,
        TimerKind.CALLBACK,
    }
)


class Timer(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """Wakes a run at `due_ns` (its shard's time, whatever the run has skipped). `event_id`, `attempt` and `stamp` say
    which entry it belongs to.
    """

    due_ns: int
    key: ChainKey
    run_id: str
    kind: TimerKind
    event_id: int = 0
    attempt: int = 0
    stamp: int = 0


class EffectKind(IntEnum):
    """One-shot work after a commit. Stored: values never change."""

    VISIBILITY = 1
    VISIBILITY_DELETE = 2


class Effect(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """Work to be done at least once, idempotent by (run, kind, version). `version` is the run's transition count.
    `start_ns`: of a deletion, when the run started, 0 = not known.
    """

    key: ChainKey
    run_id: str
    kind: EffectKind
    version: int
    start_ns: int = 0


Task = Offer | Timer | Effect


class Backlog(msgspec.Struct, frozen=True, array_like=True):
    """Absolute figures of one shard for one partition, so that a lost message heals. `oldest_ns` 0 = none. `has_more`:
    behind the offers that these come with there may be others that nobody told of.
    """

    shard: str
    epoch: int
    count: int
    oldest_ns: int
    has_more: bool = False


def partition_of(offer: Offer) -> QueueKey:
    """The lane of a matching partition that an offer goes to first: the worker's sticky queue, which has no others than
    "", if it has one.
    """
    if not offer.sticky:
        return offer.queue
    return QueueKey(offer.queue.namespace_id, offer.sticky, offer.queue.kind)


# Of an address: all lanes of its partition, for whoever only looks.
EVERY_LANE = "*"


@lru_cache(maxsize=4096)
def lane_of(fairness_key: str) -> str:
    """The lane of a fairness key's tasks: 64 bits of the key. Stored: its form never changes."""
    return "~" + blake2b(fairness_key.encode(), digest_size=8).hexdigest() if fairness_key else ""


def lane_key(partition: QueueKey, lane: str) -> QueueKey:
    """The lane's address; "" = that of the tasks of none."""
    return QueueKey(partition.namespace_id, partition.name, partition.kind, lane)


def unlaned(lane: QueueKey) -> QueueKey:
    """The partition that a lane is of."""
    return QueueKey(lane.namespace_id, lane.name, lane.kind) if lane.version else lane
