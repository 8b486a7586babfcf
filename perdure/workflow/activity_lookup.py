"""Finding the activity that a worker's answer is for, and refusing answers that come too late.

Source of rules and messages: the reference (`api/activity_util.go`, `consts`). A token names an attempt: its number
and, where the token says so, the time it was started, because a reset activity counts from one again. The stamp is not
compared: an attempt that runs may end although its options changed meanwhile.
"""

from perdure.base.errors import InvalidArgument, NotFound
from perdure.workflow.decide import Work
from perdure.workflow.lookup import COMPLETED, find_run
from perdure.workflow.requests import ActivityRef
from perdure.workflow.state import Activity, ActivityAttempt, Run

NOT_FOUND = "invalid activityID or activity already timed out or invoking workflow is completed"


def find_activity(
    work: Work, ref: ActivityRef, *, unstarted_by_id: bool = False
) -> tuple[Run, Activity, ActivityAttempt]:
    """The open run, the pending activity and its attempt that `ref` names.

    `unstarted_by_id`: by id, an activity that no worker has started is found too. Raises NotFound, InvalidArgument.
    """
    token = ref.token
    run = find_run(work, token.run_id if token is not None else ref.run_id)
    if not run.is_open:
        raise NotFound(COMPLETED)
    by_id = token is None or not token.scheduled_event_id
    if token is not None and token.scheduled_event_id:
        scheduled_event_id = token.scheduled_event_id
    else:
        scheduled_event_id = _by_id(run, ref.activity_id if token is None else token.activity_id)
    activity = run.facts.activities.get(scheduled_event_id)
    attempt = run.durable.attempts.get(scheduled_event_id)
    if activity is None or attempt is None:
        raise NotFound(NOT_FOUND)
    if not attempt.started_time_ns and not (by_id and unstarted_by_id):
        raise NotFound(NOT_FOUND)
    if not by_id and token is not None:
        if token.attempt != attempt.attempt:
            raise NotFound(NOT_FOUND)
        if token.started_time_ns and token.started_time_ns != attempt.started_time_ns:
            raise NotFound(NOT_FOUND)
    return run, activity, attempt


def _by_id(run: Run, activity_id: str) -> int:
    if not activity_id:
        raise InvalidArgument("activityID cannot be empty")
    scheduled_event_id = run.facts.activity_ids.get(activity_id)
    if scheduled_event_id is None:
        raise NotFound(
            f"cannot find pending activity with ActivityID {activity_id}, "
            "check workflow execution history for more details"
        )
    return scheduled_event_id
