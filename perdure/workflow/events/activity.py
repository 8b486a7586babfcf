"""What activity events do to the facts of a run.

An activity is pending from its Scheduled until its terminal event arrives, numbered or not: a second completion finds
nothing. Its attempts are not in history; `Durable.attempts` has them, written by deltas of the same decision. An event
about an activity that is no longer pending changes nothing: its start may be numbered after its end arrived.
"""

from typing import Any

import msgspec
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ActivityTaskCancelRequestedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    ActivityTaskStartedEventAttributes,
    HistoryEvent,
)

from perdure.base.clock import from_duration, from_timestamp
from perdure.workflow.evolve import arrives, numbers
from perdure.workflow.state import Activity, Run


@numbers(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
def scheduled(run: Run, event: HistoryEvent, attributes: ActivityTaskScheduledEventAttributes) -> None:
    """The activity is pending."""
    activity = Activity(
        scheduled_event_id=event.event_id,
        activity_id=attributes.activity_id,
        activity_type=attributes.activity_type.name,
        task_queue=attributes.task_queue.name,
        scheduled_time_ns=from_timestamp(event.event_time),
        schedule_to_close_ns=from_duration(attributes.schedule_to_close_timeout),
        schedule_to_start_ns=from_duration(attributes.schedule_to_start_timeout),
        start_to_close_ns=from_duration(attributes.start_to_close_timeout),
        heartbeat_ns=from_duration(attributes.heartbeat_timeout),
        retry_policy=attributes.retry_policy.SerializeToString() if attributes.HasField("retry_policy") else b"",
        priority=attributes.priority.SerializeToString() if attributes.HasField("priority") else b"",
    )
    run.put("activities", event.event_id, activity)
    run.put("activity_ids", attributes.activity_id, event.event_id)


@numbers(EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
def started(run: Run, event: HistoryEvent, attributes: ActivityTaskStartedEventAttributes) -> None:
    """The start has an id, which the terminal event names."""
    activity = run.facts.activities.get(attributes.scheduled_event_id)
    if activity is not None:
        replaced = msgspec.structs.replace(activity, started_event_id=event.event_id)
        run.put("activities", activity.scheduled_event_id, replaced)


@numbers(EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED)
def cancel_requested(run: Run, event: HistoryEvent, attributes: ActivityTaskCancelRequestedEventAttributes) -> None:
    """The activity's worker learns it with its next heartbeat; there is no further retry."""
    activity = run.facts.activities.get(attributes.scheduled_event_id)
    if activity is not None:
        replaced = msgspec.structs.replace(activity, cancel_requested_event_id=event.event_id)
        run.put("activities", activity.scheduled_event_id, replaced)


@arrives(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
@arrives(EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED)
@arrives(EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
@arrives(EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED)
def ended(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The activity is over; its activity id may be used again, and is already where the event waited for its number
    meanwhile.
    """
    activity = run.facts.activities.get(attributes.scheduled_event_id)
    if activity is not None:
        run.drop("activities", activity.scheduled_event_id)
        if run.facts.activity_ids.get(activity.activity_id) == activity.scheduled_event_id:
            run.drop("activity_ids", activity.activity_id)
