"""The tasks that a pending activity needs: an offer to workers, and a timer for the nearest of its deadlines.

An attempt is offered from when it is due until it is started. Of the deadlines only the nearest has a timer: whoever
fires it looks at all of them, and the next nearest follows from the state afterwards. A paused activity has neither.
"""

from collections.abc import Iterable

from perdure.base.slots import ChainKey
from perdure.workflow.activity_options import in_force
from perdure.workflow.outstanding import derives
from perdure.workflow.priorities import merge, rank
from perdure.workflow.state import Activity, ActivityAttempt, Run
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Task, Timer, TimerKind, lane_of

_BY_ATTEMPT = frozenset(
    {
        TimerKind.ACTIVITY_SCHEDULE_TO_START,
        TimerKind.ACTIVITY_START_TO_CLOSE,
        TimerKind.ACTIVITY_HEARTBEAT,
        TimerKind.ACTIVITY_RETRY,
    }
)


@derives("activity")
def tasks_of_activity(run: Run, scheduled_event_id: int) -> Iterable[Task]:
    """At most one offer and one timer."""
    activity = run.facts.activities.get(scheduled_event_id)
    attempt = run.durable.attempts.get(scheduled_event_id)
    if activity is None or attempt is None or attempt.paused or not run.is_open:
        return ()
    activity = in_force(activity, attempt)
    key = ChainKey(run.durable.namespace_id, run.durable.workflow_id)
    tasks: list[Task] = []
    if not (attempt.started_time_ns or attempt.waiting or run.durable.paused):
        tasks.append(_offer(run, key, activity, attempt))
    nearest = min(deadlines(activity, attempt), default=None)
    if nearest is not None and not 0 < run.durable.run_expiration_ns < nearest[0]:
        due_ns, kind = nearest
        by_attempt = kind in _BY_ATTEMPT
        tasks.append(
            Timer(
                due_ns,
                key,
                run.durable.run_id,
                kind,
                scheduled_event_id,
                attempt.attempt if by_attempt else 0,
                attempt.stamp if by_attempt else 0,
            )
        )
    return tasks


def deadlines(activity: Activity, attempt: ActivityAttempt) -> list[tuple[int, TimerKind]]:
    """(due in ns, kind) of everything that time does to the attempt by the options of `activity`, unordered.

    Schedule-to-close spans all attempts, from the first schedule on. The others belong to the current attempt; its
    schedule-to-start begins when it is due.
    """
    found: list[tuple[int, TimerKind]] = []
    if activity.schedule_to_close_ns:
        due_ns = attempt.first_scheduled_time_ns + activity.schedule_to_close_ns
        found.append((due_ns, TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE))
    if attempt.started_time_ns:
        if activity.start_to_close_ns:
            due_ns = attempt.started_time_ns + activity.start_to_close_ns
            found.append((due_ns, TimerKind.ACTIVITY_START_TO_CLOSE))
        if activity.heartbeat_ns:
            seen_ns = max(attempt.started_time_ns, attempt.heartbeat_time_ns)
            found.append((seen_ns + activity.heartbeat_ns, TimerKind.ACTIVITY_HEARTBEAT))
        return found
    if activity.schedule_to_start_ns:
        due_ns = attempt.scheduled_time_ns + activity.schedule_to_start_ns
        found.append((due_ns, TimerKind.ACTIVITY_SCHEDULE_TO_START))
    if attempt.waiting:
        found.append((attempt.scheduled_time_ns, TimerKind.ACTIVITY_RETRY))
    return found


def _offer(run: Run, key: ChainKey, activity: Activity, attempt: ActivityAttempt) -> Offer:
    priority, fairness_key, weight = rank(merge(run.facts.priority, activity.priority))
    lane = lane_of(fairness_key) if attempt.fair else ""
    return Offer(
        key=key,
        run_id=run.durable.run_id,
        queue=QueueKey(key.namespace_id, activity.task_queue, QueueKind.ACTIVITY, lane),
        scheduled_event_id=activity.scheduled_event_id,
        attempt=attempt.attempt,
        stamp=attempt.stamp,
        scheduled_time_ns=attempt.scheduled_time_ns,
        priority=priority,
        fairness_key=fairness_key,
        fairness_weight=weight,
        schedule_to_start_ns=activity.schedule_to_start_ns,
    )
