"""What is counted of committed decisions: runs that closed, timeouts, waiting times, the size of histories.

It is read from the decision, so that the core counts nothing. Invariant: only what is durable counts, once per commit;
a replayed record doesn't count again. Refuses to decide anything, or to keep a state.
"""

from typing import Any

import structlog
from temporalio.api.enums.v1 import WorkflowExecutionStatus

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.limits import Limits, LimitsSource
from perdure.base.metrics import VALUES_MAX, Counter, Definition, Metrics
from perdure.cluster.measured import NameOf
from perdure.history.answered_tasks import AnsweredTasks
from perdure.workflow.decide import Decision
from perdure.workflow.requests import (
    CompleteWorkflowTask,
    FailWorkflowTask,
    FireTimer,
    StartActivityTask,
    StartWorkflowTask,
)
from perdure.workflow.state import Chain, Run
from perdure.workflow.steps import Record
from perdure.workflow.tasks import QueueKind, Timer, TimerKind

log = structlog.get_logger(__name__)

_SERVICE = "history"
_STATE = "active"
_CLOSED: dict[int, Definition[Counter]] = {
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED: series.WORKFLOW_SUCCESS,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED: series.WORKFLOW_FAILED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED: series.WORKFLOW_CANCEL,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED: series.WORKFLOW_TERMINATE,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: series.WORKFLOW_TIMEOUT,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW: series.WORKFLOW_CONTINUED_AS_NEW,
}
_ACTIVITY_TIMEOUT = "TimerActiveTaskActivityTimeout"
_TASK_TIMEOUT = "TimerActiveTaskWorkflowTaskTimeout"
_TIMEOUTS = {
    TimerKind.WORKFLOW_TASK_SCHEDULE_TO_START: (series.SCHEDULE_TO_START_TIMEOUT, _TASK_TIMEOUT),
    TimerKind.WORKFLOW_TASK_START_TO_CLOSE: (series.START_TO_CLOSE_TIMEOUT, _TASK_TIMEOUT),
    TimerKind.ACTIVITY_SCHEDULE_TO_START: (series.SCHEDULE_TO_START_TIMEOUT, _ACTIVITY_TIMEOUT),
    TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE: (series.SCHEDULE_TO_CLOSE_TIMEOUT, _ACTIVITY_TIMEOUT),
    TimerKind.ACTIVITY_START_TO_CLOSE: (series.START_TO_CLOSE_TIMEOUT, _ACTIVITY_TIMEOUT),
    TimerKind.ACTIVITY_HEARTBEAT: (series.HEARTBEAT_TIMEOUT, _ACTIVITY_TIMEOUT),
}


class _Sizes:
    """What every transition of a namespace's runs is measured by."""

    __slots__ = ("bytes", "events", "state", "transitions")

    def __init__(self, metrics: Metrics, namespace: str) -> None:
        self.bytes = metrics.family(series.HISTORY_SIZE).labels(namespace, "ExecutionStats", _SERVICE)
        self.events = metrics.family(series.HISTORY_COUNT).labels(namespace, "ExecutionStats", _SERVICE)
        self.state = metrics.family(series.STATE_SIZE).labels(namespace, "ExecutionStats", _SERVICE)
        family = metrics.family(series.STATE_TRANSITION_COUNT)
        self.transitions = family.labels(_STATE, namespace, "WorkflowContext", _SERVICE)


class Outcomes:
    """Counts for a history role. `name_of`: a namespace's name by its id."""

    def __init__(self, metrics: Metrics, name_of: NameOf) -> None:
        self._metrics = metrics
        self._name_of = name_of
        self._sizes: dict[str, _Sizes] = {}
        self._answered = AnsweredTasks(metrics, name_of)
        self.limits: LimitsSource = Limits()

    def committed(self, before: Chain, decision: Decision, request: Any) -> None:
        """A decision on `before` is durable."""
        record = decision.record
        if record is None:
            return
        namespace_id = record.key.namespace_id
        sizes = self._sizes.get(namespace_id) or self._sizes_of(namespace_id)
        limits = self.limits.of(self._name_of(namespace_id))
        for mutation in record.mutations:
            run = decision.chain.runs.get(mutation.run_id)
            if run is None:
                continue
            size, count = run.durable.history_bytes, run.facts.next_event_id - 1
            sizes.bytes.observe(size)
            sizes.events.observe(count)
            sizes.transitions.observe(run.durable.transition_count)
            former = before.runs.get(mutation.run_id)
            if size > limits.history_bytes_warn or count > limits.history_events_warn:
                self._warn_of_history(former, run, limits)
            if not run.is_open and (former is None or former.is_open):
                self._closed(run)
        kind = type(request)
        if kind is StartWorkflowTask or kind is StartActivityTask:
            self._started(request, record)
        elif kind is FireTimer:
            self._fired(request.timer)
        elif kind is CompleteWorkflowTask:
            if decision.refusal is None:
                self._answered.completed(request)
            else:
                self._answered.refused(request, decision.refusal.message)
        elif kind is FailWorkflowTask:
            self._answered.failed(request)

    def measured(self, run: Run, before: int, size: int) -> None:
        """A checkpoint writes a run's state, `size` bytes; the last one wrote `before`."""
        namespace_id = run.durable.namespace_id
        sizes = self._sizes.get(namespace_id) or self._sizes_of(namespace_id)
        sizes.state.observe(size)
        if before <= self.limits.of(self._name_of(namespace_id)).state_bytes_warn < size:
            log.warning("mutable state size exceeds warn limit", **self._tags(run), size=size)

    def called_back(self, namespace: str, destination: str, outcome: str, took_ns: int) -> None:
        """A completion callback was called. `outcome`: in the reference's words."""
        labels = (destination, namespace, "CompleteNexusOperation", outcome, _SERVICE)
        self._metrics.family(series.CALLBACK_REQUESTS).labels(*labels).inc()
        self._metrics.family(series.CALLBACK_LATENCY).labels(*labels).observe(took_ns / SECOND_NS)

    def _warn_of_history(self, former: Run | None, run: Run, limits: Limits) -> None:
        """Once for each limit, when the run grows over it."""
        size, count = run.durable.history_bytes, run.facts.next_event_id - 1
        size_before = former.durable.history_bytes if former is not None else 0
        count_before = former.facts.next_event_id - 1 if former is not None else 0
        if size_before <= limits.history_bytes_warn < size:
            log.warning("history size exceeds warn limit", **self._tags(run), size=size)
        if count_before <= limits.history_events_warn < count:
            log.warning("history count exceeds warn limit", **self._tags(run), count=count)

    def _tags(self, run: Run) -> dict[str, str]:
        durable = run.durable
        namespace = self._name_of(durable.namespace_id)
        return {"namespace": namespace, "wf_id": durable.workflow_id, "run_id": durable.run_id}

    def _sizes_of(self, namespace_id: str) -> _Sizes:
        sizes = _Sizes(self._metrics, self._name_of(namespace_id))
        if len(self._sizes) < VALUES_MAX:
            self._sizes[namespace_id] = sizes
        return sizes

    def _closed(self, run: Run) -> None:
        facts = run.facts
        definition = _CLOSED.get(facts.status)
        if definition is None:
            return
        namespace = self._name_of(run.durable.namespace_id)
        labels = (namespace, _STATE, "CompletionStats", _SERVICE, facts.task_queue, facts.workflow_type)
        self._metrics.family(definition).labels(*labels).inc()
        seconds = max(0, facts.close_time_ns - run.start_time_ns) / SECOND_NS
        self._metrics.family(series.WORKFLOW_LATENCY).labels(*labels).observe(seconds)

    def _started(self, request: StartWorkflowTask | StartActivityTask, record: Record) -> None:
        offer = request.offer
        is_activity = offer.queue.kind == QueueKind.ACTIVITY
        self._metrics.family(series.TASK_SCHEDULE_TO_START).labels(
            self._name_of(offer.queue.namespace_id),
            "RecordActivityTaskStarted" if is_activity else "RecordWorkflowTaskStarted",
            "__sticky__" if offer.sticky else "__normal__",
            _SERVICE,
            "Activity" if is_activity else "Workflow",
            offer.queue.name,
        ).observe(max(0, record.time_ns - offer.scheduled_time_ns) / SECOND_NS)

    def _fired(self, timer: Timer) -> None:
        found = _TIMEOUTS.get(timer.kind)
        if found is not None:
            definition, operation = found
            first = "true" if timer.attempt <= 1 else "false"
            namespace = self._name_of(timer.key.namespace_id)
            self._metrics.family(definition).labels(first, namespace, operation, _SERVICE, "Unspecified").inc()
