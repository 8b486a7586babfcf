"""What of an open run should have happened by now: rule 26, from what clients can read of it.

Pure. A thing is overdue when `patience_ns` has passed since it was due, or since the last fault was healed if that was
later. Somebody polls all queues, so what is scheduled is due at once. Of a run that only waits for a signal nothing is.
"""

from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.message import Message
from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.base.clock import SECOND_NS, from_timestamp

_TASK_NS = 10 * SECOND_NS  # the default timeout of a workflow task, which all runs here have
# What begins -> what ends it, and the field there that names the beginning.
_PAIRS: dict[str, tuple[tuple[str, ...], str]] = {
    "timer_started": (("timer_fired", "timer_canceled"), "started_event_id"),
    "start_child_workflow_execution_initiated": (
        ("child_workflow_execution_started", "start_child_workflow_execution_failed"),
        "initiated_event_id",
    ),
    "signal_external_workflow_execution_initiated": (
        ("external_workflow_execution_signaled", "signal_external_workflow_execution_failed"),
        "initiated_event_id",
    ),
    "request_cancel_external_workflow_execution_initiated": (
        ("external_workflow_execution_cancel_requested", "request_cancel_external_workflow_execution_failed"),
        "initiated_event_id",
    ),
}
_SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
_PAUSED = PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
_WAITS = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED


def overdue(
    shown: DescribeWorkflowExecutionResponse,
    events: Sequence[HistoryEvent],
    now_ns: int,
    healed_ns: int,
    patience_ns: int,
) -> list[str]:
    """What is late, in words, and by how many seconds. `events`: the whole history."""
    found = []
    for what, due_ns in _due(shown, events):
        late_ns = now_ns - max(due_ns, healed_ns)
        if late_ns > patience_ns:
            found.append(f"{what} is {late_ns / SECOND_NS:.0f} s late")
    return found


def _due(shown: DescribeWorkflowExecutionResponse, events: Sequence[HistoryEvent]) -> Iterator[tuple[str, int]]:
    """Everything that is to happen by itself, and when."""
    if shown.HasField("pending_workflow_task"):
        task = shown.pending_workflow_task
        if task.state == _WAITS:
            yield "a workflow task that nobody was given", from_timestamp(task.scheduled_time)
        else:
            yield "the end of a workflow task", from_timestamp(task.started_time) + _TASK_NS
    elif not any(_name(event).startswith("workflow_task_scheduled") for event in events):
        yield "the first workflow task", from_timestamp(shown.workflow_execution_info.execution_time)
    for activity in shown.pending_activities:
        yield from _of_activity(activity)
    run_timeout = shown.execution_config.workflow_run_timeout.ToNanoseconds()
    if run_timeout:
        start_ns = from_timestamp(shown.workflow_execution_info.execution_time)
        yield "the run's timeout", start_ns + run_timeout
    yield from _of_events(events)


def _of_activity(activity: PendingActivityInfo) -> Iterator[tuple[str, int]]:
    name = f"activity {activity.activity_id}"
    if activity.paused or activity.state == _PAUSED:
        return
    if activity.state == _SCHEDULED:
        due = activity.next_attempt_schedule_time if activity.HasField("next_attempt_schedule_time") else None
        yield f"{name}, attempt {activity.attempt},", from_timestamp(due or activity.scheduled_time)
        return
    timeout_ns = activity.activity_options.start_to_close_timeout.ToNanoseconds()
    if timeout_ns:
        yield f"the end of {name}, attempt {activity.attempt},", from_timestamp(activity.last_started_time) + timeout_ns


def _of_events(events: Sequence[HistoryEvent]) -> Iterator[tuple[str, int]]:
    for begin, (ends, field) in _PAIRS.items():
        over = {getattr(_attributes(event), field) for event in _named(events, ends)}
        for event in _named(events, (begin,)):
            if event.event_id not in over:
                wait_ns = 0
                if begin == "timer_started":
                    wait_ns = event.timer_started_event_attributes.start_to_fire_timeout.ToNanoseconds()
                yield f"the end of {begin}, event {event.event_id},", from_timestamp(event.event_time) + wait_ns


def _named(events: Iterable[HistoryEvent], names: Sequence[str]) -> Iterator[HistoryEvent]:
    fields = {f"{name}_event_attributes" for name in names}
    return (event for event in events if _name(event) in fields)


def _name(event: HistoryEvent) -> str:
    return event.WhichOneof("attributes") or ""


def _attributes(event: HistoryEvent) -> Message:
    found: Message = getattr(event, _name(event))
    return found
