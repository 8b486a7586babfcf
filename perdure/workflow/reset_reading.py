"""What is read of a run's history before it is reset: the state at the point, and what came after it.

Events are fed in one by one, so that however long the history, no more than the state is kept. The state at the point
follows from events by the same functions as ever; what of a run is not in events (attempts, request ids of other
workflows' requests, the sticky queue) a reset run does not have. An id that follows from an event follows from the run
that wrote it, so that a child which is pending at the point keeps its own. Refuses to know what a reset does with it.
"""

import msgspec
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import ResetPoints

from perdure.base.clock import from_duration, from_timestamp
from perdure.workflow.evolve import evolve
from perdure.workflow.reset_points import add_point
from perdure.workflow.state import Durable, Ephemeral, Facts, RequestRecord, Run

_STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
_PAUSED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
_OPTIONS_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
_TASK_SCHEDULED = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
_TASK_STARTED = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
_TASK_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
_TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
_TASK_TIMED_OUT = EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT


class TaskAtPoint(msgspec.Struct, frozen=True):
    """The workflow task that is outstanding at the point. `scheduled_event_id` 0 = it is another attempt of one that
    failed, which has no events; `started_event_id` 0 = it is not started.
    """

    scheduled_event_id: int = 0
    started_event_id: int = 0
    scheduled_time_ns: int = 0
    timeout_ns: int = 0


class ResetReading(msgspec.Struct, frozen=True):
    """A run as of a point, and what followed. `facts.next_event_id` is the point.

    `task_problems`: workflow tasks that ended badly since one was completed, as far as there are events.
    `auto_reset_points`: a point of the new run has no run id yet. `later`: the events after the point that are to
    happen again, of the run and of those that continued it, in order. `ends`: how far each of these was read (run id
    -> next event id); the last of them is `last_run_id`.
    """

    run_id: str
    facts: Facts
    task: TaskAtPoint | None
    task_problems: int
    history_bytes: int
    request_ids: dict[str, RequestRecord]
    signal_requests: dict[str, bool]
    auto_reset_points: bytes
    worker_version: bytes
    later: tuple[HistoryEvent, ...]
    ends: dict[str, int]
    last_run_id: str


class Prefix:
    """The state of a run in the making, event by event."""

    def __init__(self, namespace_id: str, workflow_id: str) -> None:
        self._run = Run(Facts(), Durable(namespace_id=namespace_id, workflow_id=workflow_id), Ephemeral())
        self._points = ResetPoints()
        self._request_ids: dict[str, RequestRecord] = {}
        self._signal_requests: dict[str, bool] = {}
        self._worker_version = b""
        self._bytes = 0
        self._problems = 0
        self.task: TaskAtPoint | None = None

    @property
    def end(self) -> int:
        """The id of the next event."""
        return self._run.facts.next_event_id

    def add(self, event: HistoryEvent, writer: str) -> None:
        """The next event, and the run that wrote it. Raises Bug for another one."""
        self._run.durable.run_id = writer
        evolve(self._run, event)
        self._run.touched.clear()
        self._bytes += event.ByteSize()
        self._note(event)

    def _note(self, event: HistoryEvent) -> None:
        """What follows from an event and is not among the facts."""
        kind = event.event_type
        if kind == _TASK_SCHEDULED:
            timeout = event.workflow_task_scheduled_event_attributes.start_to_close_timeout
            scheduled_ns = from_timestamp(event.event_time)
            self.task = TaskAtPoint(event.event_id, 0, scheduled_ns, from_duration(timeout))
        elif kind == _TASK_STARTED and self.task is not None:
            self.task = msgspec.structs.replace(self.task, started_event_id=event.event_id)
        elif kind == _TASK_COMPLETED:
            self._completed(event)
        elif kind == _TASK_FAILED:
            self._problems += 1
            self.task = TaskAtPoint()
        elif kind == _TASK_TIMED_OUT:
            unstarted = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
            repeated = event.workflow_task_timed_out_event_attributes.timeout_type != unstarted
            self._problems += repeated
            self.task = TaskAtPoint() if repeated else None
        elif kind == _PAUSED and self.task is not None and not self.task.started_event_id:
            self.task = None  # another one comes when the run goes on
        elif kind == _SIGNALED:
            request_id = event.workflow_execution_signaled_event_attributes.request_id
            if request_id:
                self._signal_requests[request_id] = True
        elif kind == _OPTIONS_UPDATED:
            request_id = event.workflow_execution_options_updated_event_attributes.attached_request_id
            if request_id:
                self._request_ids[request_id] = RequestRecord(kind, event.event_id)
        elif kind == _STARTED:
            self._points.CopyFrom(event.workflow_execution_started_event_attributes.prev_auto_reset_points)

    def _completed(self, event: HistoryEvent) -> None:
        attributes = event.workflow_task_completed_event_attributes
        self.task = None
        self._problems = 0
        self._worker_version = attributes.worker_version.SerializeToString()
        build_id = attributes.deployment_version.build_id or attributes.worker_version.build_id
        add_point(self._points, event, "", attributes.binary_checksum, build_id)

    def reading(
        self, run_id: str, later: tuple[HistoryEvent, ...], ends: dict[str, int], last_run_id: str
    ) -> ResetReading:
        """All that was read; nothing may be added any more."""
        return ResetReading(
            run_id=run_id,
            facts=self._run.facts,
            task=self.task,
            task_problems=self._problems,
            history_bytes=self._bytes,
            request_ids=self._request_ids,
            signal_requests=self._signal_requests,
            auto_reset_points=self._points.SerializeToString(),
            worker_version=self._worker_version,
            later=later,
            ends=ends,
            last_run_id=last_run_id,
        )
