"""What holds of every history, whatever happened to its run."""

from collections.abc import Mapping
from itertools import pairwise

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import from_duration, from_timestamp
from perdure.workflow.evolve import attributes_of

_TERMINAL = frozenset(
    EventType.Value(f"EVENT_TYPE_WORKFLOW_EXECUTION_{end}")
    for end in ("COMPLETED", "FAILED", "CANCELED", "TERMINATED", "TIMED_OUT", "CONTINUED_AS_NEW")
)
_TASK_ENDS = frozenset(
    EventType.Value(f"EVENT_TYPE_WORKFLOW_TASK_{end}") for end in ("COMPLETED", "FAILED", "TIMED_OUT")
)
_ACTIVITY_ENDS = frozenset(
    EventType.Value(f"EVENT_TYPE_ACTIVITY_TASK_{end}") for end in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED")
)
_EXTERNAL_BEGINS = frozenset(
    EventType.Value(f"EVENT_TYPE_{what}_EXTERNAL_WORKFLOW_EXECUTION_INITIATED") for what in ("SIGNAL", "REQUEST_CANCEL")
)
_EXTERNAL_ENDS = frozenset(
    EventType.Value(f"EVENT_TYPE_{end}")
    for end in (
        "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED",
        "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
        "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
        "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
    )
)
_CHILD_ENDS = frozenset(
    EventType.Value(f"EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_{end}")
    for end in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED")
)


def check_history(events: list[HistoryEvent]) -> None:
    """One start, at most one end and nothing after it; workflow tasks one after another; activities, and signals and
    requests to other workflows, end once.
    """
    types = [event.event_type for event in events]
    started = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    assert types[0] == started
    assert types.count(started) == 1
    assert not _TERMINAL.intersection(types[:-1])
    _check_tasks(events)
    _check_activities(events)
    _check_timers(events)
    _check_externals(events)
    _check_children(events)
    _check_commands(events)


def check_chain(histories: Mapping[str, list[HistoryEvent]]) -> None:
    """Runs of one workflow id: whoever names a successor is named by it and by nobody else, in one chain. A reset run
    stands where the run stood whose beginning it has.
    """
    followed: dict[str, str] = {}
    for run_id, events in histories.items():
        successor = getattr(attributes_of(events[-1]), "new_execution_run_id", "")
        if successor:
            assert successor not in followed.values(), "two runs have one successor"
            followed[run_id] = successor
    for run_id, events in histories.items():
        started = attributes_of(events[0])
        before = started.continued_execution_run_id
        assert (before in followed) == bool(before), "a run continues one that does not name it"
        original = started.original_execution_run_id
        assert original == run_id or original in histories
        assert not before or followed[before] == original
        first = attributes_of(histories[before][0]).first_execution_run_id if before else original
        assert started.first_execution_run_id == first
    assert set(followed.values()) <= set(histories), "a successor was never begun"


def _check_timers(events: list[HistoryEvent]) -> None:
    """A timer fires once, and not before its time, which is its run's: whatever was skipped."""
    due: dict[int, int] = {}
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
            timeout = attributes_of(event).start_to_fire_timeout
            due[event.event_id] = from_timestamp(event.event_time) + from_duration(timeout)
        elif event.event_type == EventType.EVENT_TYPE_TIMER_FIRED:
            assert from_timestamp(event.event_time) >= due.pop(attributes_of(event).started_event_id)


def _check_tasks(events: list[HistoryEvent]) -> None:
    scheduled = begun = 0
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            assert not scheduled
            scheduled = event.event_id
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            assert attributes_of(event).scheduled_event_id == scheduled
            begun = event.event_id
        elif event.event_type in _TASK_ENDS:
            ended = attributes_of(event)
            assert (ended.scheduled_event_id, ended.started_event_id) == (scheduled, begun)
            scheduled = begun = 0


def _check_activities(events: list[HistoryEvent]) -> None:
    scheduled: set[int] = set()
    started: dict[int, int] = {}
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled.add(event.event_id)
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started[attributes_of(event).scheduled_event_id] = event.event_id
        elif event.event_type in _ACTIVITY_ENDS:
            ended = attributes_of(event)
            assert ended.scheduled_event_id in scheduled, "an activity ended twice"
            scheduled.remove(ended.scheduled_event_id)
            assert ended.started_event_id == started.get(ended.scheduled_event_id, 0)


def _check_externals(events: list[HistoryEvent]) -> None:
    pending: set[int] = set()
    for event in events:
        if event.event_type in _EXTERNAL_BEGINS:
            pending.add(event.event_id)
        elif event.event_type in _EXTERNAL_ENDS:
            initiated = attributes_of(event).initiated_event_id
            assert initiated in pending, "a signal or request to another workflow ended twice"
            pending.remove(initiated)


def _check_children(events: list[HistoryEvent]) -> None:
    """An initiation gets one start, or a failure to start, and at most one end, which names the start."""
    pending: dict[int, int] = {}
    for event in events:
        attributes = attributes_of(event)
        if event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            pending[event.event_id] = 0
        elif event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
            assert pending[attributes.initiated_event_id] == 0, "a child started twice"
            pending[attributes.initiated_event_id] = event.event_id
        elif event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED:
            assert pending.pop(attributes.initiated_event_id) == 0, "a child that started could not be started"
        elif event.event_type in _CHILD_ENDS:
            started = pending.pop(attributes.initiated_event_id)
            assert attributes.started_event_id == started != 0, "a child ended without its start"


_OF_UPDATES = frozenset(
    EventType.Value(f"EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_{what}") for what in ("ACCEPTED", "COMPLETED", "REJECTED")
)


def _check_commands(events: list[HistoryEvent]) -> None:
    """Events of commands follow the completion that they name, with nothing else in between but what became of updates,
    which names none.
    """
    for before, event in pairwise(event for event in events if event.event_type not in _OF_UPDATES):
        attributes = attributes_of(event)
        carrier = getattr(attributes, "workflow_task_completed_event_id", 0)
        if carrier:
            same = getattr(attributes_of(before), "workflow_task_completed_event_id", 0) == carrier
            assert before.event_id == carrier or same, f"event {event.event_id} is not where its commands are"
