"""The rules that any one history keeps, and those of runs that belong together, checked on what a client reads."""

from collections import Counter
from collections.abc import Mapping, Sequence

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
    return [*_order(events), *_activities(events), *_timers(events), *_signals(events), *_children(events)]


def broken_chains(runs: Mapping[str, Sequence[HistoryEvent]]) -> list[str]:
    """The rules that runs (by their ids) break together: successors and children are there once, and named."""
    broken = []
    continued: Counter[str] = Counter()
    children: Counter[tuple[str, int]] = Counter()
    for run_id, events in runs.items():
        begun = events[0].workflow_execution_started_event_attributes
        former = begun.continued_execution_run_id
        if former:
            continued[former] += 1
            if former in runs and _successor(runs[former][-1]) != run_id:
                broken.append(f"{run_id} continues {former}, which does not name it")
        elif begun.HasField("parent_workflow_execution"):
            children[begun.parent_workflow_execution.run_id, begun.parent_initiated_event_id] += 1
        named = _successor(events[-1])
        if named and named not in runs:
            broken.append(f"{run_id} goes on as {named}, which is not there")
    broken += [f"{run_id} has {count} successors" for run_id, count in continued.items() if count > 1]
    broken += [
        f"event {at} of {run_id} began {count} children" for (run_id, at), count in children.items() if count > 1
    ]
    return broken


def _successor(event: HistoryEvent) -> str:
    return str(getattr(getattr(event, event.WhichOneof("attributes") or ""), "new_execution_run_id", ""))


def _children(events: Sequence[HistoryEvent]) -> list[str]:
    told: dict[int, list[str]] = {}
    for event in events:
        field = event.WhichOneof("attributes") or ""
        if field.startswith("start_child_workflow_execution_initiated"):
            told[event.event_id] = []
        elif "child_workflow_execution" in field:
            told.setdefault(getattr(event, field).initiated_event_id, []).append(field)
    broken = []
    for initiated, fields in told.items():
        begun = [field for field in fields if "_started_" in field or field.startswith("start_")]
        if len(begun) != 1 or len(fields) > 2 or fields[0] != begun[0]:
            broken.append(f"the child of event {initiated} is told of as {fields}")
    return broken


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
