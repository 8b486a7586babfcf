"""The rules that any one history keeps, checked on what a client reads."""

from collections.abc import Sequence

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

_TERMINAL = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
}


def broken_rules(events: Sequence[HistoryEvent]) -> list[str]:
    """The rules that a closed run's history breaks, in words."""
    return [*_order(events), *_activities(events), *_timers(events), *_signals(events)]


def _order(events: Sequence[HistoryEvent]) -> list[str]:
    broken = []
    if [event.event_id for event in events] != list(range(1, len(events) + 1)):
        broken.append("event ids are not 1..n")
    if events[0].event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
        broken.append("the first event is not Started")
    terminal = [event.event_id for event in events if event.event_type in _TERMINAL]
    if terminal != [len(events)]:
        broken.append(f"terminal events {terminal} of {len(events)}")
    tasks = [event.task_id for event in events]
    if sorted(set(tasks)) != tasks:
        broken.append("task ids do not rise")
    return broken


def _activities(events: Sequence[HistoryEvent]) -> list[str]:
    ends: dict[int, int] = {}
    for event in events:
        for name in ("completed", "failed", "timed_out", "canceled"):
            field = f"activity_task_{name}_event_attributes"
            if event.HasField(field):  # type: ignore[arg-type]  # built from the field's name
                scheduled = getattr(event, field).scheduled_event_id
                ends[scheduled] = ends.get(scheduled, 0) + 1
    return [f"activity {scheduled} ended {count} times" for scheduled, count in ends.items() if count != 1]


def _timers(events: Sequence[HistoryEvent]) -> list[str]:
    broken = []
    started = {event.event_id: event for event in events if event.HasField("timer_started_event_attributes")}
    fired: set[int] = set()
    for event in events:
        if not event.HasField("timer_fired_event_attributes"):
            continue
        begun = started[event.timer_fired_event_attributes.started_event_id]
        wait = begun.timer_started_event_attributes.start_to_fire_timeout.ToNanoseconds()
        if event.event_time.ToNanoseconds() < begun.event_time.ToNanoseconds() + wait:
            broken.append(f"timer {begun.event_id} fired early")
        if begun.event_id in fired:
            broken.append(f"timer {begun.event_id} fired twice")
        fired.add(begun.event_id)
    return broken


def _signals(events: Sequence[HistoryEvent]) -> list[str]:
    ids = [
        event.workflow_execution_signaled_event_attributes.request_id
        for event in events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    return [] if len(set(ids)) == len(ids) else ["one signal request id twice"]
