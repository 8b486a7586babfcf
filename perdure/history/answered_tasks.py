"""What is counted of workers' answers to workflow tasks: commands, failures, who keeps the run in its cache.

Invariant: a task counts once, when its outcome is durable. Refuses to know what a command does.
"""

from collections.abc import Callable

from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause

from perdure.base import series
from perdure.base.metrics import VALUES_MAX, Counter, Metrics
from perdure.workflow.cause_names import cause_name
from perdure.workflow.requests import CompleteWorkflowTask, FailWorkflowTask

_OPERATION = "RespondWorkflowTaskCompleted"
_LABELS = (_OPERATION, "history")
_CAUSES = frozenset(map(cause_name, WorkflowTaskFailedCause.values()))
# As the reference spells them: `ScheduleActivityTask`.
_COMMANDS: dict[int, str] = {
    number: "".join(map(str.capitalize, name.removeprefix("COMMAND_TYPE_").split("_")))
    for name, number in CommandType.items()
}


class _Cells:
    """Those of one namespace."""

    __slots__ = ("commands", "empty", "multiple", "sticky", "unsticky")

    def __init__(self, metrics: Metrics, namespace: str) -> None:
        family, labels = metrics.family, (namespace, *_LABELS)
        self.commands: dict[int, Counter] = {}
        self.empty = family(series.EMPTY_COMPLETIONS).labels(*labels)
        self.multiple = family(series.MULTIPLE_COMPLETIONS).labels(*labels)
        self.sticky = family(series.STICKY_COMPLETIONS).labels(*labels)
        self.unsticky = family(series.UNSTICKY_COMPLETIONS).labels(*labels)


class AnsweredTasks:
    """Counts for a history role. `name_of`: a namespace's name by its id."""

    def __init__(self, metrics: Metrics, name_of: Callable[[str], str]) -> None:
        self._metrics = metrics
        self._name_of = name_of
        self._cells: dict[str, _Cells] = {}

    def completed(self, request: CompleteWorkflowTask) -> None:
        """The commands took effect."""
        namespace_id = request.token.namespace_id
        cells = self._cells.get(namespace_id) or self._made(namespace_id)
        answer = request.request
        if not answer.commands:
            cells.empty.inc()
        elif len(answer.commands) > 1:
            cells.multiple.inc()
        for command in answer.commands:
            kind = command.command_type
            counter = cells.commands.get(kind)
            if counter is None:
                counter = cells.commands[kind] = self._counter(namespace_id, kind)
            counter.inc()
        keeps = answer.sticky_attributes.worker_task_queue.name
        (cells.sticky if keeps else cells.unsticky).inc()

    def refused(self, request: CompleteWorkflowTask, message: str) -> None:
        """A command was a bad one, and its task failed. `message` begins with the cause."""
        self._failed(request.token.namespace_id, message.partition(":")[0], _OPERATION, request.token.attempt)

    def failed(self, request: FailWorkflowTask) -> None:
        """The worker could not do it."""
        cause, token = cause_name(request.request.cause), request.token
        self._failed(token.namespace_id, cause, "RespondWorkflowTaskFailed", token.attempt)

    def _failed(self, namespace_id: str, cause: str, operation: str, attempt: int) -> None:
        failure = cause if cause in _CAUSES else "Unspecified"
        first = "true" if attempt <= 1 else "false"
        labels = (failure, first, self._name_of(namespace_id), operation, "history", "Unspecified")
        self._metrics.family(series.FAILED_WORKFLOW_TASKS).labels(*labels).inc()

    def _counter(self, namespace_id: str, kind: int) -> Counter:
        labels = (_COMMANDS.get(kind, "Unspecified"), self._name_of(namespace_id), *_LABELS)
        return self._metrics.family(series.COMMAND).labels(*labels)

    def _made(self, namespace_id: str) -> _Cells:
        cells = _Cells(self._metrics, self._name_of(namespace_id))
        if len(self._cells) < VALUES_MAX:
            self._cells[namespace_id] = cells
        return cells
