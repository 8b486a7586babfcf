"""UpdateActivityOptions: other timeouts, another retry policy, queue or priority from now on, or those of the schedule.

What nobody has is offered by the new options; a backoff is reckoned anew where the policy changed. What runs goes on,
under the new timeouts. No event says so. Source: the reference (`updateactivityoptions`).

Differs from the reference by intent: a backoff's interval is the policy's for the attempt that ended (the reference
takes the one after), also after a timeout (the reference then reckons from 1970).
"""

import msgspec
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.workflowservice.v1 import UpdateActivityOptionsRequest, UpdateActivityOptionsResponse

from perdure.base.errors import InvalidArgument
from perdure.workflow.activity_attempts import due
from perdure.workflow.activity_lookup import addressed, check_copies
from perdure.workflow.activity_options import camel_case, in_force, options_of, updated
from perdure.workflow.activity_requests import UpdateActivityOptions
from perdure.workflow.context import Context
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_open, find_run
from perdure.workflow.retry_policy import interval_after
from perdure.workflow.state import Activity, ActivityAttempt, Run


@decides(UpdateActivityOptions)
def update_activity_options(work: Work, request: UpdateActivityOptions) -> UpdateActivityOptionsResponse:
    """Change the options of all that are addressed."""
    asked = request.request
    if asked.restore_original and asked.update_mask.paths:
        raise InvalidArgument("Both UpdateMask and RestoreOriginal are provided")
    run = find_run(work, asked.execution.run_id)
    check_open(run)
    if not asked.restore_original and not asked.HasField("activity_options"):
        raise InvalidArgument("ActivityOptions are not provided")
    activities = addressed(run, asked)
    if not asked.restore_original and not asked.HasField("update_mask"):
        raise InvalidArgument("UpdateMask is not provided")
    draft = work.draft(run.run_id)
    options = ActivityOptions()
    for activity in activities:
        attempt = run.durable.attempts[activity.scheduled_event_id]
        options, encoded = _changed(run, activity, attempt, asked, work.context)
        check_copies(len(encoded), len(activities), work.context.limits)
        changed = msgspec.structs.replace(attempt, options=encoded, stamp=attempt.stamp + 1)
        if not changed.started_time_ns:
            changed = _offered_anew(activity, attempt, changed, draft.context.now_ns)
        draft.put("attempts", activity.scheduled_event_id, changed)
    return UpdateActivityOptionsResponse(activity_options=options)


def _changed(
    run: Run, activity: Activity, attempt: ActivityAttempt, asked: UpdateActivityOptionsRequest, context: Context
) -> tuple[ActivityOptions, bytes]:
    """(the options as they are answered, the override that is kept)."""
    if asked.restore_original:
        return options_of(activity), b""
    paths = {camel_case(path) for path in asked.update_mask.paths}
    current = in_force(activity, attempt)
    options = updated(current, asked.activity_options, paths, run.facts.task_queue, context.limits)
    kept = ActivityOptions()
    kept.CopyFrom(options)
    del kept.retry_policy.non_retryable_error_types[:]
    return options, kept.SerializeToString()


def _offered_anew(
    activity: Activity, before: ActivityAttempt, attempt: ActivityAttempt, now_ns: int
) -> ActivityAttempt:
    """The attempt that nobody has, due when the policy in force says."""
    due_ns = attempt.scheduled_time_ns
    ended_ns = attempt.last_attempt_complete_time_ns or attempt.scheduled_time_ns - attempt.retry_interval_ns
    policy = in_force(activity, attempt).retry_policy
    if attempt.attempt > 1 and policy != in_force(activity, before).retry_policy:
        due_ns = ended_ns + interval_after(RetryPolicy.FromString(policy), attempt.attempt - 1)
    attempt = due(attempt, due_ns, now_ns, ended_ns)
    return msgspec.structs.replace(attempt, last_failure=b"")
