"""The cache of chains of one shard: entries, what of them is dirty, and eviction by bytes.

Invariants: an entry with anything that no checkpoint holds, or with a waiter, stays; so does one with updates that are
in memory only, as long as somebody may wait for them; one loader at a time reads for an entry; the cache's bytes are
the sum of its entries'. What an entry knows is the newest state, durable or not; whoever
answers from it waits for `position` first.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Bug, ShardLost
from perdure.base.metrics import Metrics
from perdure.base.slots import ChainKey
from perdure.history.lookups import Lookups
from perdure.history.snapshots import decode_pointer, decode_run
from perdure.history.tails import Tail, history_of
from perdure.shards.contract import Shard
from perdure.store.contract import Checkpoints, Node
from perdure.workflow.evolve import history_batches
from perdure.workflow.outstanding import outstanding
from perdure.workflow.state import Chain, Run
from perdure.workflow.steps import Delete, Mutation, Record
from perdure.workflow.tasks import Effect, EffectKind, Task

_ENTRY_BYTES = 4_096
# Above that of any row of the run; one that is made anew under its id has another start.
_DELETED_VERSION = 2**62
# A defect makes the shard replay its memory from the log, but not so soon after it did so: a request or timer that
# always shows the same defect must not keep it from serving all others.
_REPLAY_AGAIN_NS = 60 * SECOND_NS
# Longer than anybody waits for an update without asking again. What nobody asks for any more goes when room is needed:
# nothing of it was promised.
_FORSAKEN_NS = 60 * SECOND_NS
# What an update in memory costs beside its request: mostly that its chain can't be evicted.
_UPDATE_BYTES = 4_096
# At most so many entries that have to stay are passed over in one search for room.
_PASSED_MAX = 64

Rows = frozenset[Task]


class StoredRows:
    """What is known of a run's index rows in the store: `sure` are there, everything there is in `maybe`."""

    __slots__ = ("maybe", "sure")

    def __init__(self, sure: Rows, maybe: Rows) -> None:
        self.sure = sure
        self.maybe = maybe


def index_tasks(run: Run) -> Rows:
    """The run's tasks that have index rows: offers and timers."""
    return frozenset(task for task in outstanding(run) if not isinstance(task, Effect))


class Entry:
    """One cached chain. `absent`: deleted runs whose deletion no checkpoint holds yet; `sizes`: encoded bytes of the
    runs in memory, as of their newest snapshot; `loaders`: who reads, or waits to read, from the store for it;
    `quarantine`: why nothing can be decided here; `held`: bytes of updates that are in memory only, and when somebody
    asked for one last, by the shard's time.
    """

    __slots__ = (
        "absent",
        "asked_ns",
        "bytes",
        "chain",
        "deleted",
        "dirty_runs",
        "dropped_branches",
        "held",
        "inflight",
        "is_loaded",
        "load_lock",
        "loaders",
        "pointer_dirty",
        "position",
        "quarantine",
        "rows",
        "sizes",
        "tails",
        "waiters",
    )

    def __init__(self, key: ChainKey) -> None:
        self.chain = Chain(key, None, {})
        self.absent: set[str] = set()
        self.position = 0
        self.bytes = _ENTRY_BYTES
        self.held = 0
        self.asked_ns = 0
        self.tails: dict[str, Tail] = {}
        self.rows: dict[str, StoredRows] = {}
        self.sizes: dict[str, int] = {}
        self.dirty_runs: set[str] = set()
        self.deleted: dict[str, int] = {}
        self.dropped_branches: list[str] = []
        self.pointer_dirty = False
        self.inflight = 0
        self.is_loaded = False
        self.load_lock = asyncio.Lock()
        self.loaders = 0
        self.waiters: list[asyncio.Future[None]] = []
        self.quarantine: str | None = None

    @property
    def is_dirty(self) -> bool:
        """True while something of this chain is in the log only."""
        return bool(self.dirty_runs or self.deleted or self.pointer_dirty or self.inflight)

    def is_needed(self, now_ns: int) -> bool:
        """True while somebody waits here, or something would be lost that the store can't bring back."""
        if self.waiters or self.loaders > 0 or self.quarantine is not None:
            return True
        asked_lately = now_ns < self.asked_ns + _FORSAKEN_NS
        return any(run.ephemeral.queries or (asked_lately and _has_updates(run)) for run in self.chain.runs.values())

    @contextmanager
    def watched(self) -> Iterator[asyncio.Future[None]]:
        """Ends with the chain's next commit, or with its shard: look again then."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            yield waiter
        finally:
            if waiter in self.waiters:
                self.waiters.remove(waiter)

    @property
    def key(self) -> ChainKey:
        """The chain's key."""
        return self.chain.key

    def adopt(self, chain: Chain, record: Record, position: int, size: int) -> None:
        """The chain after `record`, which went into the log at `position` with `size` bytes."""
        before = self.chain
        self.chain = chain
        self.position = position
        self.bytes += size
        self.pointer_dirty = True
        for mutation in record.mutations:
            run = chain.runs.get(mutation.run_id)
            if run is None:
                self.forget(before.runs.get(mutation.run_id), mutation, position)
                continue
            self.changed(mutation.run_id)
            self.add_nodes(run, history_batches(mutation))

    def changed(self, run_id: str) -> None:
        """The run is newer than its snapshot. It may have been deleted before: a child's start that comes late makes it
        again, under the same id.
        """
        self.dirty_runs.add(run_id)
        self.deleted.pop(run_id, None)
        self.absent.discard(run_id)

    def forget(self, run: Run | None, deletion: Mutation, position: int) -> None:
        """The run was deleted at `position`; `run` is what it was. Branches that others lie on stay."""
        run_id = deletion.run_id
        self.deleted[run_id] = position
        self.dirty_runs.discard(run_id)
        self.sizes.pop(run_id, None)
        self.absent.add(run_id)
        for branch in _dropped(run, deletion):
            self.dropped_branches.append(branch)
            self.tails.pop(branch, None)

    def release_closed(self) -> None:
        """Let go of the closed former runs that checkpoints hold, also while the newest one is never clean."""
        kept = {self.chain.current.run_id if self.chain.current is not None else "", *self.dirty_runs}
        for run_id in [r for r, run in self.chain.runs.items() if r not in kept and not run.is_open]:
            run = self.chain.runs.pop(run_id)
            self.rows.pop(run_id, None)
            self.sizes.pop(run_id, None)
            for segment in run.durable.segments:
                if segment.branch not in self.chain.shared:  # of a shared one another run may be read
                    self.tails.pop(segment.branch, None)

    def add_nodes(self, run: Run, batches: list[list[bytes]]) -> None:
        """Keep these newest history batches of the run until a checkpoint holds them."""
        if not batches:
            return
        branch = run.durable.segments[-1].branch
        tail = self.tails.setdefault(branch, Tail())
        first = run.facts.next_event_id - sum(map(len, batches))
        for batch in batches:
            tail.add(Node(branch, first, first + len(batch), history_of(batch)))
            first += len(batch)

    def wake(self) -> None:
        """Something was committed: whoever waits looks again."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """Nothing will be committed here any more."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)


class CacheRoom:
    """What the caches of all shards that are here may hold, in bytes: each has an equal part, which `caches` of them
    share. Updates that are in memory only may fill half of it, whichever shards they are of; `held` are these.
    """

    __slots__ = ("bytes_max", "caches", "held")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.caches = 0
        self.held = 0

    @property
    def part(self) -> int:
        """What each cache may hold."""
        return self.bytes_max // max(1, self.caches)

    @property
    def is_full_of_updates(self) -> bool:
        """True if no further update may come before others are over."""
        return self.held > self.bytes_max // 2


class ShardChains:
    """The cached chains of one shard under one epoch."""

    __slots__ = (
        "_checkpoints",
        "_loaded_ns",
        "_lookups",
        "_room",
        "audit_cursor",
        "bytes",
        "entries",
        "held",
        "lost",
        "shard",
    )

    def __init__(self, shard: Shard, checkpoints: Checkpoints, room: CacheRoom, lookups: Lookups | None = None) -> None:
        self.shard = shard
        self.entries: OrderedDict[ChainKey, Entry] = OrderedDict()
        self.bytes = 0
        self.held = 0
        self.lost = False
        self.audit_cursor: list[ChainKey] = []
        self._checkpoints = checkpoints
        self._room = room
        self._loaded_ns = shard.now_ns()
        self._lookups = lookups or Lookups(Metrics())

    async def entry(self, key: ChainKey, run_ids: Collection[str] = ()) -> Entry:
        """The chain with its current run and the named ones loaded, as far as they exist. Raises ShardLost, Bug
        (quarantine), Unavailable.
        """
        self._lookups.of(key.namespace_id).requests.inc()
        entry = self.entries.get(key)
        if entry is None:
            self.evict()
            entry = self.add(key)
        if entry.quarantine is None and (not entry.is_loaded or self._missing(entry, run_ids)):
            await self._load(entry, run_ids)
        if self.lost:
            raise ShardLost("The shard of this workflow id has moved.")
        if entry.quarantine is not None:
            raise Bug(entry.quarantine)  # a new one: one that is raised again and again keeps the frames of all times
        self.entries.move_to_end(key)
        return entry

    def add(self, key: ChainKey) -> Entry:
        """A new entry, of which nothing is loaded."""
        entry = self.entries[key] = Entry(key)
        self.bytes += entry.bytes
        return entry

    def _missing(self, entry: Entry, run_ids: Collection[str]) -> list[str]:
        wanted = list(run_ids)
        if entry.chain.current is not None:
            wanted.append(entry.chain.current.run_id)
        return [run_id for run_id in wanted if run_id and run_id not in entry.chain.runs and run_id not in entry.absent]

    async def _load(self, entry: Entry, run_ids: Collection[str]) -> None:
        """Read what is missing, after whoever reads already. Runs that don't exist are looked for each time they are
        named: remembering them would let callers fill the memory.
        """
        entry.loaders += 1
        begun_ns = self.shard.now_ns()
        lookups = self._lookups.of(entry.key.namespace_id)
        try:
            async with entry.load_lock:
                if not entry.is_loaded:
                    pointer = await self._checkpoints.read_pointer(entry.key)
                    if pointer is not None and pointer.body is not None:
                        entry.chain.current, entry.chain.shared = decode_pointer(pointer.body)
                    entry.is_loaded = True
                for run_id in self._missing(entry, run_ids):
                    await self.load_run(entry, run_id)
            self.evict()
        except Exception:
            lookups.failed()
            raise
        finally:
            entry.loaders -= 1
            lookups.missed(self.shard.now_ns() - begun_ns)

    async def load_run(self, entry: Entry, run_id: str) -> int:
        """Load one run's snapshot into the entry; returns the position it was applied to, 0 if there is none."""
        snapshot = await self._checkpoints.read_snapshot(entry.key, run_id)
        if run_id in entry.chain.runs:
            return 0
        if snapshot is None or snapshot.body is None:
            return snapshot.applied if snapshot is not None else 0
        run = decode_run(snapshot.body)
        entry.chain.runs[run_id] = run
        entry.sizes[run_id] = len(snapshot.body)
        entry.bytes += 2 * len(snapshot.body)
        self.bytes += 2 * len(snapshot.body)
        rows = index_tasks(run)
        entry.rows[run_id] = StoredRows(rows, rows)
        return snapshot.applied

    def charge(self, entry: Entry) -> None:
        """Charge an entry, which was checkpointed, what it holds now."""
        tails = sum(tail.bytes for tail in entry.tails.values())
        size = _ENTRY_BYTES + 2 * sum(entry.sizes.values()) + tails + entry.held
        self.bytes += size - entry.bytes
        entry.bytes = size

    def weigh(self, entry: Entry) -> None:
        """Charge an entry the updates that it holds in memory now."""
        before, entry.held = entry.held, sum(map(_held, entry.chain.runs.values()))
        entry.bytes += entry.held - before
        self.bytes += entry.held - before
        if not self.lost:
            self._hold(entry.held - before)

    def _hold(self, size: int) -> None:
        self.held += size
        self._room.held += size

    def evict(self) -> None:
        """Drop the entries not used for longest until the cache is within its bytes; dirty and waited-for ones stay."""
        self._drop(lambda: self.bytes > self._room.part)

    def drop_updates(self) -> None:
        """Drop updates that nobody asks for any more, with their entries, until there is room for others."""
        self._drop(lambda: self.held > 0 and self._room.is_full_of_updates)

    def _drop(self, wanted: Callable[[], bool]) -> None:
        passed, now_ns = 0, 0
        while wanted() and passed < min(_PASSED_MAX, len(self.entries)):
            now_ns = now_ns or self.shard.now_ns()
            key, entry = next(iter(self.entries.items()))
            if entry.is_dirty or entry.is_needed(now_ns):
                self.entries.move_to_end(key)
                passed += 1
            else:
                del self.entries[key]
                self.bytes -= entry.bytes
                self._hold(-entry.held)

    def distrust(self) -> None:
        """A decision on what is in memory showed a defect."""
        if self.shard.now_ns() - self._loaded_ns >= _REPLAY_AGAIN_NS:
            self.shard.fail("A decision showed a defect.")

    def close(self, error: Exception) -> None:
        """The shard is gone: forget everything and wake every waiter with `error`."""
        self.lost = True
        self._hold(-self.held)
        entries, self.entries = self.entries, OrderedDict()
        for entry in entries.values():
            entry.fail(error)


def _has_updates(run: Run) -> bool:
    return bool(run.ephemeral.admitted_updates) or run.ephemeral.speculative_task is not None


def _held(run: Run) -> int:
    """Bytes of the run's updates that are in memory only."""
    return sum(_UPDATE_BYTES + len(update.request) for update in run.ephemeral.admitted_updates.values())


def _dropped(run: Run | None, deletion: Mutation) -> tuple[str, ...]:
    """The branches of history that a deletion takes along."""
    last = deletion.steps[-1]
    if isinstance(last, Delete) and last.branches is not None:
        return last.branches
    return tuple(segment.branch for segment in run.durable.segments) if run is not None else ()


def deleted_runs(record: Record) -> list[str]:
    """The runs that a record deletes."""
    return [m.run_id for m in record.mutations if m.steps and isinstance(m.steps[-1], Delete)]


def deletion(key: ChainKey, run_id: str, start_ns: int) -> Effect:
    """The effect of deleting a run."""
    return Effect(key, run_id, EffectKind.VISIBILITY_DELETE, _DELETED_VERSION, start_ns)


def deletions(record: Record) -> list[Task]:
    """The effects of deleting runs, which no state derives any more."""
    return [
        deletion(record.key, mutation.run_id, step.start_ns)
        for mutation in record.mutations
        for step in mutation.steps[-1:]
        if isinstance(step, Delete)
    ]
