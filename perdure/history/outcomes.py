"""What is counted of committed decisions: runs that closed, timeouts, waiting times, the size of histories.

It is read from the decision, so that the core counts nothing. Invariant: only what is durable counts, once per commit;
a replayed record doesn't count again. Refuses to decide anything, or to keep a state.
"""

from typing import Any

from temporalio.api.enums.v1 import WorkflowExecutionStatus

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.metrics import VALUES_MAX, Counter, Definition, Metrics
from perdure.cluster.measured import NameOf
from perdure.workflow.decide import Decision
from perdure.workflow.requests import FireTimer, StartActivityTask, StartWorkflowTask
from perdure.workflow.state import Chain, Run
from perdure.workflow.steps import Record
from perdure.workflow.tasks import QueueKind, Timer, TimerKind

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

    __slots__ = ("bytes", "events", "transitions")

    def __init__(self, metrics: Metrics, namespace: str) -> None:
        self.bytes = metrics.family(series.HISTORY_SIZE).labels(namespace, "ExecutionStats", _SERVICE)
        self.events = metrics.family(series.HISTORY_COUNT).labels(namespace, "ExecutionStats", _SERVICE)
        family = metrics.family(series.STATE_TRANSITION_COUNT)
        self.transitions = family.labels(_STATE, namespace, "WorkflowContext", _SERVICE)


class Outcomes:
    """Counts for a history role. `name_of`: a namespace's name by its id."""

    def __init__(self, metrics: Metrics, name_of: NameOf) -> None:
        self._metrics = metrics
        self._name_of = name_of
        self._sizes: dict[str, _Sizes] = {}

    def committed(self, before: Chain, decision: Decision, request: Any) -> None:
        """A decision on `before` is durable."""
        record = decision.record
        if record is None:
            return
        namespace_id = record.key.namespace_id
        sizes = self._sizes.get(namespace_id) or self._sizes_of(namespace_id)
        for mutation in record.mutations:
            run = decision.chain.runs.get(mutation.run_id)
            if run is None:
                continue
            sizes.bytes.observe(run.durable.history_bytes)
            sizes.events.observe(run.facts.next_event_id - 1)
            sizes.transitions.observe(run.durable.transition_count)
            if not run.is_open:
                former = before.runs.get(mutation.run_id)
                if former is None or former.is_open:
                    self._closed(run)
        kind = type(request)
        if kind is StartWorkflowTask or kind is StartActivityTask:
            self._started(request, record)
        elif kind is FireTimer:
            self._fired(request.timer)

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
