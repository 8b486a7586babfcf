"""A worker completed an activity, or a client did by its id, which may come before any worker started it."""

from temporalio.api.history.v1 import ActivityTaskCompletedEventAttributes

from perdure.workflow.activity_attempts import end, start
from perdure.workflow.activity_lookup import find_activity
from perdure.workflow.decide import Work, decides
from perdure.workflow.requests import CompleteActivity
from perdure.workflow.workflow_task import wake


@decides(CompleteActivity)
def complete_activity(work: Work, request: CompleteActivity) -> None:
    """The activity has its result."""
    run, activity, attempt = find_activity(work, request.ref, unstarted_by_id=True)
    draft = work.draft(run.run_id)
    if not attempt.started_time_ns:
        # History needs a start before the end: the one who completes counts as the one who started.
        attempt = start(draft, activity, attempt, "", request.identity)
        activity = draft.run.facts.activities[activity.scheduled_event_id]
    completed = ActivityTaskCompletedEventAttributes(result=request.result, identity=request.identity)
    end(draft, activity, attempt, completed, request.worker_version)
    wake(draft)
