"""Numbering what was buffered while a workflow task was started.

The buffer's events have acted already (`arrive`); here they get their place in history: completions after everything
else, ids from the run's next, ids of starts filled in where they were unknown. Source: the reference's event store
(reorderBuffer, wireEventIDs). Refuses to know when it is time: whoever ends a workflow task calls it.
"""

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.workflow.draft import Draft
from perdure.workflow.evolve import attributes_of
from perdure.workflow.state import RequestRecord


def _types(*names: str) -> frozenset[int]:
    return frozenset(EventType.Value("EVENT_TYPE_" + name) for name in names)


# A worker has to see a thing's start before its end; starts were never moved, so ends go last.
_LAST = _types(
    "ACTIVITY_TASK_COMPLETED",
    "ACTIVITY_TASK_FAILED",
    "ACTIVITY_TASK_CANCELED",
    "ACTIVITY_TASK_TIMED_OUT",
    "CHILD_WORKFLOW_EXECUTION_COMPLETED",
    "CHILD_WORKFLOW_EXECUTION_FAILED",
    "CHILD_WORKFLOW_EXECUTION_TIMED_OUT",
    "CHILD_WORKFLOW_EXECUTION_CANCELED",
    "CHILD_WORKFLOW_EXECUTION_TERMINATED",
    "NEXUS_OPERATION_COMPLETED",
    "NEXUS_OPERATION_FAILED",
    "NEXUS_OPERATION_CANCELED",
    "NEXUS_OPERATION_TIMED_OUT",
)
_ACTIVITY_STARTED = EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
_ACTIVITY_ENDED = _types(
    "ACTIVITY_TASK_COMPLETED", "ACTIVITY_TASK_FAILED", "ACTIVITY_TASK_CANCELED", "ACTIVITY_TASK_TIMED_OUT"
)
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
_OPTIONS_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
_CHILD_STARTED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
_CHILD_ENDED = _types(
    *(f"CHILD_WORKFLOW_EXECUTION_{end}" for end in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED"))
)


def flush(draft: Draft) -> bool:
    """Number every buffered event. True if there were any."""
    if not draft.run.durable.buffered:
        return False
    events = draft.buffered()
    ordered = [event for event in events if event.event_type not in _LAST]
    ordered += [event for event in events if event.event_type in _LAST]
    _link(ordered, draft.run.facts.next_event_id)
    draft.flush(ordered)
    for event in ordered:
        if event.event_type == _SIGNALED:
            _fill_in(draft, event.workflow_execution_signaled_event_attributes.request_id, event)
        elif event.event_type == _OPTIONS_UPDATED:
            _fill_in(draft, event.workflow_execution_options_updated_event_attributes.attached_request_id, event)
    return True


def drop(draft: Draft) -> None:
    """The run closed: what waits for an id never gets one."""
    if draft.run.durable.buffered:
        draft.flush([])


def _fill_in(draft: Draft, request_id: str, event: HistoryEvent) -> None:
    """The request that caused this event has an event id now. A signal with start is one request with two events: it
    stays known as the start, and names the signal's event, as the reference has it, so that the signal's link resolves.
    """
    known = draft.run.durable.request_ids.get(request_id)
    if known is not None:
        draft.put("request_ids", request_id, RequestRecord(known.event_type, event.event_id))


def _link(events: list[HistoryEvent], first_id: int) -> None:
    """Fill in the ids of starts that are numbered in this same flush; `first_id` is the first event's."""
    started: dict[tuple[str, int], int] = {}
    for event_id, event in enumerate(events, first_id):
        attributes: Any
        if event.event_type == _ACTIVITY_STARTED:
            started["activity", event.activity_task_started_event_attributes.scheduled_event_id] = event_id
        elif event.event_type == _CHILD_STARTED:
            attributes = event.child_workflow_execution_started_event_attributes
            started["child", attributes.initiated_event_id] = event_id
        elif event.event_type in _ACTIVITY_ENDED:
            attributes = attributes_of(event)
            attributes.started_event_id = started.get(
                ("activity", attributes.scheduled_event_id), attributes.started_event_id
            )
        elif event.event_type in _CHILD_ENDED:
            attributes = attributes_of(event)
            attributes.started_event_id = started.get(
                ("child", attributes.initiated_event_id), attributes.started_event_id
            )
