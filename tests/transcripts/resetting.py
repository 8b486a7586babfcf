"""Resets of a stage's chain: what the history role reads, read from the stage's own record of its histories."""

from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from perdure.workflow.core import Decision
from perdure.workflow.reapplying import wanted
from perdure.workflow.reset_reading import Prefix, ResetReading
from perdure.workflow.reset_requests import PlanReset, Reset, ResetPlan
from perdure.workflow.state import HistorySegment
from tests.transcripts.stage import Stage


def reset_request(event_id: int, run_id: str = "", **fields: Any) -> ResetWorkflowExecutionRequest:
    """A reset of `wf` to before an event; each point has a request id of its own."""
    plain: dict[str, Any] = {
        "workflow_execution": WorkflowExecution(workflow_id="wf", run_id=run_id),
        "workflow_task_finish_event_id": event_id,
        "request_id": f"reset {run_id} {event_id}",
        "reason": "again",
    }
    return ResetWorkflowExecutionRequest(**{**plain, **fields})


def reset(stage: Stage, event_id: int, run_id: str = "", **fields: Any) -> Decision:
    """Plan, read and decide; the last decision."""
    asked = reset_request(event_id, run_id, **fields)
    planned = stage.decide(PlanReset(asked))
    if not isinstance(planned.reply, ResetPlan):
        return planned
    return stage.decide(Reset(asked, read(stage, asked, planned.reply)))


def read(stage: Stage, asked: ResetWorkflowExecutionRequest, plan: ResetPlan) -> ResetReading:
    """What there is to read for a reset."""
    point = asked.workflow_task_finish_event_id
    prefix = Prefix(stage.chain.key.namespace_id, stage.chain.key.workflow_id)
    for event in stage.histories[plan.run_id][: point - 1]:
        prefix.add(event, _writer(plan.segments, event.event_id) or plan.run_id)
    later: list[HistoryEvent] = []
    ends: dict[str, int] = {}
    run_id, first, kinds = plan.run_id, point, wanted(asked, base=True)
    last = run_id
    while kinds and run_id in stage.chain.runs:
        last, events = run_id, stage.histories[run_id][first - 1 :]
        later += [event for event in events if event.event_type in kinds]
        ends[run_id] = stage.chain.runs[run_id].facts.next_event_id
        closing = events[-1].workflow_execution_continued_as_new_event_attributes if events else None
        run_id = closing.new_execution_run_id if closing is not None else ""
        first, kinds = 1, wanted(asked, base=False)
    return prefix.reading(plan.run_id, tuple(later), ends, last)


def _writer(segments: tuple[HistorySegment, ...], event_id: int) -> str:
    return next(segment.writer for segment in reversed(segments) if segment.first <= event_id)
