"""The seam between a shard and the executions that live in it.

A `Shard` is what the history role works with: it appends transitions, waits until they are durable, and reads the
shard's clock. `Executions` is what a shard asks of the history role: replay this, give me the rows to checkpoint, act
on these tasks.

Order of things, for every transition:
1. the role decides under the chain's lock at `next_position`, and appends without awaiting in between;
2. the shard commits groups of transitions, one conditional write in flight;
3. once durable, in log order: index changes take effect, `Transition.committed` is called, waiters of `durable` go
on, then the
   pumps see the added tasks;
4. some time later the chain's rows are checkpointed, and the log behind them is dropped.
If a group is definitely not applied, or another owner has the shard, the shard is lost: every waiter gets ShardLost,
`unload` is called, nothing more is acted on.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from perdure.base.errors import Bug
from perdure.base.slots import ChainKey, SlotRange
from perdure.store.contract import Node, Pointer, Snapshot
from perdure.workflow.tasks import Backlog, Effect, Offer, QueueKey, Task, Timer

# The largest state of a run that every store takes as a row; of a request Cassandra takes 16 MiB.
SNAPSHOT_BYTES_MAX = 12 << 20


class Transition(msgspec.Struct, frozen=True):
    """One decision on its way into the log. `body` is opaque to the shard; `committed` is called once, when it is
    durable.
    """

    key: ChainKey
    body: bytes
    added: Sequence[Task]
    removed: Sequence[Task]
    committed: Callable[[], None] | None = None


class Shard(Protocol):
    """A shard that this process owns."""

    @property
    def shard_id(self) -> str:
        """The incarnation's id (a UUID); of the log, not of the slots."""
        ...

    @property
    def slots(self) -> SlotRange:
        """The slots whose chains live here."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch this owner commits under."""
        ...

    def now_ns(self) -> int:
        """The shard's time: never before that of a record it has read or written."""
        ...

    @property
    def next_position(self) -> int:
        """The position that the next appended transition gets."""
        ...

    def append(self, transition: Transition, *, urgent: bool = False) -> int:
        """Put a transition into the next group; returns its position. Raises ShardLost; ResourceExhausted when too
        much is dirty, unless it is `urgent`: what finishes work passes.
        """
        ...

    async def durable(self, position: int) -> None:
        """Wait until everything up to `position` is durable. Call it after the state was read that an answer is made
        of. Raises ShardLost if that will never be; Unavailable if nothing had to be waited for and this process can't
        tell now whether it still owns the shard.
        """
        ...

    @property
    def can_answer(self) -> bool:
        """Whether what is remembered of the shard is surely the newest: else what looks wrong may be another's work."""
        ...

    def fail(self, reason: str) -> None:
        """Give the shard up: its memory can't be trusted. Whoever takes it next replays it from the log. Idempotent."""
        ...

    async def read_offers(self, partition: QueueKey, after: Offer | None, limit: int) -> tuple[list[Offer], Backlog]:
        """Outstanding offers of a partition (`partition_of`) in order, committed ones only, dirty and checkpointed
        merged.
        """
        ...

    def backlog(self, partition: QueueKey) -> Backlog:
        """This shard's figures of a partition."""
        ...


class Oversized(Bug):
    """A chain's rows are larger than stores take. Nothing was made of them: once they are smaller they can be."""


class ChainRows(msgspec.Struct):
    """What a chain wants written, as of `position` (the newest transition its state saw)."""

    position: int
    snapshots: list[Snapshot] = []
    pointers: list[Pointer] = []
    nodes: list[Node] = []
    dropped_branches: list[tuple[ChainKey, str]] = []
    added_offers: list[Offer] = []
    removed_offers: list[Offer] = []
    added_timers: list[Timer] = []
    removed_timers: list[Timer] = []


class Executions(Protocol):
    """What a shard asks of the role that gives its records meaning."""

    async def recover(self, shard: Shard, records: Sequence[tuple[int, bytes]]) -> dict[ChainKey, list[Task] | None]:
        """Load what these (position, body) records touch and replay them, skipping what a snapshot has already
        applied.

        Returns all outstanding tasks of every run touched, by chain: what other runs of the chain have outstanding is
        in its rows. A chain whose replay fails is quarantined, never the shard: None, nothing of it counts.
        """
        ...

    def rows(self, shard: Shard, key: ChainKey) -> ChainRows:
        """The rows of a dirty chain, as it is now; written once `position` is durable.

        Called once per checkpoint: the shard keeps the rows and sends the same again until they are durable. Raises Bug
        where they can't be made (quarantine): the chain's log is kept then, for as long as this owner has the shard;
        Oversized: until they can be.
        """
        ...

    def checkpointed(self, shard: Shard, key: ChainKey, rows: ChainRows) -> None:
        """These rows are durable; if nothing happened to the chain since, it may be evicted."""
        ...

    def unload(self, shard: Shard) -> None:
        """The shard is lost or released: forget its chains, and wake everyone who waits for one with ShardLost."""
        ...

    async def fire(self, shard: Shard, timer: Timer) -> None:
        """A committed timer is due. Returning means it is done or obsolete."""
        ...

    async def offer(self, shard: Shard, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        """Committed offers to hand to matching, which pulls what it could not take. Raises Unavailable to be called
        again.
        """
        ...

    async def withdraw(self, shard: Shard, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        """Committed: these offers are void. Best effort: what stays is refused when it is started."""
        ...

    async def perform(self, shard: Shard, effects: Sequence[Effect]) -> None:
        """Do these one-shot effects; returning means they are durable. Raises Unavailable to be called again."""
        ...

    def audit(self, shard: Shard, limit: int) -> dict[ChainKey, list[Task]]:
        """Outstanding tasks of up to `limit` further loaded chains, round robin, for the auditor to compare with its
        indexes.
        """
        ...

    async def left_of(self, shard: Shard, key: ChainKey, run_id: str, start_ns: int) -> Timer | Effect | None:
        """What is left to do until nothing is left of a run that lists show as closed; durable when it returns.

        The timer that ends its retention; of a run that is gone the effect that deletes its list row; None if the run
        is open, or owes something to others. Raises ShardLost, Unavailable, Bug (quarantine).
        """
        ...
