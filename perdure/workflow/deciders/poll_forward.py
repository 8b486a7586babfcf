"""PollForward: whether a fast-forward has ended, and why not if it never will. Changes nothing.

Source: the reference (`service/history/api/polltimeskipping`). A run that another one follows hands its fast-forward
on.
"""

from temporalio.api.enums.v1 import FastForwardPollingResult
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionTimeSkippingResponse

from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import find_run
from perdure.workflow.time_skipping import fast_forward
from perdure.workflow.time_skipping_requests import ForwardSeen, PollForward

_COMPLETED = FastForwardPollingResult.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_COMPLETED
_FAILED = FastForwardPollingResult.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_FAILED
_PENDING = FastForwardPollingResult.FAST_FORWARD_POLLING_RESULT_POLL_TIMEOUT
_OTHER = "the requested fast_forward_id does not match the execution's current fast-forward"
_RESET = "the fast-forward was reset"
_ENDED = "the execution ended before the fast-forward completed"
_DISABLED = "time skipping was disabled before the fast-forward completed"


@decides(PollForward)
def poll_forward(work: Work, request: PollForward) -> ForwardSeen:
    """What became of it so far."""
    asked = request.request
    run = find_run(work, asked.workflow_execution.run_id)
    if not run.is_open and run.facts.successor_run_id and work.current is not None:
        run = work.chain.runs.get(work.current.run_id, run)
    skipping = run.facts.time_skipping
    forward = fast_forward(skipping)
    if skipping is None or forward is None or forward.fast_forward_id != asked.fast_forward_id:
        result, reason = _FAILED, _OTHER
    elif request.target_ns not in (0, skipping.forward_to_ns):
        result, reason = _FAILED, _RESET
    elif skipping.forwarded:
        result, reason = _COMPLETED, ""
    elif not run.is_open and not run.facts.successor_run_id:
        result, reason = _FAILED, _ENDED
    elif not skipping.enabled:
        result, reason = _FAILED, _DISABLED
    else:
        result, reason = _PENDING, ""
    response = PollWorkflowExecutionTimeSkippingResponse(
        fast_forward_polling_result=result, failed_reason=reason, fast_forward_info=forward
    )
    pending = result == _PENDING and skipping is not None
    return ForwardSeen(response, skipping.forward_to_ns if pending and skipping is not None else 0)
