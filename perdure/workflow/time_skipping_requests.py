"""What is asked of a run about its fast-forward."""

from dataclasses import dataclass

from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionTimeSkippingRequest,
    PollWorkflowExecutionTimeSkippingResponse,
)


@dataclass(frozen=True, slots=True)
class PollForward:
    """Whether a fast-forward has ended. Reply: `ForwardSeen`. Changes nothing. Module `poll_forward`.

    `target_ns`: where it was to end when it was asked for first, in the run's time; 0 = this is the first time.
    """

    request: PollWorkflowExecutionTimeSkippingRequest
    target_ns: int = 0


@dataclass(frozen=True, slots=True)
class ForwardSeen:
    """The answer so far. `pending_ns`: where the fast-forward is to end, if it goes on; 0 = the answer is final."""

    response: PollWorkflowExecutionTimeSkippingResponse
    pending_ns: int
