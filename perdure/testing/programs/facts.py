"""What a history says to a program so far: what was begun, what ended, what came in."""

import json
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.testing.checkers.evidence import REQUEST_ID
from perdure.testing.programs.steps import Program, payloads, program_of


class Facts:
    """What a history says so far."""

    def __init__(self, events: list[HistoryEvent]) -> None:
        self.program = Program(())
        self.task_queue = ""
        self.workflow_id = ""
        self.run_id = ""
        self.attempt = 1
        self.scheduled: dict[str, int] = {}
        self.timers: dict[str, int] = {}
        self.markers: set[str] = set()
        self.children: dict[str, int] = {}  # workflow id -> initiated event id
        self.begun: dict[int, str] = {}  # initiated event id -> the child's run id
        self.calls: dict[str, int] = {}  # control -> initiated event id of a signal or cancellation
        self.ended: dict[int, int] = {}  # scheduled, started or initiated event id -> the event that ended it
        self.cancelled: set[int] = set()  # scheduled ids of activities whose cancellation was requested
        self.signals: list[str] = []
        self.updates: list[str] = []  # ids of accepted ones
        self.updated: set[str] = set()  # of completed ones
        self.is_cancelled = False
        for event in events:
            take = _TAKERS.get(event.event_type)
            if take is not None:
                take(self, event)

    def started(self, event: HistoryEvent) -> None:
        attributes = event.workflow_execution_started_event_attributes
        self.program = program_of(attributes.input)
        self.task_queue = attributes.task_queue.name
        self.workflow_id = attributes.workflow_id
        self.run_id = attributes.original_execution_run_id
        self.attempt = attributes.attempt or 1

    def activity(self, event: HistoryEvent) -> None:
        self.scheduled[event.activity_task_scheduled_event_attributes.activity_id] = event.event_id

    def timer(self, event: HistoryEvent) -> None:
        self.timers[event.timer_started_event_attributes.timer_id] = event.event_id

    def marker(self, event: HistoryEvent) -> None:
        self.markers.add(event.marker_recorded_event_attributes.marker_name)

    def activity_end(self, event: HistoryEvent) -> None:
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
        self.ended[attributes.scheduled_event_id] = event.event_id

    def timer_end(self, event: HistoryEvent) -> None:
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
        self.ended[attributes.started_event_id] = event.event_id

    def child(self, event: HistoryEvent) -> None:
        attributes = event.start_child_workflow_execution_initiated_event_attributes
        self.children[attributes.workflow_id] = event.event_id

    def child_begun(self, event: HistoryEvent) -> None:
        attributes = event.child_workflow_execution_started_event_attributes
        self.begun[attributes.initiated_event_id] = attributes.workflow_execution.run_id

    def initiated_end(self, event: HistoryEvent) -> None:
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
        self.ended[attributes.initiated_event_id] = event.event_id

    def call(self, event: HistoryEvent) -> None:
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
        self.calls[attributes.control] = event.event_id

    def cancel_activity(self, event: HistoryEvent) -> None:
        self.cancelled.add(event.activity_task_cancel_requested_event_attributes.scheduled_event_id)

    def signal(self, event: HistoryEvent) -> None:
        fields = event.workflow_execution_signaled_event_attributes.header.fields
        self.signals.append(fields[REQUEST_ID].data.decode())

    def accept_update(self, event: HistoryEvent) -> None:
        self.updates.append(event.workflow_execution_update_accepted_event_attributes.protocol_instance_id)

    def complete_update(self, event: HistoryEvent) -> None:
        self.updated.add(event.workflow_execution_update_completed_event_attributes.meta.update_id)

    def cancel(self, _event: HistoryEvent) -> None:
        self.is_cancelled = True

    def answer(self) -> Payloads:
        """What a query is answered: the request ids of all signals so far."""
        return payloads(json.dumps(self.signals).encode())


_TAKERS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: Facts.started,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: Facts.activity,
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: Facts.cancel_activity,
    EventType.EVENT_TYPE_TIMER_STARTED: Facts.timer,
    EventType.EVENT_TYPE_TIMER_FIRED: Facts.timer_end,
    EventType.EVENT_TYPE_TIMER_CANCELED: Facts.timer_end,
    EventType.EVENT_TYPE_MARKER_RECORDED: Facts.marker,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: Facts.signal,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: Facts.cancel,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: Facts.accept_update,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: Facts.complete_update,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: Facts.child,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED: Facts.child_begun,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: Facts.initiated_end,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: Facts.initiated_end,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: Facts.initiated_end,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: Facts.initiated_end,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: Facts.initiated_end,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: Facts.initiated_end,
    EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: Facts.call,
    EventType.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED: Facts.initiated_end,
    EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: Facts.initiated_end,
    EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: Facts.call,
    EventType.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED: Facts.initiated_end,
    EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: Facts.initiated_end,
}
