"""What a store must do: six small interfaces.

`LogStore`, `ShardStore` and `LeaseStore` take conditional writes only; `Checkpoints` takes plain, idempotent, stamped
writes only; no table has both. Rules and the interleavings behind them: docs/decisions, 0010.

Errors, for every method of every interface:
- a definite failure (refused, disk full before anything was written, row over a limit) raises `StoreUnavailable`;
- an outcome that is not known (time-out, connection loss, a failed fsync) raises `OutcomeUnknown`: it may have
  happened, and may still happen later. For a conditional write the caller sends the same bytes again until the answer
  is definite.
Cancelling a call leaves its outcome unknown.

A *stamp* is a whole number of microseconds, given by a shard's owner, rising with each checkpoint row that it writes.
For one row the write with the highest stamp wins, whatever the order of arrival; a deletion is a write, and beats a
write of the same stamp. A deletion's trace may be forgotten after an hour.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Unavailable
from perdure.base.slots import ChainKey, SlotRange
from perdure.visibility.rows import VisibilityPage, VisibilityQuery, VisibilityRow
from perdure.workflow.tasks import Offer, QueueKey, Timer

# A group's body may have so many bytes; more is refused before anything is written.
GROUP_BYTES_MAX = 12 << 20
# How long a visibility row's deletion hides older versions of it: no write from before it is on its way for so long.
VISIBILITY_DELETION_NS = 24 * 3600 * SECOND_NS


class OutcomeUnknown(Unavailable):
    """The write may or may not have been done, and may still land."""


# ---------------------------------------------------------------- the log


class SegmentId(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A log segment: never used again once dropped. `shard` is the shard's incarnation id (a UUID)."""

    shard: str
    epoch: int
    number: int


class SegmentHeader(msgspec.Struct, frozen=True, array_like=True):
    """A segment's head, which every conditional write compares.

    `epoch`: who may append. `last`: number of the newest group in the chain. `ceiling_us`: stamps up to here may be
    in use. `next`: None while the segment is the end of the chain; else the segment that follows. `end`: set with
    `next`: groups beyond it are to be ignored.
    """

    epoch: int
    last: int
    ceiling_us: int
    next: SegmentId | None = None
    end: int | None = None


class Group(msgspec.Struct, frozen=True, array_like=True):
    """One committed group: number `n` in the chain, `body` opaque bytes (at most 12 MiB)."""

    n: int
    body: bytes
    ceiling_us: int


class Written(msgspec.Struct, frozen=True):
    """A conditional write's definite answer. `applied` False leaves everything as it was; `header` is what stands
    then, None if there is no such segment.
    """

    applied: bool
    header: SegmentHeader | None


class LogStore(Protocol):
    """Segments of the shard logs. Conditional statements only."""

    async def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Written:
        """Create the segment with this header if it does not exist."""
        ...

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        """Add `group` if header.epoch == epoch, header.last == group.n - 1 and header.next is None.

        Sets header.last and header.ceiling_us. Not applied to a segment that does not exist. Durable when it returns
        applied.
        """
        ...

    async def link(self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int) -> Written:
        """Set next=following, end=last, epoch=new_epoch if header.epoch == epoch, header.last == last and header.next
        is None.

        The owner links its next segment with new_epoch == epoch; a new owner seals with its own, higher epoch.
        """
        ...

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        """The header, after any write in doubt was settled (a serial read); None if there is no such segment."""
        ...

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        """Up to `limit` groups with n > after, ascending; never beyond header.end where that is set."""
        ...

    async def drop_segment(self, segment: SegmentId) -> None:
        """Remove a segment for ever, header and groups. Idempotent; later appends to it are not applied."""
        ...

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        """Some segments of all shards of which anything is stored, at most `limit`, and the place to go on at; both
        from b"" to b"".

        Only to look for what nothing leads to: in no order, one may come twice, and a page may be empty. What is stored
        during a whole walk comes; an opening, an append or a drop that is still in doubt need not show.
        """
        ...


# ---------------------------------------------------------------- shards


class Home(msgspec.Struct, frozen=True, array_like=True):
    """Whose index rows: those of a shard, by its incarnation's id and by its slots.

    Rows written under a home are read under it; a store may keep them by either part (`Checkpoints.index_by_slot`).
    Where they are kept by the shard, a home of fewer slots than they were written under reads all of them.
    """

    shard: str
    slots: SlotRange


class ShardRow(msgspec.Struct, frozen=True, array_like=True):
    """A shard: its slots, the newest epoch that was drawn for it, and the first segment of its log still needed.

    `owner`: the host (`LeaseRow.host`) that may answer from what it remembers of the shard, "" while none may. Who
    draws an epoch leaves it; it changes when the former owner's lease is over, and before the new one answers.

    `reshaping`: the version of the map that a reshaping is going to replace, which retires this shard or makes it; None
    = none is. Before an epoch is drawn then, the map tells what became of it. `after_us`: stamps up to here may be in
    use for its chains, besides those that its log tells of. `inherits`: homes whose index rows of its slots are its own
    too. `time_ns`: the shard's time is not before it.
    """

    shard: str
    slots: SlotRange
    epoch: int
    first: SegmentId | None
    version: int = 0
    owner: str = ""
    reshaping: int | None = None
    after_us: int = 0
    inherits: tuple[Home, ...] = ()
    time_ns: int = 0


class ShardMap(msgspec.Struct, frozen=True, array_like=True):
    """Which shards there are: (first slot, shard id), ascending; each goes on to where the next begins."""

    version: int
    shards: tuple[tuple[int, str], ...]


class ShardStore(Protocol):
    """Shard rows, and the map that names those that count. Conditional statements only."""

    async def list_shards(self) -> list[ShardRow]:
        """The rows of all shards that the map names, ordered by their first slot; they cover the hash space without
        overlap once it was initialised.
        """
        ...

    async def initialise(self, rows: Sequence[ShardRow]) -> list[ShardRow]:
        """Create these shards if the store has none yet, all or nothing; returns the rows that stand."""
        ...

    async def read_shard(self, shard: str) -> ShardRow | None:
        """One row, after any write in doubt was settled."""
        ...

    async def replace_shard(self, row: ShardRow) -> bool:
        """Write `row` if the stored version is row.version - 1; False if it is not (or the row is missing)."""
        ...

    async def read_map(self) -> ShardMap | None:
        """The map, after any change in doubt was settled; None before `initialise`."""
        ...

    async def reshape(self, at: int, retired: Sequence[str], created: Sequence[ShardRow]) -> bool:
        """If the map's version is `at`: name `created` in place of `retired`, of the same slots; it is at + 1 then.

        The rows of `created`, under ids that were never used, are there before the map names them; they may be left
        there if it never does, and the rows of `retired` afterwards (`list_unnamed`). False if the version is another;
        nothing can come of this call then any more. With nothing retired and created only the version rises.
        """
        ...

    async def list_unnamed(self) -> list[ShardRow]:
        """Rows that the map does not name: of shards that were retired, of reshapings that came to nothing, and of
        those under way. Those in doubt need not show.
        """
        ...

    async def remove_shard(self, shard: str, version: int) -> bool:
        """Remove a row that the map does not name, if it has this version; False if it has another, or is missing."""
        ...


class LeaseRow(msgspec.Struct, frozen=True, array_like=True):
    """A host's lease: one process from its start to its end, under an id that no other has.

    `revoked`: (shard, epoch) that an owner of that epoch is taking from the host, and the host has not confirmed yet.
    """

    host: str
    version: int
    revoked: tuple[tuple[str, int], ...] = ()


class LeaseStore(Protocol):
    """Leases of hosts, one row each (L11). Conditional statements only. Nothing in a row is a time."""

    async def read_lease(self, host: str) -> LeaseRow | None:
        """One row, after any write in doubt was settled."""
        ...

    async def replace_lease(self, row: LeaseRow) -> bool:
        """Write `row` if the stored version is row.version - 1 (0 = must not exist); False if not."""
        ...

    async def remove_lease(self, host: str, version: int) -> bool:
        """Remove the row if it has this version; False if not."""
        ...


# ---------------------------------------------------------------- checkpoints


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The state of a run as of log position `applied`, in one cell; body None = the run was deleted at that
    position.
    """

    key: ChainKey
    run_id: str
    applied: int
    body: bytes | None


class Pointer(msgspec.Struct, frozen=True, array_like=True):
    """The current-run pointer as of log position `applied`; body None = there is none."""

    key: ChainKey
    applied: int
    body: bytes | None


class Node(msgspec.Struct, frozen=True, array_like=True):
    """A history batch: events `first`..`end`-1 on a branch. `body` is an encoded temporal.api.history.v1.History with
    them.
    """

    branch: str
    first: int
    end: int
    body: bytes


class Checkpoint(msgspec.Struct):
    """Rows of any number of chains. Row by row idempotent; one that is torn as `Checkpoints.write` allows is harmless.

    An offer's row is named by (`partition_of`, `order`), a timer's by all its fields; one that is both removed and
    added stands. A dropped branch loses its nodes up to the stamp, those of this checkpoint too.
    """

    stamp_us: int
    home: Home
    snapshots: list[Snapshot]
    pointers: list[Pointer]
    nodes: list[Node]
    dropped_branches: list[tuple[ChainKey, str]]
    added_offers: list[Offer]
    removed_offers: list[Offer]
    added_timers: list[Timer]
    removed_timers: list[Timer]


class QueueCount(msgspec.Struct, frozen=True, array_like=True):
    """How many offer rows of a home a partition has, and the oldest scheduled time among them."""

    queue: QueueKey
    count: int
    oldest_ns: int


class Checkpoints(Protocol):
    """Checkpoint tables: plain idempotent writes, the highest stamp wins per row. Only index rows may be kept by shard:
    all of a shard are written and read by its owner, which adopts them when it takes the shard.
    """

    @property
    def index_by_slot(self) -> bool:
        """Whether index rows are kept by slot: of a home its slots count, whoever wrote them. Else by its shard."""
        ...

    def adopt(self, home: Home) -> None:
        """Index rows of this home are read here from now on by an owner that knows nothing of them yet: what is
        remembered of them may be of a time before another process wrote some.
        """
        ...

    async def drop_index(self, home: Home, stamp_us: int) -> None:
        """Remove all index rows of a home up to the stamp, where they are kept by its shard; else nothing. Idempotent.
        Nobody writes or reads under this home any more.
        """
        ...

    async def write(self, checkpoint: Checkpoint) -> None:
        """Write all rows; returns when all are durable.

        Snapshots and pointers are written only after everything else is durable, so that what a snapshot covers is
        covered everywhere, also after a crash in between.
        """
        ...

    async def read_snapshot(self, key: ChainKey, run_id: str) -> Snapshot | None:
        """A run's snapshot; None if there never was one (or it was deleted long ago)."""
        ...

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        """The chain's current-run pointer."""
        ...

    async def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        """Nodes of the branch that overlap `first` <= id < `end`, ascending; stops after the node that passes
        limit_bytes.
        """
        ...

    async def read_nodes_back(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        """The same, descending from the end."""
        ...

    async def read_offers(self, home: Home, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        """Outstanding offers of a home and partition (those whose `partition_of` is `queue`) in `Offer.order`, beyond
        `after`.
        """
        ...

    async def count_offers(self, home: Home) -> list[QueueCount]:
        """The partitions that have outstanding offers in the home, in the order of their keys."""
        ...

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        """Timers of a home by (due_ns, key, run id, kind, event id, attempt, stamp), beyond `after`."""
        ...


# ---------------------------------------------------------------- lists and small documents


class VisibilityStore(Protocol):
    """Rows that lists and counts read. Eventually consistent with histories."""

    async def upsert(self, rows: Sequence[VisibilityRow]) -> None:
        """Write rows; per run the highest `version` wins, and a row with `deleted` hides all up to its own for a day
        at least.

        All rows of a run have the same start time, so that a store may keep them by it; a deletion may have 0 if it
        isn't known, and then deletes what is there. A run that was deleted may be made anew under its id, by whoever
        can only start it again: it has a later start, and what is older, a deletion too, hides nothing of it.
        """
        ...

    async def list(self, query: VisibilityQuery) -> VisibilityPage:
        """One page (`token.page_of`), newest start first, of equal starts the greater run id. Raises InvalidArgument
        for a strange token.

        A page may be shorter, or empty, where a store would have to look far for the rest: only a page without a token
        is the last.
        """
        ...

    async def count(self, query: VisibilityQuery) -> int:
        """How many rows match."""
        ...

    async def count_by_status(self, query: VisibilityQuery) -> dict[int, int]:
        """How many rows match, by `status`; those that no row has are absent."""
        ...

    async def overdue(
        self, namespace_id: str, closed_before_ns: int, place: bytes, limit: int
    ) -> tuple[Sequence[VisibilityRow], bytes]:
        """Some rows of closed runs, at most `limit`, that started and closed before then, oldest start first, of equal
        starts the smaller run id; and the place to go on at. Both from b"" to b"".

        Only to look for what should not be there any more: a page may be short, or empty, where a store would have to
        look far; memo and search attributes may be left out. What is there during a whole walk comes.
        """
        ...


class Document(msgspec.Struct, frozen=True, array_like=True):
    """A small versioned value: a namespace, a queue's configuration, the search attributes."""

    kind: str
    key: str
    version: int
    body: bytes


class Documents(Protocol):
    """Small versioned documents, changed by compare-and-set. Kinds: `namespace`, `queue`, `cluster`."""

    async def read_document(self, kind: str, key: str) -> Document | None:
        """One document."""
        ...

    async def list_documents(self, kind: str) -> list[Document]:
        """All documents of a kind, by key."""
        ...

    async def replace_document(self, document: Document) -> bool:
        """Write it if the stored version is document.version - 1 (0 = must not exist); False if not."""
        ...


class Store(Protocol):
    """A whole store. The six interfaces may be one object or several."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have it open at the same time. Owners of shards then need leases."""
        ...

    @property
    def log(self) -> LogStore:
        """Log segments."""
        ...

    @property
    def shards(self) -> ShardStore:
        """Shard rows."""
        ...

    @property
    def leases(self) -> LeaseStore:
        """Leases of hosts."""
        ...

    @property
    def checkpoints(self) -> Checkpoints:
        """Checkpoint tables."""
        ...

    @property
    def visibility(self) -> VisibilityStore:
        """List rows."""
        ...

    @property
    def documents(self) -> Documents:
        """Small documents."""
        ...

    async def close(self) -> None:
        """Release everything; calls in flight may end with OutcomeUnknown."""
        ...
