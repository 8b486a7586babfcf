"""RecordCallback: what became of a call of a completion callback.

A failed call is repeated after a backoff that doubles, less up to a fifth, so that those that failed together don't
come again together. Source: the reference (`chasm/lib/callback/statemachine.go`).
"""

from temporalio.api.enums.v1 import CallbackState
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure

from perdure.base.limits import Limits
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import wanting
from perdure.workflow.requests import RecordCallback
from perdure.workflow.state import CallbackAttempts

_SUCCEEDED = CallbackState.CALLBACK_STATE_SUCCEEDED
_BACKING_OFF = CallbackState.CALLBACK_STATE_BACKING_OFF
_FAILED = CallbackState.CALLBACK_STATE_FAILED
# A receiver's words are kept in state as far as this, in characters.
MESSAGE_MAX = 2_000
_DOUBLINGS_MAX = 62


@decides(RecordCallback)
def record_callback(work: Work, request: RecordCallback) -> None:
    """Note it, once."""
    timer = request.timer
    run = wanting(work, timer)
    if run is None:
        return
    now_ns, attempt = work.context.now_ns + run.ahead_ns, timer.attempt + 1
    calls = CallbackAttempts(_SUCCEEDED, attempt, now_ns)
    if request.failure:
        failure = Failure(
            message=request.failure[:MESSAGE_MAX],
            application_failure_info=ApplicationFailureInfo(non_retryable=not request.retryable),
        ).SerializeToString()
        if request.retryable:
            next_ns = now_ns + backoff_ns(attempt, work.context.limits, work.context.seed)
            calls = CallbackAttempts(_BACKING_OFF, attempt, now_ns, failure, next_ns)
        else:
            calls = CallbackAttempts(_FAILED, attempt, now_ns, failure)
    work.draft(run.run_id).put("callback_attempts", timer.event_id, calls)


def backoff_ns(attempt: int, limits: Limits, seed: bytes) -> int:
    """How long to wait after the `attempt`-th call, from 1 on."""
    interval_ns = limits.callback_retry_ns << min(attempt - 1, _DOUBLINGS_MAX)
    interval_ns = min(interval_ns, limits.callback_retry_ns_max)
    fifth_ns = interval_ns // 5
    return interval_ns - fifth_ns + int.from_bytes(seed[:8], "big") % (fifth_ns + 1)
