"""Requests of operators that change how a run is carried out: more of `perdure.workflow.requests`, in the same form."""

from dataclasses import dataclass

from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)


@dataclass(frozen=True, slots=True)
class PauseWorkflow:
    """Reply: PauseWorkflowExecutionResponse. Refusals: NotFound, FailedPrecondition (it is paused). Module `pause`."""

    request: PauseWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class UnpauseWorkflow:
    """Reply: UnpauseWorkflowExecutionResponse. Refusals: NotFound, FailedPrecondition (it is not paused). Module
    `pause`.
    """

    request: UnpauseWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """Reply: UpdateWorkflowExecutionOptionsResponse. Refusals: NotFound, InvalidArgument, FailedPrecondition (no such
    version). Module `update_options`.
    """

    request: UpdateWorkflowExecutionOptionsRequest
