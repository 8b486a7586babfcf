"""What the suites share: how a store comes and goes, fresh names, and rows to write."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from perdure.base.entropy import SystemEntropy, new_id
from perdure.base.slots import ChainKey, SlotRange
from perdure.store.contract import Checkpoint, Home, Node, Pointer, SegmentHeader, SegmentId, Snapshot, Store
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer, TimerKind

_entropy = SystemEntropy()


def fresh() -> str:
    """A name that no other row has."""
    return new_id(_entropy)


# The home of index rows in tests that need no other.
HOME = Home(fresh(), SlotRange())


class StoreSuite:
    """Base of every suite. An adapter overrides `opened`."""

    def opened(self, *, empty: bool = False) -> AbstractAsyncContextManager[Store]:
        """A store for one test, closed behind it. `empty`: it must hold nothing; else what others left may be in it."""
        raise NotImplementedError


def chain(workflow_id: str = "w", namespace_id: str | None = None) -> ChainKey:
    """A key in a fresh namespace, unless one is given."""
    return ChainKey(fresh() if namespace_id is None else namespace_id, workflow_id)


async def new_segment(store: Store, epoch: int = 1, last: int = 0) -> SegmentId:
    """An open segment of a fresh shard."""
    segment = SegmentId(fresh(), epoch, 0)
    written = await store.log.open_segment(segment, SegmentHeader(epoch, last, 0))
    assert written.applied
    return segment


def checkpoint(
    stamp_us: int,
    *rows: Snapshot | Pointer | Node | Offer | Timer,
    removed: Sequence[Offer | Timer] = (),
    dropped: Sequence[tuple[ChainKey, str]] = (),
    home: Home = HOME,
) -> Checkpoint:
    """A checkpoint of `rows`, sorted into their lists."""
    return Checkpoint(
        stamp_us=stamp_us,
        home=home,
        snapshots=[row for row in rows if isinstance(row, Snapshot)],
        pointers=[row for row in rows if isinstance(row, Pointer)],
        nodes=[row for row in rows if isinstance(row, Node)],
        dropped_branches=list(dropped),
        added_offers=[row for row in rows if isinstance(row, Offer)],
        removed_offers=[row for row in removed if isinstance(row, Offer)],
        added_timers=[row for row in rows if isinstance(row, Timer)],
        removed_timers=[row for row in removed if isinstance(row, Timer)],
    )


def queue_of(key: ChainKey, name: str = "q") -> QueueKey:
    """An activity queue in the chain's namespace."""
    return QueueKey(key.namespace_id, name, QueueKind.ACTIVITY)


def offer_of(key: ChainKey, scheduled_ns: int, *, priority: int = 3, sticky: str = "", event: int = 5) -> Offer:
    """An offer of a task on the chain's queue."""
    return Offer(key, "run", queue_of(key), event, 1, 0, scheduled_ns, sticky=sticky, priority=priority)


def timer_of(key: ChainKey, due_ns: int, *, event: int = 5, stamp: int = 0) -> Timer:
    """A user timer of the chain."""
    return Timer(due_ns, key, "run", TimerKind.USER, event, 1, stamp)
