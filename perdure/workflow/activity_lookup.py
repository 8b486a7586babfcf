"""Finding the activities that a request is for: a worker's answer, which is refused if it comes too late, or an
operator's.

Source of rules and messages: the reference (`api/activity_util.go`, `consts`). A token names an attempt: its number
and, where the token says so, the time it was started, because a reset activity counts from one again. The stamp is not
compared: an attempt that runs may end although its options changed meanwhile.
"""

from collections.abc import Sequence

import msgspec
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from perdure.base.errors import InvalidArgument, NotFound
from perdure.base.limits import Limits
from perdure.workflow.context import Context
from perdure.workflow.decide import Work
from perdure.workflow.durations import capped_ns
from perdure.workflow.lookup import check_open, find_run
from perdure.workflow.requests import ActivityRef
from perdure.workflow.state import Activity, ActivityAttempt, Run

Operation = PauseActivityRequest | UnpauseActivityRequest | ResetActivityRequest | UpdateActivityOptionsRequest
NOT_PENDING = "Can't find pending activity with such ID. Invalid activityID or activity already completed"
NOT_FOUND = "invalid activityID or activity already timed out or invoking workflow is completed"


def find_activity(
    work: Work, ref: ActivityRef, *, unstarted_by_id: bool = False
) -> tuple[Run, Activity, ActivityAttempt]:
    """The open run, the pending activity and its attempt that `ref` names.

    `unstarted_by_id`: by id, an activity that no worker has started is found too. Raises NotFound, InvalidArgument.
    """
    token = ref.token
    run = find_run(work, token.run_id if token is not None else ref.run_id)
    check_open(run)
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


def addressed(run: Run, request: Operation) -> Sequence[Activity]:
    """The pending activities of the open run that an operator's request is for: by id, by type, or all. At least one;
    raises NotFound.
    """
    by = request.WhichOneof("activity")
    found = [*run.facts.activities.values()]
    if by == "type":
        found = [activity for activity in found if activity.activity_type == request.type]
    if by != "id" and not found:
        raise NotFound(NOT_PENDING)
    check_open(run)
    if by != "id":
        return found
    scheduled_event_id = run.facts.activity_ids.get(request.id)
    if scheduled_event_id is None:
        raise NotFound(NOT_PENDING)
    return (run.facts.activities[scheduled_event_id],)


def check_copies(size: int, count: int, limits: Limits) -> None:
    """Raises InvalidArgument where so many activities' copies of `size` bytes are too much for one commit."""
    if size * count > limits.transaction_bytes_max:
        raise InvalidArgument("Transaction size exceeds limit.")


def unpaused(attempt: ActivityAttempt) -> ActivityAttempt:
    """The attempt goes on; what was offered or armed before the pause is void."""
    return msgspec.structs.replace(attempt, stamp=attempt.stamp + 1, paused=False, pause_info=b"", pause_request_id="")


def jittered_ns(context: Context, jitter: Duration, activity: Activity) -> int:
    """Now, or up to `jitter` later, for each activity by chance."""
    within_ns = capped_ns(jitter)
    if not within_ns:
        return context.now_ns
    chance = int(context.new_id("jitter", activity.scheduled_event_id).replace("-", ""), 16)
    return context.now_ns + chance % within_ns
