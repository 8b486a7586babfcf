"""The requests and replies of a reset, beside `perdure.workflow.requests`: it reads much before it can decide."""

from dataclasses import dataclass

import msgspec
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from perdure.workflow.reset_reading import ResetReading
from perdure.workflow.state import HistorySegment


@dataclass(frozen=True, slots=True)
class ResetWorkflow:
    """What the history role is asked: it reads, and decides `PlanReset` and `Reset` on the way. Reply:
    ResetWorkflowExecutionResponse. Refusals: as those'.
    """

    request: ResetWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class PlanReset:
    """What has to be read before a run can be reset. Changes nothing. Reply: `ResetPlan`, or a
    ResetWorkflowExecutionResponse where it is done already. Refusals: NotFound, InvalidArgument. Module `reset`.
    """

    request: ResetWorkflowExecutionRequest


class ResetPlan(msgspec.Struct, frozen=True):
    """The run to reset. `segments` lead to its events, and say who wrote them."""

    run_id: str
    segments: tuple[HistorySegment, ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the run that `read` was read of. Reply: ResetWorkflowExecutionResponse; `ResetOutdated` where there is more
    to read by now. Refusals: NotFound, InvalidArgument. Module `reset`.
    """

    request: ResetWorkflowExecutionRequest
    read: ResetReading


class ResetOutdated(msgspec.Struct, frozen=True):
    """A reply that changes nothing: a run of which everything was read has more events now."""
