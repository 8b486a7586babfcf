"""What is late of an open run is found, and what only goes on is not."""

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.base.clock import SECOND_NS, to_timestamp
from tests.chaos.overdue import overdue
from tests.unit.testing.story import at, event

PATIENCE_NS = 30 * SECOND_NS
Shown = DescribeWorkflowExecutionResponse


def _story() -> tuple[Shown, list[HistoryEvent]]:
    """A run that began at 0, has had its workflow task, and waits."""
    shown = Shown()
    shown.workflow_execution_info.execution_time.CopyFrom(to_timestamp(at(0)))
    events = [
        event(1, 0, "WORKFLOW_EXECUTION_STARTED"),
        event(2, 0, "WORKFLOW_TASK_SCHEDULED"),
        event(3, 1, "WORKFLOW_TASK_STARTED", scheduled_event_id=2),
        event(4, 1, "WORKFLOW_TASK_COMPLETED", scheduled_event_id=2, started_event_id=3),
    ]
    return shown, events


def _task(shown: Shown, events: list[HistoryEvent]) -> None:
    shown.pending_workflow_task.state = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
    shown.pending_workflow_task.scheduled_time.CopyFrom(to_timestamp(at(10)))


def _started_task(shown: Shown, events: list[HistoryEvent]) -> None:
    shown.pending_workflow_task.state = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
    shown.pending_workflow_task.started_time.CopyFrom(to_timestamp(at(0)))


def _first_task(shown: Shown, events: list[HistoryEvent]) -> None:
    del events[1:]
    shown.workflow_execution_info.execution_time.CopyFrom(to_timestamp(at(10)))


def _activity(shown: Shown, events: list[HistoryEvent]) -> None:
    state = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    shown.pending_activities.append(
        PendingActivityInfo(activity_id="a", state=state, scheduled_time=to_timestamp(at(10)))
    )


def _retry(shown: Shown, events: list[HistoryEvent]) -> None:
    _activity(shown, events)
    shown.pending_activities[0].scheduled_time.CopyFrom(to_timestamp(at(1)))
    shown.pending_activities[0].next_attempt_schedule_time.CopyFrom(to_timestamp(at(10)))


def _activity_that_runs(shown: Shown, events: list[HistoryEvent]) -> None:
    activity = shown.pending_activities.add()
    activity.state = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    activity.last_started_time.CopyFrom(to_timestamp(at(0)))
    activity.activity_options.start_to_close_timeout.CopyFrom(Duration(seconds=10))


def _timeout(shown: Shown, events: list[HistoryEvent]) -> None:
    shown.execution_config.workflow_run_timeout.CopyFrom(Duration(seconds=10))


def _timer(shown: Shown, events: list[HistoryEvent]) -> None:
    events.append(event(5, 1, "TIMER_STARTED", timer_id="t", start_to_fire_timeout=Duration(seconds=9)))


def _child(shown: Shown, events: list[HistoryEvent]) -> None:
    events.append(event(5, 10, "START_CHILD_WORKFLOW_EXECUTION_INITIATED"))


def _signal(shown: Shown, events: list[HistoryEvent]) -> None:
    events.append(event(5, 10, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED"))


@pytest.mark.parametrize(
    "plant",
    [_task, _started_task, _first_task, _activity, _retry, _activity_that_runs, _timeout, _timer, _child, _signal],
)
def test_what_was_due_at_ten_is_late_after_its_patience(plant: Callable[[Shown, list[HistoryEvent]], None]) -> None:
    shown, events = _story()
    plant(shown, events)
    assert not overdue(shown, events, at(39), 0, PATIENCE_NS)
    assert len(overdue(shown, events, at(41), 0, PATIENCE_NS)) == 1
    assert not overdue(shown, events, at(50), at(21), PATIENCE_NS), "the last fault was healed at 21"
    assert len(overdue(shown, events, at(52), at(21), PATIENCE_NS)) == 1


def test_what_is_over_and_what_waits_for_others_is_never_late() -> None:
    shown, events = _story()
    _timer(shown, events)
    events.append(event(6, 10, "TIMER_FIRED", timer_id="t", started_event_id=5))
    events.append(event(7, 10, "START_CHILD_WORKFLOW_EXECUTION_INITIATED"))
    events.append(event(8, 10, "CHILD_WORKFLOW_EXECUTION_STARTED", initiated_event_id=7))
    _activity(shown, events)
    shown.pending_activities[0].paused = True
    assert not overdue(shown, events, at(10_000), 0, PATIENCE_NS)
