"""What is counted of tasks that are acted on, and of shards that come and go.

Invariant: an attempt is counted once, however it ends; a task that is done has its attempts and its whole delay.
Refuses to know what a task means: it has an operation's name.
"""

from collections.abc import Callable

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.metrics import UNKNOWN, VALUES_MAX, Metrics
from perdure.workflow.tasks import EffectKind, QueueKind, TimerKind

TaskKind = QueueKind | TimerKind | EffectKind

_SERVICE = "history"
_CONTROLLER = ("ShardController", _SERVICE)
_KINDS = ("offer", "timer")
# The names that dashboards know; other timers are called by their kind.
_TIMERS = {
    TimerKind.USER: "UserTimer",
    TimerKind.WORKFLOW_TASK_SCHEDULE_TO_START: "WorkflowTaskTimeout",
    TimerKind.WORKFLOW_TASK_START_TO_CLOSE: "WorkflowTaskTimeout",
    TimerKind.WORKFLOW_TASK_BACKOFF: "WorkflowBackoffTimer",
    TimerKind.ACTIVITY_SCHEDULE_TO_START: "ActivityTimeout",
    TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE: "ActivityTimeout",
    TimerKind.ACTIVITY_START_TO_CLOSE: "ActivityTimeout",
    TimerKind.ACTIVITY_HEARTBEAT: "ActivityTimeout",
    TimerKind.ACTIVITY_RETRY: "ActivityRetryTimer",
    TimerKind.RUN_TIMEOUT: "WorkflowRunTimeout",
    TimerKind.EXECUTION_TIMEOUT: "WorkflowExecutionTimeout",
    TimerKind.RETENTION: "DeleteHistoryEvent",
}
# Timers that are due at once are errands to another execution.
_ERRANDS = {
    "CHILD_START": "StartChildExecution",
    "CHILD_UNCLAIMED": "StartChildExecution",
    "EXTERNAL_SIGNAL": "SignalExecution",
    "EXTERNAL_CANCEL": "CancelExecution",
    "PARENT_REPORT": "CloseExecution",
    "CHILDREN_CLOSE": "CloseExecution",
}
_OFFERS = {QueueKind.WORKFLOW: "TransferActiveTaskWorkflowTask", QueueKind.ACTIVITY: "TransferActiveTaskActivity"}
_EFFECTS = {
    EffectKind.VISIBILITY: "VisibilityTaskUpsertExecution",
    EffectKind.VISIBILITY_DELETE: "VisibilityTaskDeleteExecution",
}
_PRIORITIES = {"Tra": "high", "Tim": "high", "Vis": "low"}


def operation_of(kind: TaskKind) -> str:
    """What a task is called on dashboards."""
    plain = "".join(map(str.capitalize, kind.name.split("_")))
    if isinstance(kind, QueueKind):
        return _OFFERS.get(kind) or f"TransferActiveTask{plain}"
    if isinstance(kind, EffectKind):
        return _EFFECTS.get(kind) or f"VisibilityTask{plain}"
    errand = _ERRANDS.get(kind.name)
    return f"TransferActiveTask{errand}" if errand else f"TimerActiveTask{_TIMERS.get(kind, plain)}"


class TaskMeter:
    """Tasks of one kind in one namespace."""

    __slots__ = ("_attempts", "_discarded", "_errors", "_latency", "_processing", "_queue", "_requests")

    def __init__(self, metrics: Metrics, operation: str, namespace: str) -> None:
        family = metrics.family
        priority = _PRIORITIES[operation[:3]]
        plain = ("workflow", namespace, operation, _SERVICE, operation)
        ranked = ("workflow", namespace, operation, _SERVICE, priority, operation)
        self._requests = family(series.TASK_REQUESTS).labels(*ranked)
        self._latency = family(series.TASK_LATENCY).labels(*ranked)
        self._processing = family(series.TASK_LATENCY_PROCESSING).labels(*plain)
        queue = ("workflow", namespace, operation, "0", _SERVICE, priority, operation)
        self._queue = family(series.TASK_LATENCY_QUEUE).labels(*queue)
        self._attempts = family(series.TASK_ATTEMPT).labels(*plain)
        self._errors = family(series.TASK_ERRORS).labels(*plain)
        self._discarded = family(series.TASK_ERRORS_DISCARDED).labels(*plain)

    def done(self, took_ns: int, late_ns: int = 0, attempts: int = 1, times: int = 1) -> None:
        """`times` tasks were done by one call of `took_ns`, their last of so many attempts. `late_ns`: from when they
        were due to when the attempt began.
        """
        took, late = took_ns / SECOND_NS, max(0, late_ns) / SECOND_NS
        self._requests.inc(times)
        for _ in range(times):
            self._processing.observe(took)
            self._latency.observe(took)
            self._queue.observe(late + took)
            self._attempts.observe(attempts)

    def failed(self, took_ns: int, times: int = 1) -> None:
        """An attempt at `times` tasks failed; there will be another."""
        took = took_ns / SECOND_NS
        self._requests.inc(times)
        self._errors.inc(times)
        for _ in range(times):
            self._processing.observe(took)
            self._latency.observe(took)

    def discarded(self, times: int = 1) -> None:
        """There will be no other attempt."""
        self._discarded.inc(times)


class ShardMeters:
    """Counts for all shards of a process. `name_of`: a namespace's name by its id."""

    def __init__(self, metrics: Metrics | None = None, name_of: Callable[[str], str] = lambda _: UNKNOWN) -> None:
        self._metrics = metrics = metrics or Metrics()
        self._name_of = name_of
        # With the type: kinds of different types are equal numbers.
        self._tasks: dict[tuple[type, TaskKind, str], TaskMeter] = {}
        self.created = metrics.family(series.SHARD_CREATED).labels(*_CONTROLLER)
        self.removed = metrics.family(series.SHARD_REMOVED).labels(*_CONTROLLER)
        self.closed = metrics.family(series.SHARD_CLOSED).labels(*_CONTROLLER)
        self.acquisition = metrics.family(series.SHARD_ACQUISITION).labels("ShardInfo", _SERVICE)
        self.orphans = metrics.family(series.ORPHAN_SEGMENTS).labels(*_CONTROLLER)
        self.overdue = metrics.family(series.OVERDUE_RUNS).labels(*_CONTROLLER)
        self.start = metrics.family(series.ACQUIRE_SHARDS).labels(*_CONTROLLER)
        self.starts = metrics.family(series.ACQUIRE_SHARDS_COUNT).labels(*_CONTROLLER)
        self.repairs = {
            kind: metrics.family(series.AUDITOR_REPAIRS).labels("Auditor", _SERVICE, kind) for kind in _KINDS
        }

    def handed_over(self, operation: str, outcome: str) -> None:
        """A shard was asked of another host (`operation` "Take") or by one ("LetGo"). `outcome`: a word of few."""
        self._metrics.family(series.SHARD_HANDOVERS).labels(operation, outcome, _SERVICE).inc()

    def reshaped(self, operation: str, outcome: str) -> None:
        """A "Split" or "Merge" ended. `outcome`: a word of few."""
        self._metrics.family(series.SHARDS_RESHAPED).labels(operation, outcome, _SERVICE).inc()

    def tasks(self, kind: TaskKind, namespace_id: str) -> TaskMeter:
        """What is counted of tasks of a kind in a namespace."""
        at = (type(kind), kind, namespace_id)
        found = self._tasks.get(at)
        if found is None:
            found = TaskMeter(self._metrics, operation_of(kind), self._name_of(namespace_id))
            if len(self._tasks) < 20 * VALUES_MAX:
                self._tasks[at] = found
        return found
