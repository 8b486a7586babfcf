"""Requests about updates, and their replies. A part of the core's vocabulary (`perdure.workflow.requests`)."""

from dataclasses import dataclass

import msgspec
from temporalio.api.workflowservice.v1 import (
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
)


@dataclass(frozen=True, slots=True)
class AdmitUpdate:
    """An update for a workflow, or what became of one with its id. Reply: `UpdateSeen`. Refusals: NotFound (closed, and
    no such update), WorkflowNotReady, ResourceExhausted, FailedPrecondition. Module `admit_update`.
    """

    request: UpdateWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class FindUpdate:
    """What became of an update. Reply: `UpdateSeen`. Refusals: NotFound. Changes nothing. Module `find_update`.

    `run_id` "" = the current run.
    """

    run_id: str
    update_id: str


class UpdateSeen(msgspec.Struct, frozen=True):
    """How far an update is. `stage`: temporal.api.enums.v1.UpdateWorkflowExecutionLifecycleStage. A completed one's
    outcome is in event `completed_event_id`, which `segments` lead to; `failure` (encoded) instead where the server
    itself failed it: its workflow ended.
    """

    run_id: str
    stage: int
    completed_event_id: int = 0
    segments: tuple[tuple[str, int, int], ...] = ()
    failure: bytes = b""


@dataclass(frozen=True, slots=True)
class StartWithUpdate:
    """Start a workflow, or use the one that runs, and admit an update to it: both or neither. Reply:
    `StartedWithUpdate`. Refusals: `OperationsFailed`. Module `start_with_update`.
    """

    start: StartWorkflowExecutionRequest
    update: UpdateWorkflowExecutionRequest


class StartedWithUpdate(msgspec.Struct, frozen=True):
    """What an update-with-start did."""

    start: StartWorkflowExecutionResponse
    update: UpdateSeen
