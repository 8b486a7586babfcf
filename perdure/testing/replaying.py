"""Rule 5 at work: the state rebuilt from the whole log against the state that a cluster lives with.

Invariant: what is replayed is every group that the log ever took, from the first, so that neither checkpoints nor
recovery have a part in it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from perdure.base.errors import Unavailable
from perdure.base.slots import ChainKey
from perdure.history.chains import Entry
from perdure.server.cluster import HistoryPart
from perdure.shards.groups import decode_group
from perdure.testing.checkers.evidence import AttemptSeen, Commit
from perdure.testing.sim_store import WitnessLog
from perdure.workflow.core import replay
from perdure.workflow.outstanding import outstanding
from perdure.workflow.state import CurrentRun, Run
from perdure.workflow.steps import Put, Record, decode_record
from perdure.workflow.tasks import Effect, Timer, TimerKind

_AWAY_S, _AGAIN_S = 10.0, 0.1


class Replayed:
    """Everything that a log says: the runs of every chain, the pointers, and how attempts went."""

    def __init__(self, witness: WitnessLog) -> None:
        self.runs: dict[ChainKey, dict[str, Run]] = {}
        self.pointers: dict[ChainKey, CurrentRun | None] = {}
        self.attempts: list[AttemptSeen] = []
        self.commits = [
            Commit(taken.segment.shard, taken.segment.number, taken.segment.epoch, taken.group.n)
            for taken in witness.taken
        ]
        for taken in witness.taken:
            for _, body in decode_group(taken.group.body).records:
                self._apply(decode_record(body))

    def _apply(self, record: Record) -> None:
        runs = self.runs.setdefault(record.key, {})
        self.pointers[record.key] = record.current
        for mutation in record.mutations:
            for step in mutation.steps:
                if isinstance(step, Put) and step.field == "attempts":
                    entry = step.value
                    self.attempts.append(AttemptSeen(mutation.run_id, int(step.key), entry.attempt, entry.stamp))
            after = replay(runs.get(mutation.run_id), mutation)
            if after is None:
                runs.pop(mutation.run_id, None)
            else:
                runs[mutation.run_id] = after

    async def differences(self, owner: Callable[[int], HistoryPart]) -> list[str]:
        """Where the live state of the host that owns a slot is another one. Every chain is loaded for it."""
        found: list[str] = []
        for key, runs in self.runs.items():
            entry = await _entry(owner, key, runs)
            if entry.chain.current != self.pointers[key]:
                found.append(f"{key.workflow_id}: the pointer is {entry.chain.current}, not {self.pointers[key]}")
            for run_id, wanted in runs.items():
                live = entry.chain.runs.get(run_id)
                if live is None:
                    found.append(f"{key.workflow_id}/{run_id}: not there")
                else:
                    found += (f"{key.workflow_id}/{run_id}: {what}" for what in compared(live, wanted))
        return found

    def leftovers(self) -> list[str]:
        """What runs still want, besides being deleted once their retention is over."""
        return [
            f"{key.workflow_id}/{run_id} wants {task}"
            for key, runs in self.runs.items()
            for run_id, run in runs.items()
            for task in outstanding(run)
            if not isinstance(task, Effect) and not (isinstance(task, Timer) and task.kind == TimerKind.RETENTION)
        ]


async def _entry(owner: Callable[[int], HistoryPart], key: ChainKey, run_ids: Iterable[str]) -> Entry:
    """What the owner of the chain has of it. A shard may just be split or merged, for a cluster at rest does so too."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _AWAY_S
    while True:
        try:
            part = owner(key.slot)
            chains = part.executions.chains(part.shards.by_slot(key.slot))
            return await chains.entry(key, tuple(run_ids))
        except Unavailable:
            if loop.time() > until:
                raise
        await asyncio.sleep(_AGAIN_S)


def compared(live: Run, replayed: Run) -> Iterator[str]:
    """The fields in which they differ; ephemeral ones don't count."""
    for section in ("facts", "durable"):
        one, other = getattr(live, section), getattr(replayed, section)
        for field in one.__struct_fields__:
            if getattr(one, field) != getattr(other, field):
                yield f"{field} is {getattr(one, field)!r}, replayed {getattr(other, field)!r}"
