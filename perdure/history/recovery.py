"""Replaying the tail of a shard's log over the snapshots it is newer than.

Snapshots of different runs are of different ages, so each mutation is skipped on its own where its run's snapshot has
applied it. A checkpoint writes snapshots after everything else, so what a snapshot covers is covered everywhere.
Index rows may be newer than the snapshot; whatever the tail ever wanted may be there, and the next checkpoint settles
it.
"""

from collections.abc import Sequence

import structlog

from perdure.base.errors import Bug, ShardLost, Unavailable
from perdure.base.slots import ChainKey
from perdure.history.chains import Entry, ShardChains, StoredRows, deleted_runs, deletions, index_tasks
from perdure.history.snapshots import decode_pointer
from perdure.store.contract import Checkpoints
from perdure.workflow.core import replay
from perdure.workflow.evolve import history_batches
from perdure.workflow.outstanding import in_order, outstanding
from perdure.workflow.steps import Create, Mutation, Record, decode_record
from perdure.workflow.tasks import Effect, Task

log = structlog.get_logger(__name__)


class Recovery:
    """One replay of a tail into an empty cache."""

    def __init__(self, chains: ShardChains, checkpoints: Checkpoints) -> None:
        self._chains = chains
        self._checkpoints = checkpoints
        self._applied: dict[tuple[ChainKey, str], int] = {}
        self._pointer_applied: dict[ChainKey, int] = {}
        self._deleted_at: dict[tuple[ChainKey, str], int] = {}
        self._effects: dict[ChainKey, list[Task]] = {}

    async def replay(self, records: Sequence[tuple[int, bytes]]) -> dict[ChainKey, list[Task] | None]:
        """Replay all records in order; the outstanding tasks of every chain they touch, None of a quarantined one.
        Raises CorruptFrame for a bad record, Unavailable if the store does not answer or the shard is lost.
        """
        decoded = [(position, decode_record(body), len(body)) for position, body in records]
        for position, record, _ in decoded:
            for run_id in deleted_runs(record):
                self._deleted_at[record.key, run_id] = position
        for position, record, size in decoded:
            if self._chains.lost:
                raise ShardLost("The shard was lost while it was recovered.")
            entry = self._chains.entries.get(record.key) or self._chains.add(record.key)
            if entry.quarantine is not None:
                continue
            try:
                await self._apply(entry, position, record, size)
            except Unavailable:
                raise  # a store that does not answer says nothing about the execution: the shard is taken again
            except Exception as error:
                # Whatever it is, it concerns this execution, and must not keep the shard from all others.
                log.exception("execution quarantined", wf_id=record.key.workflow_id, position=position)
                entry.quarantine = _quarantine(record.key, error)
        return {key: self._tasks(entry) for key, entry in self._chains.entries.items()}

    def _tasks(self, entry: Entry) -> list[Task] | None:
        if entry.quarantine is not None:
            return None
        try:
            return self._wanted(entry)
        except Exception as error:
            # As in replay: a state that can't be read is one execution's.
            log.exception("execution quarantined", wf_id=entry.key.workflow_id, position=entry.position)
            entry.quarantine = _quarantine(entry.key, error)
            return None

    def _wanted(self, entry: Entry) -> list[Task]:
        tasks: list[Task] = list(self._effects.get(entry.key, ()))
        for run_id, run in entry.chain.runs.items():
            wanted = in_order(outstanding(run))
            if run_id in entry.dirty_runs:
                tasks += wanted
            else:
                tasks += [task for task in wanted if not isinstance(task, Effect)]
        return tasks

    async def _load_pointer(self, entry: Entry) -> None:
        pointer = await self._checkpoints.read_pointer(entry.key)
        if pointer is not None:
            self._pointer_applied[entry.key] = pointer.applied
            if pointer.body is not None:
                entry.chain.current, entry.chain.shared = decode_pointer(pointer.body)
        entry.is_loaded = True

    async def _apply(self, entry: Entry, position: int, record: Record, size: int) -> None:
        entry.position = position
        entry.bytes += size
        self._chains.bytes += size
        if not entry.is_loaded:
            await self._load_pointer(entry)
        if position > self._pointer_applied.get(entry.key, 0):
            entry.chain.current = record.current
            entry.pointer_dirty = True
            if record.shared is not None:
                entry.chain.shared = record.shared
        for mutation in record.mutations:
            await self._apply_mutation(entry, position, mutation)
        self._effects.setdefault(record.key, []).extend(deletions(record))

    async def _apply_mutation(self, entry: Entry, position: int, mutation: Mutation) -> None:
        run_id = mutation.run_id
        key = (entry.key, run_id)
        if key not in self._applied:
            self._applied[key] = await self._chains.load_run(entry, run_id)
        if position <= self._applied[key]:
            return
        base = entry.chain.runs.get(run_id)
        if base is None and not (mutation.steps and isinstance(mutation.steps[0], Create)):
            if position <= self._deleted_at.get(key, 0):
                return  # Its deletion was checkpointed so long ago that the store has forgotten even that.
            raise Bug(f"a delta for run {run_id} at position {position} without its base")
        after = replay(base, mutation)
        if after is None:
            entry.chain.runs.pop(run_id, None)
            entry.forget(base, mutation, position)
            return
        entry.chain.runs[run_id] = after
        entry.changed(run_id)
        entry.add_nodes(after, history_batches(mutation))
        known = entry.rows.get(run_id)
        maybe = known.maybe if known is not None else frozenset()
        entry.rows[run_id] = StoredRows(frozenset(), maybe | index_tasks(after))


def _quarantine(key: ChainKey, error: Exception) -> str:
    """What every request for a chain that can't be replayed is answered with."""
    return f"The workflow id {key.workflow_id} is quarantined: {error}"
