"""Rule 25: nothing fires early, twice, or after it was cancelled."""

from collections.abc import Iterator

from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import from_duration
from perdure.testing.checkers.evidence import Evidence, RunHistory, Violation, time_of
from perdure.testing.checkers.workflow_tasks import attributes_of

_START_TO_CLOSE = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE


def timers_fire_once_and_late_enough(evidence: Evidence) -> Iterator[Violation]:
    """25: a user timer fires once, not early, and not after it was cancelled."""
    for history in evidence.histories:
        ended: dict[int, int] = {}
        for event in history.of("TIMER_FIRED", "TIMER_CANCELED"):
            started_id = attributes_of(event).started_event_id
            started = history.by_id.get(started_id)
            if started is None or not started.HasField("timer_started_event_attributes"):
                yield Violation(25, history.name, f"event {event.event_id} ends a timer that was never started")
                continue
            if started_id in ended:
                yield Violation(25, history.name, f"the timer {started_id} ended at {ended[started_id]} and again")
            ended[started_id] = event.event_id
            due = time_of(started) + from_duration(started.timer_started_event_attributes.start_to_fire_timeout)
            if event.HasField("timer_fired_event_attributes") and time_of(event) + evidence.skew_ns < due:
                early = (due - time_of(event)) / 1e9
                yield Violation(25, history.name, f"the timer {started_id} fired {early} s early")


def timeouts_not_early(evidence: Evidence) -> Iterator[Violation]:
    """25: no workflow task, activity or run times out before its time is over."""
    for history in evidence.histories:
        for event, due in _deadlines(history):
            if time_of(event) + evidence.skew_ns < due:
                yield Violation(25, history.name, f"event {event.event_id} is {(due - time_of(event)) / 1e9} s early")


def _deadlines(history: RunHistory) -> Iterator[tuple[HistoryEvent, int]]:
    """The timed-out events with the time before which they may not be."""
    for event in history.of("WORKFLOW_TASK_TIMED_OUT"):
        task = event.workflow_task_timed_out_event_attributes
        scheduled, started = history.by_id.get(task.scheduled_event_id), history.by_id.get(task.started_event_id)
        if task.timeout_type == _START_TO_CLOSE and scheduled is not None and started is not None:
            timeout = scheduled.workflow_task_scheduled_event_attributes.start_to_close_timeout
            yield event, time_of(started) + from_duration(timeout)
    for event in history.of("ACTIVITY_TASK_TIMED_OUT"):
        attributes = event.activity_task_timed_out_event_attributes
        scheduled = history.by_id.get(attributes.scheduled_event_id)
        started = history.by_id.get(attributes.started_event_id)
        kind = attributes.failure.timeout_failure_info.timeout_type
        if scheduled is None:
            continue
        limits = scheduled.activity_task_scheduled_event_attributes
        if kind == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE and started is not None:
            yield event, time_of(started) + from_duration(limits.start_to_close_timeout)
        elif kind == TimeoutType.TIMEOUT_TYPE_HEARTBEAT and started is not None:
            yield event, time_of(started) + from_duration(limits.heartbeat_timeout)
        elif kind == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START:
            yield event, time_of(scheduled) + from_duration(limits.schedule_to_start_timeout)
    for event in history.of("WORKFLOW_EXECUTION_TIMED_OUT"):
        beginning = history.events[0].workflow_execution_started_event_attributes
        yield event, history.start_ns + from_duration(beginning.workflow_run_timeout)
