"""Starting an activity task: matching found a worker for it.

Idempotent by matching's request id: a lost reply must not cost the attempt. Anything that the offer no longer describes
is refused with NotFound, and matching drops its reference.
"""

from temporalio.api.common.v1 import WorkerVersionCapabilities, WorkerVersionStamp

from perdure.base.errors import NotFound
from perdure.workflow.activity_attempts import start
from perdure.workflow.activity_lookup import NOT_FOUND
from perdure.workflow.activity_options import in_force
from perdure.workflow.branches import spans
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_open, find_run
from perdure.workflow.priorities import merge
from perdure.workflow.requests import ActivityTaskStarted, StartActivityTask
from perdure.workflow.state import Activity, ActivityAttempt, Run


@decides(StartActivityTask)
def start_activity_task(work: Work, request: StartActivityTask) -> ActivityTaskStarted:
    """Give the offered attempt to the worker that `request` names."""
    offer = request.offer
    run = find_run(work, offer.run_id)
    check_open(run)
    activity = run.facts.activities.get(offer.scheduled_event_id)
    attempt = run.durable.attempts.get(offer.scheduled_event_id)
    if activity is None or attempt is None:
        raise NotFound(NOT_FOUND)
    if attempt.started_time_ns:
        if attempt.request_id != request.request_id:
            raise NotFound("Activity task already started.")
        return started_reply(run, activity, attempt)
    if (attempt.attempt, attempt.stamp) != (offer.attempt, offer.stamp) or attempt.paused or attempt.waiting:
        raise NotFound(f"Activity task with this stamp not found: {offer.stamp}")
    if run.durable.paused:
        raise NotFound("Activity task is not offered while its workflow is paused.")
    version = _stamp(request.capabilities)
    draft = work.draft(run.run_id)
    attempt = start(draft, activity, attempt, request.request_id, request.identity, version)
    return started_reply(draft.run, draft.run.facts.activities[activity.scheduled_event_id], attempt)


def started_reply(run: Run, activity: Activity, attempt: ActivityAttempt) -> ActivityTaskStarted:
    """What a worker gets of the started `attempt`, by the options in force."""
    activity = in_force(activity, attempt)
    return ActivityTaskStarted(
        run_id=run.run_id,
        workflow_type=run.facts.workflow_type,
        activity=activity,
        attempt=attempt,
        segments=spans(run.durable.segments),
        priority=merge(run.facts.priority, activity.priority),
    )


def _stamp(capabilities: WorkerVersionCapabilities | None) -> WorkerVersionStamp | None:
    if capabilities is None or not capabilities.build_id:
        return None
    if capabilities.use_versioning and capabilities.deployment_series_name:
        return None
    return WorkerVersionStamp(build_id=capabilities.build_id, use_versioning=capabilities.use_versioning)
