"""Replaying the tail of a shard's log over the snapshots it is newer than.

Snapshots of different runs are of different ages, so each mutation is skipped on its own where its run's snapshot has
applied it. A checkpoint writes snapshots after everything else, so what a snapshot covers is covered everywhere.
Index rows may be newer than the snapshot; whatever the tail ever wanted may be there, and the next checkpoint settles
it.
"""

from collections.abc import Sequence

import structlog

from perdure.base.errors import Bug, PerdureError, Unavailable
from perdure.base.slots import ChainKey
from perdure.history.chains import Entry, ShardChains, StoredRows, deleted_runs, index_tasks
from perdure.history.snapshots import decode_pointer
from perdure.store.contract import Checkpoints
from perdure.workflow.core import replay
from perdure.workflow.evolve import history_batches
from perdure.workflow.outstanding import outstanding
from perdure.workflow.state import Run
from perdure.workflow.steps import Create, Mutation, Record, decode_record
from perdure.workflow.tasks import Effect, EffectKind, Task

log = structlog.get_logger(__name__)
DELETED_VERSION = 2**62


class Recovery:
    """One replay of a tail into an empty cache."""

    def __init__(self, chains: ShardChains, checkpoints: Checkpoints) -> None:
        self._chains = chains
        self._checkpoints = checkpoints
        self._applied: dict[tuple[ChainKey, str], int] = {}
        self._pointer_applied: dict[ChainKey, int] = {}
        self._effects: dict[ChainKey, list[Task]] = {}

    async def replay(self, records: Sequence[tuple[int, bytes]]) -> dict[ChainKey, list[Task]]:
        """Replay all records in order; the outstanding tasks of every chain they touch. Raises CorruptFrame for a bad
        record, Unavailable if the store does not answer.
        """
        for position, body in records:
            record = decode_record(body)
            entry = await self._entry(record.key)
            if entry.quarantine is not None:
                continue
            try:
                await self._apply(entry, position, record, len(body))
            except Unavailable:
                raise  # a store that does not answer says nothing about the execution: the shard is taken again
            except (PerdureError, ArithmeticError, LookupError, TypeError, ValueError) as error:
                entry.quarantine = Bug(f"The workflow id {record.key.workflow_id} is quarantined: {error}")
                log.exception("execution quarantined", wf_id=record.key.workflow_id, position=position)
        return {key: self._tasks(entry) for key, entry in self._chains.entries.items()}

    def _tasks(self, entry: Entry) -> list[Task]:
        if entry.quarantine is not None:
            return []
        tasks: list[Task] = list(self._effects.get(entry.key, ()))
        for run_id, run in entry.chain.runs.items():
            wanted = outstanding(run)
            if run_id in entry.dirty_runs:
                tasks += wanted
            else:
                tasks += [task for task in wanted if not isinstance(task, Effect)]
        return tasks

    async def _entry(self, key: ChainKey) -> Entry:
        entry = self._chains.entries.get(key)
        if entry is None:
            entry = self._chains.entries[key] = Entry(key)
            pointer = await self._checkpoints.read_pointer(key)
            if pointer is not None:
                self._pointer_applied[key] = pointer.applied
                if pointer.body is not None:
                    entry.chain.current = decode_pointer(pointer.body)
        return entry

    async def _apply(self, entry: Entry, position: int, record: Record, size: int) -> None:
        entry.position = position
        entry.bytes += size
        self._chains.bytes += size
        if position > self._pointer_applied.get(entry.key, 0):
            entry.chain.current = record.current
            entry.pointer_dirty = True
        for mutation in record.mutations:
            await self._apply_mutation(entry, position, mutation)
        for run_id in deleted_runs(record):
            effect = Effect(record.key, run_id, EffectKind.VISIBILITY_DELETE, DELETED_VERSION)
            self._effects.setdefault(record.key, []).append(effect)

    async def _apply_mutation(self, entry: Entry, position: int, mutation: Mutation) -> None:
        run_id = mutation.run_id
        key = (entry.key, run_id)
        if key not in self._applied:
            self._applied[key] = await self._chains.load_run(entry, run_id)
        if position <= self._applied[key]:
            return
        base = entry.chain.runs.get(run_id)
        if base is None and not (mutation.steps and isinstance(mutation.steps[0], Create)):
            raise Bug(f"a delta for run {run_id} at position {position} without its base")
        after = replay(base, mutation)
        if after is None:
            self._deleted(entry, run_id, base, position)
            return
        entry.chain.runs[run_id] = after
        entry.absent.discard(run_id)
        entry.dirty_runs.add(run_id)
        entry.add_nodes(after, history_batches(mutation))
        known = entry.rows.get(run_id)
        maybe = known.maybe if known is not None else frozenset()
        entry.rows[run_id] = StoredRows(frozenset(), maybe | index_tasks(after))

    def _deleted(self, entry: Entry, run_id: str, base: Run | None, position: int) -> None:
        entry.chain.runs.pop(run_id, None)
        entry.absent.add(run_id)
        entry.dirty_runs.discard(run_id)
        entry.deleted[run_id] = position
        if base is not None:
            for segment in base.durable.segments:
                entry.dropped_branches.append(segment.branch)
                entry.tails.pop(segment.branch, None)
