"""What operators ask of a run's pending activities, by id, by type or of all. As in `perdure.workflow.requests`, the
decider of each is in the module of its name.
"""

from dataclasses import dataclass

from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)


@dataclass(frozen=True, slots=True)
class PauseActivity:
    """An operator withholds activities. Reply: PauseActivityResponse. Refusals: NotFound, FailedPrecondition (another
    pause is on). Module `pause_activity`.
    """

    request: PauseActivityRequest


@dataclass(frozen=True, slots=True)
class UnpauseActivity:
    """Paused activities go on. Reply: UnpauseActivityResponse. Refusals: NotFound. Module `unpause_activity`."""

    request: UnpauseActivityRequest


@dataclass(frozen=True, slots=True)
class ResetActivity:
    """Activities begin again with their first attempt. Reply: ResetActivityResponse. Refusals: NotFound. Module
    `reset_activity`.
    """

    request: ResetActivityRequest


@dataclass(frozen=True, slots=True)
class UpdateActivityOptions:
    """Reply: UpdateActivityOptionsResponse with the options of the last one. Refusals: NotFound, InvalidArgument.
    Module `update_activity_options`.
    """

    request: UpdateActivityOptionsRequest
