"""Resets: read the base's history up to the point and what followed it, then decide.

The state at the point is rebuilt from a history that may be as long as any: page by page, so that what is in memory is
the state and what happens again. Between the last read and the decision nothing is awaited that lets other requests
in; should there be more to read all the same, it is read and decided again. Refuses to know what a reset does.
"""

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from perdure.base.errors import InvalidArgument, Unavailable
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call
from perdure.history.chains import ShardChains
from perdure.history.reading import Reading
from perdure.history.tails import events_of
from perdure.history.transacting import Transacting
from perdure.store.contract import Node
from perdure.workflow.branches import spans
from perdure.workflow.reapplying import wanted
from perdure.workflow.reset_reading import Prefix, ResetReading
from perdure.workflow.reset_requests import PlanReset, Reset, ResetOutdated, ResetPlan
from perdure.workflow.state import HistorySegment, Run

_BATCHES = 64
_TRIES = 10
_TOO_LARGE = "Transaction size exceeds limit."
_INSIDE = (
    "StateRebuilder unable to Rebuild mutable state to event ID: {}, version: 0, this event must be at the boundary"
)
_CONTINUED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW


async def reset(
    service: Transacting,
    chains: ShardChains,
    reading: Reading,
    key: ChainKey,
    asked: ResetWorkflowExecutionRequest,
    limits: Limits,
    call: Call,
) -> Any:
    """The answer to a reset. Raises NotFound, InvalidArgument, Unavailable."""
    for _ in range(_TRIES):
        plan = await service.transact_on(chains.shard, key, PlanReset(asked), call)
        if not isinstance(plan, ResetPlan):
            return plan
        base = _Base(chains, reading, key, asked, limits, plan)
        reply = await service.transact_on(chains.shard, key, Reset(asked, await base.read()), call)
        if not isinstance(reply, ResetOutdated):
            return reply
    raise Unavailable("The workflow changes too fast to be reset.")


class _Base:
    """One reading of a base and of the runs that continued it."""

    def __init__(
        self,
        chains: ShardChains,
        reading: Reading,
        key: ChainKey,
        asked: ResetWorkflowExecutionRequest,
        limits: Limits,
        plan: ResetPlan,
    ) -> None:
        self._chains = chains
        self._reading = reading
        self._key = key
        self._asked = asked
        self._plan = plan
        self._room = limits.transaction_bytes_max
        self._later: list[HistoryEvent] = []

    async def read(self) -> ResetReading:
        """All of it; where a run that follows was deleted, what followed that can't be found. Raises InvalidArgument
        for a point inside a batch, or where too much would have to happen again; Unavailable if a run goes meanwhile.
        """
        prefix = await self._prefix()
        ends: dict[str, int] = {}
        run_id, first, last_run_id = self._plan.run_id, prefix.end, self._plan.run_id
        kinds = wanted(self._asked, base=True)
        while run_id and run_id not in ends and kinds and await self._run(run_id) is not None:
            last_run_id = run_id
            ends[run_id], run_id = await self._after(run_id, first, kinds)
            first, kinds = 1, wanted(self._asked, base=False)
        return prefix.reading(self._plan.run_id, tuple(self._later), ends, last_run_id)

    async def _prefix(self) -> Prefix:
        """The state at the point."""
        point = self._asked.workflow_task_finish_event_id
        prefix = Prefix(self._key.namespace_id, self._key.workflow_id)
        while prefix.end < point:
            segment = _holding(self._plan.segments, prefix.end)
            # One event more than is needed: where the batch goes on beyond the point, it is seen.
            end = min(segment.end or point + 1, point + 1)
            for node in await self._nodes(self._plan.segments, prefix.end, end):
                if node.first < point < node.end:
                    raise InvalidArgument(_INSIDE.format(point - 1))
                if node.first < point:
                    for event in events_of(node):
                        prefix.add(event, segment.writer or self._plan.run_id)
        return prefix

    async def _run(self, run_id: str) -> Run | None:
        entry = await self._chains.entry(self._key, (run_id,))
        return entry.chain.runs.get(run_id)

    async def _after(self, run_id: str, first: int, kinds: frozenset[int]) -> tuple[int, str]:
        """Gather what of a run's events from `first` on happens again. Returns where they end, with all that came
        meanwhile, and the run that continued it, "" if none did.
        """
        follower = ""
        while (run := await self._run(run_id)) is not None and first < run.facts.next_event_id:
            for node in await self._nodes(run.durable.segments, first, run.facts.next_event_id):
                for event in events_of(node):
                    if event.event_type in kinds:
                        self._gather(event)
                    elif event.event_type == _CONTINUED:
                        continued = event.workflow_execution_continued_as_new_event_attributes
                        follower = continued.new_execution_run_id
                first = node.end
        return first, follower

    def _gather(self, event: HistoryEvent) -> None:
        self._room -= event.ByteSize()
        if self._room < 0:
            raise InvalidArgument(_TOO_LARGE)
        self._later.append(event)

    async def _nodes(self, segments: tuple[HistorySegment, ...], first: int, end: int) -> list[Node]:
        return await self._reading.nodes(self._chains, self._key, spans(segments), first, end, _BATCHES)


def _holding(segments: tuple[HistorySegment, ...], event_id: int) -> HistorySegment:
    """The segment that an event lies in."""
    return next(segment for segment in reversed(segments) if segment.first <= event_id)
