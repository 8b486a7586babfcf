"""What a shard asks of the history role: recovery, rows to checkpoint, and acting on committed tasks.

`metrics` and `name_of` (a namespace's name by its id) are for what is counted on the way.
"""

from collections.abc import Callable, Sequence

from perdure.base.errors import Bug, ShardLost, Unavailable
from perdure.base.metrics import UNKNOWN, Metrics
from perdure.base.slots import ChainKey
from perdure.cluster.measured import NameOf
from perdure.cluster.roles import Call, Directory
from perdure.history.chains import CacheRoom, Entry, ShardChains, StoredRows, deletion, index_tasks
from perdure.history.lookups import Lookups
from perdure.history.outcomes import Outcomes
from perdure.history.recovery import Recovery
from perdure.history.snapshots import encode_pointer, encode_run
from perdure.history.transacting import Transacting
from perdure.shards.contract import SNAPSHOT_BYTES_MAX, ChainRows, Oversized, Shard
from perdure.store.contract import Checkpoints, Pointer, Snapshot, Store
from perdure.visibility.rows import VisibilityRow
from perdure.workflow.core import visibility_row
from perdure.workflow.outstanding import in_order, outstanding
from perdure.workflow.requests import FireTimer
from perdure.workflow.state import Chain
from perdure.workflow.tasks import ERRANDS, Backlog, Effect, EffectKind, Offer, QueueKey, Task, Timer, TimerKind


class HistoryExecutions:
    """The `Executions` of `perdure.shards.contract`, over the role's caches. `room`: what all of them may hold."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        cache_bytes_max: int,
        metrics: Metrics | None = None,
        name_of: NameOf = lambda _: UNKNOWN,
    ) -> None:
        self._store = store
        self._directory = directory
        self.room = CacheRoom(cache_bytes_max)
        self._chains: dict[str, ShardChains] = {}
        metrics = metrics or Metrics()
        self.spans = metrics.spans
        self._lookups = Lookups(metrics)
        self.outcomes = Outcomes(metrics, name_of)
        self.service: Transacting | None = None
        self.watcher: Callable[[Chain], None] | None = None  # told every newest state, durable or not

    @property
    def cached_bytes(self) -> int:
        """What all caches hold."""
        return sum(chains.bytes for chains in self._chains.values())

    @property
    def checkpoints(self) -> Checkpoints:
        """Where snapshots and history nodes are."""
        return self._store.checkpoints

    def chains(self, shard: Shard) -> ShardChains:
        """The cache of an owned shard. Raises ShardLost after it was unloaded."""
        chains = self._chains.get(shard.shard_id)
        if chains is None or chains.shard.epoch != shard.epoch:
            raise ShardLost("The shard of this workflow id has moved.")
        return chains

    def has_room_for_updates(self) -> bool:
        """False if updates in memory fill half of all caches, and none of them can be dropped."""
        for chains in self._chains.values():
            if not self.room.is_full_of_updates:
                break
            chains.drop_updates()
        return not self.room.is_full_of_updates

    async def recover(self, shard: Shard, records: Sequence[tuple[int, bytes]]) -> dict[ChainKey, list[Task] | None]:
        """Replay the tail into a new cache."""
        chains = ShardChains(shard, self._store.checkpoints, self.room, self._lookups)
        self._chains[shard.shard_id] = chains  # before the replay: `unload` may come meanwhile
        self.room.caches = len(self._chains)  # one that has more than its part drops it with its next look-up
        tasks = await Recovery(chains, self._store.checkpoints).replay(records)
        if self.watcher is not None:
            for entry in chains.entries.values():
                self.watcher(entry.chain)
        return tasks

    def rows(self, shard: Shard, key: ChainKey) -> ChainRows:
        """The rows of a chain as it is now. Raises Bug for a quarantined one: its log has to stay."""
        entry = self.chains(shard).entries.get(key)
        if entry is None:
            return ChainRows(0)  # recovered, found to be checkpointed already, and evicted
        if entry.quarantine is not None:
            raise Bug(entry.quarantine)
        bodies = self._bodies(entry)
        entry.inflight += 1
        position = entry.position
        rows = ChainRows(position)
        for run_id, body in bodies.items():
            run = entry.chain.runs[run_id]
            rows.snapshots.append(Snapshot(key, run_id, position, body))
            known = entry.rows.get(run_id)
            self._index_rows(rows, entry, run_id, index_tasks(run), known)
        for run_id in entry.deleted:
            rows.snapshots.append(Snapshot(key, run_id, position, None))
            self._index_rows(rows, entry, run_id, frozenset(), entry.rows.get(run_id))
        if entry.pointer_dirty:
            rows.pointers.append(Pointer(key, position, encode_pointer(entry.chain.current, entry.chain.shared)))
        for tail in entry.tails.values():
            rows.nodes.extend(tail.dirty())
        rows.dropped_branches = [(key, branch) for branch in entry.dropped_branches]
        entry.dirty_runs = set()
        entry.deleted = {}
        entry.dropped_branches = []
        entry.pointer_dirty = False
        return rows

    def _bodies(self, entry: Entry) -> dict[str, bytes]:
        """The snapshots of dirty runs. Raises Oversized, which the next transition of such a run will end."""
        bodies: dict[str, bytes] = {}
        for run_id in sorted(entry.dirty_runs):
            run = entry.chain.runs[run_id]
            body = bodies[run_id] = encode_run(run)
            self.outcomes.measured(run, entry.sizes.get(run_id, 0), len(body))
            entry.sizes[run_id] = len(body)
        largest = max(map(len, bodies.values()), default=0)
        if largest > SNAPSHOT_BYTES_MAX:
            raise Oversized(f"A run's state has {largest} bytes, over the limit of stores of {SNAPSHOT_BYTES_MAX}.")
        return bodies

    def _index_rows(
        self, rows: ChainRows, entry: Entry, run_id: str, wanted: frozenset[Task], known: StoredRows | None
    ) -> None:
        sure = known.sure if known is not None else frozenset()
        maybe = known.maybe if known is not None else frozenset()
        for task in in_order(wanted - sure):
            _sort_in(task, rows.added_offers, rows.added_timers)
        for task in in_order(maybe - wanted):
            _sort_in(task, rows.removed_offers, rows.removed_timers)
        if wanted or run_id in entry.chain.runs:
            entry.rows[run_id] = StoredRows(wanted, wanted)
        else:
            entry.rows.pop(run_id, None)

    def checkpointed(self, shard: Shard, key: ChainKey, rows: ChainRows) -> None:
        """These rows are durable."""
        chains = self.chains(shard)
        entry = chains.entries.get(key)
        if entry is None or not rows.position:
            return
        entry.inflight -= 1
        ends: dict[str, int] = {}
        for node in rows.nodes:
            ends[node.branch] = max(ends.get(node.branch, 0), node.end)
        for branch, end in ends.items():
            tail = entry.tails.get(branch)
            if tail is not None:
                tail.clean(end)
        if not entry.inflight:
            entry.absent &= entry.deleted.keys()
            if not entry.loaders:
                entry.release_closed()
        chains.charge(entry)
        chains.evict()

    def unload(self, shard: Shard) -> None:
        """The shard is lost or released."""
        chains = self._chains.get(shard.shard_id)
        if chains is not None and chains.shard.epoch == shard.epoch:
            del self._chains[shard.shard_id]
            self.room.caches = len(self._chains)
            error = ShardLost("The shard of this workflow id has moved.")
            chains.close(error)
            if self.service is not None:
                self.service.lost(shard.slots, error)

    async def fire(self, shard: Shard, timer: Timer) -> None:
        """A committed timer is due."""
        if self.service is None:
            raise Unavailable("The history role is not started.")
        # ShardLost goes on to the shard: to return would say that nothing wants the timer any more.
        if timer.kind in ERRANDS:
            await self.service.run_errand(shard, timer)
            return
        await self.service.transact_on(shard, timer.key, FireTimer(timer), Call())

    async def offer(self, shard: Shard, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        """Hand references to matching; where nobody polls a sticky queue, to the normal one."""
        answer = await self._directory.matching(partition).offer(partition, offers, backlog)
        if answer.sticky_unavailable:
            fallen = Backlog(backlog.shard, backlog.epoch, 0, 0)
            for normal, those in _by_queue(offers).items():
                await self._directory.matching(normal).offer(normal, those, fallen)

    async def withdraw(self, shard: Shard, partition: QueueKey, offers: Sequence[Offer], backlog: Backlog) -> None:
        """Take references back, from the normal queue too where a sticky one may have fallen back."""
        await self._directory.matching(partition).withdraw(partition, offers, backlog)
        fallen = Backlog(backlog.shard, backlog.epoch, 0, 0)
        for normal, those in _by_queue(offers).items():
            if normal != partition:
                await self._directory.matching(normal).withdraw(normal, those, fallen)

    async def perform(self, shard: Shard, effects: Sequence[Effect]) -> None:
        """Write what lists show of these runs: their newest state, once it is durable."""
        rows: dict[str, VisibilityRow] = {}
        gone: list[VisibilityRow] = []  # apart: a run may have been made anew under the id of one that is gone
        position = 0
        chains = self.chains(shard)
        for effect in effects:
            key = effect.key
            if effect.kind == EffectKind.VISIBILITY_DELETE:
                gone.append(
                    VisibilityRow(
                        key.namespace_id,
                        key.workflow_id,
                        effect.run_id,
                        effect.version,
                        deleted=True,
                        start_time_ns=effect.start_ns,
                    )
                )
                continue
            entry = await chains.entry(key, (effect.run_id,))
            run = entry.chain.runs.get(effect.run_id)
            if run is not None and effect.run_id not in rows:
                position = max(position, entry.position)
                rows[effect.run_id] = visibility_row(run)
        if position:
            await shard.durable(position)
        if gone or rows:
            await self._store.visibility.upsert([*gone, *rows.values()])

    def audit(self, shard: Shard, limit: int) -> dict[ChainKey, list[Task]]:
        """What up to `limit` further cached chains have outstanding."""
        chains = self.chains(shard)
        found: dict[ChainKey, list[Task]] = {}
        if not chains.audit_cursor:
            chains.audit_cursor = list(chains.entries)
        while chains.audit_cursor and len(found) < limit:
            key = chains.audit_cursor.pop()
            entry = chains.entries.get(key)
            if entry is None or entry.quarantine is not None:
                continue
            tasks = [task for run in entry.chain.runs.values() for task in in_order(outstanding(run))]
            found[key] = [task for task in tasks if not isinstance(task, Effect)]
        return found

    async def left_of(self, shard: Shard, key: ChainKey, run_id: str, start_ns: int) -> Timer | Effect | None:
        """The end of a closed run's retention, or what deletes the list row of one that is gone."""
        entry = await self.chains(shard).entry(key, (run_id,))
        run = entry.chain.runs.get(run_id)
        await shard.durable(entry.position)
        if run is None:
            return deletion(key, run_id, start_ns)
        kinds = {task.kind: task for task in outstanding(run) if isinstance(task, Timer)}
        return kinds.get(TimerKind.RETENTION)


def _sort_in(task: Task, offers: list[Offer], timers: list[Timer]) -> None:
    if isinstance(task, Offer):
        offers.append(task)
    elif isinstance(task, Timer):
        timers.append(task)


def _by_queue(offers: Sequence[Offer]) -> dict[QueueKey, list[Offer]]:
    """The offers of one partition by their normal queue: nothing keeps two from sharing a sticky one's name."""
    found: dict[QueueKey, list[Offer]] = {}
    for offer in offers:
        found.setdefault(offer.queue, []).append(offer)
    return found
