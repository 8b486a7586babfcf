"""Rules of the random machine that reset runs, and what must hold of them."""

from collections import Counter

from temporalio.api.enums.v1 import EventType

from perdure.workflow.evolve import evolve
from perdure.workflow.state import Durable, Ephemeral, Facts, Run
from tests.property.rules import Draw, rule
from tests.transcripts.resetting import reset
from tests.transcripts.stage import Stage

_OUTSTANDING = frozenset(
    EventType.Value(f"EVENT_TYPE_WORKFLOW_TASK_{what}") for what in ("SCHEDULED", "STARTED", "FAILED", "TIMED_OUT")
)
# Not from events: where the newest batch begins.
_BOOKKEEPING = ("last_first_event_id",)


@rule
def resets(stage: Stage, draw: Draw) -> None:
    """To the beginning of any batch of any run, mostly a good one."""
    if not stage.chain.runs:
        return
    run_id = draw.of(sorted(stage.chain.runs))
    events, batches = stage.histories[run_id], stage.batches[run_id]
    good = [first for first in batches[1:] if events[first - 2].event_type in _OUTSTANDING]
    excluded = draw.of([[], [], [1], [1, 2, 3, 4]])
    request_id = draw.of(["", "", "again"]) or f"reset {len(stage.chain.runs)} {len(events)}"
    point = draw.of([*good, *good, *batches])
    reset(stage, point, run_id, reset_reapply_exclude_types=excluded, request_id=request_id)


def check_resets(stage: Stage) -> None:
    """Every open run is what its whole history says, and the chain knows who lies on which branch."""
    lying: Counter[str] = Counter()
    for run in stage.chain.runs.values():
        lying.update(segment.branch for segment in run.durable.segments)
        _check_facts(stage, run)
    assert dict(stage.chain.shared) == {branch: count for branch, count in lying.items() if count > 1}


def _check_facts(stage: Stage, run: Run) -> None:
    if run.durable.buffered or not run.is_open:
        return  # what is buffered has happened, and is not in history; a close by command drops it
    replayed = Run(
        Facts(), Durable(was_reset=run.durable.was_reset, reset_run_id=run.durable.reset_run_id), Ephemeral()
    )
    for event in stage.histories[run.run_id]:
        segment = next(one for one in reversed(run.durable.segments) if one.first <= event.event_id)
        replayed.durable.run_id = segment.writer or run.run_id
        evolve(replayed, event)
    for field in Facts.__struct_fields__:
        if field not in _BOOKKEEPING:
            assert getattr(replayed.facts, field) == getattr(run.facts, field), field
