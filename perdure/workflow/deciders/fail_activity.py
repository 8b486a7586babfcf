"""A worker reports that an activity failed: the next attempt's backoff begins, or the activity has failed for good."""

import msgspec
from temporalio.api.enums.v1 import RetryState
from temporalio.api.history.v1 import ActivityTaskFailedEventAttributes

from perdure.workflow.activity_attempts import end, heard, retry
from perdure.workflow.activity_lookup import find_activity
from perdure.workflow.decide import Work, decides
from perdure.workflow.requests import FailActivity
from perdure.workflow.workflow_task import wake


@decides(FailActivity)
def fail_activity(work: Work, request: FailActivity) -> None:
    """Retry by the activity's policy, or record the failure with the reason why there is no retry."""
    run, activity, attempt = find_activity(work, request.ref)
    draft = work.draft(run.run_id)
    if request.last_heartbeat_details is not None:
        attempt = heard(draft, attempt, request.last_heartbeat_details, request.identity)
    attempt = msgspec.structs.replace(attempt, last_attempt_complete_time_ns=draft.context.now_ns)
    # One without content was not sent at all: the frontend lets no other pass.
    failure = request.failure if request.failure.ByteSize() else None
    state = retry(draft, activity, attempt, failure)
    if state == RetryState.RETRY_STATE_IN_PROGRESS:
        return
    failed = ActivityTaskFailedEventAttributes(failure=failure, identity=request.identity, retry_state=state)
    end(draft, activity, attempt, failed, request.worker_version)
    wake(draft)
