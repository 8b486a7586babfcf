"""A table of methods with its calls counted, by operation and namespace.

Invariant: only namespaces that are there have series of their own; a caller can't make more by inventing names.
Refuses to know what a method does, but for the actions that dashboards count.
"""

from collections.abc import Callable
from typing import Any, Protocol

from google.protobuf.message import Message
from temporalio.api.enums.v1 import CommandType
from temporalio.api.workflowservice.v1 import ExecuteMultiOperationResponse, StartWorkflowExecutionResponse

from perdure.base import series
from perdure.base.clock import Clock
from perdure.base.metrics import UNKNOWN, VALUES_MAX, Metrics
from perdure.base.traffic import Traffic, service_traffic
from perdure.rpc.call import CallMeta, Method, MethodTable

_LONG_POLL = {"GetWorkflowExecutionHistory": "PollWorkflowExecutionHistory"}
# What counts as an action, besides commands: `common/rpc/interceptor/telemetry.go`.
_ACTIONS = frozenset(
    {
        "StartWorkflowExecution",
        "SignalWorkflowExecution",
        "SignalWithStartWorkflowExecution",
        "RecordActivityTaskHeartbeat",
        "RecordActivityTaskHeartbeatById",
        "QueryWorkflow",
        "ExecuteMultiOperation",
        "ResetWorkflowExecution",
        "UpdateWorkflowExecutionOptions",
    }
)
_COMMANDS = frozenset(
    {
        CommandType.COMMAND_TYPE_RECORD_MARKER,
        CommandType.COMMAND_TYPE_START_TIMER,
        CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES,
        CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
    }
)
_MESSAGES = {"temporal.api.update.v1.Acceptance": "Acceptance", "temporal.api.update.v1.Rejection": "Rejection"}


class Names(Protocol):
    """Which namespaces there are."""

    def knows(self, name: str) -> bool:
        """Whether there is a namespace of this name, as far as this process has seen."""
        ...


def measured(methods: MethodTable, metrics: Metrics, clock: Clock, names: Names, service: str) -> dict[str, Method]:
    """The same methods, counted as calls of `service`."""
    return {
        path: Method(method.request, _Counted(path, method, metrics, clock, names, service).serve)
        for path, method in methods.items()
    }


class _Counted:
    """One method."""

    __slots__ = (
        "_clock",
        "_failures",
        "_handler",
        "_has_namespace",
        "_metrics",
        "_name",
        "_names",
        "_service",
        "_traffics",
        "serve",
    )

    def __init__(self, path: str, method: Method, metrics: Metrics, clock: Clock, names: Names, service: str) -> None:
        self._name = path.rpartition("/")[2]
        self._handler = method.handler
        self._has_namespace = "namespace" in method.request.DESCRIPTOR.fields_by_name
        self._metrics = metrics
        self._clock = clock
        self._names = names
        self._service = service
        self._traffics: dict[tuple[str, bool], Traffic] = {}
        self.serve: Callable[[Any, CallMeta], Any] = self._call
        if self._name in _ACTIONS:
            self.serve = self._act
        elif self._name == "AddSearchAttributes":
            self._failures = metrics.family(series.ADD_SEARCH_ATTRIBUTES_FAILURES).labels(service)
            self.serve = self._add_attributes
        elif self._name == "RespondWorkflowTaskCompleted":
            self.serve = self._command

    def _namespace(self, request: Any) -> str:
        name: str = request.namespace if self._has_namespace else ""
        return name if name and self._names.knows(name) else UNKNOWN

    def _call(self, request: Any, meta: CallMeta) -> Any:
        waits = self._name in _LONG_POLL and request.wait_new_event
        at = (self._namespace(request), waits)
        traffic = self._traffics.get(at)
        if traffic is None:
            operation = _LONG_POLL[self._name] if waits else self._name
            traffic = service_traffic(self._metrics, self._clock, self._service, operation, at[0])
            if len(self._traffics) < VALUES_MAX:
                self._traffics[at] = traffic
        return traffic.follow(self._handler(request, meta))

    async def _act(self, request: Any, meta: CallMeta) -> Message | bytes:
        reply: Message | bytes = await self._call(request, meta)
        if _has_begun(reply):
            self._count(f"grpc_{self._name}", request)
        return reply

    async def _command(self, request: Any, meta: CallMeta) -> Message | bytes:
        reply: Message | bytes = await self._call(request, meta)
        for command in request.commands:
            if command.command_type in _COMMANDS:
                name = CommandType.Name(command.command_type).removeprefix("COMMAND_TYPE_")
                self._count("command_" + "".join(word.capitalize() for word in name.split("_")), request)
        for message in request.messages:
            if kind := _MESSAGES.get(message.body.type_url.rpartition("/")[2]):
                self._count(f"message_UpdateWorkflowExecution:{kind}", request)
        return reply

    async def _add_attributes(self, request: Any, meta: CallMeta) -> Message | bytes:
        try:
            reply: Message | bytes = await self._call(request, meta)
        except Exception:
            self._failures.inc()
            raise
        return reply

    def _count(self, action: str, request: Any) -> None:
        family = self._metrics.family(series.ACTION)
        family.labels(action, self._namespace(request), self._name, self._service).inc()


def _has_begun(reply: Message | bytes) -> bool:
    """False if a start found the run that it was to make."""
    if isinstance(reply, StartWorkflowExecutionResponse):
        return reply.started
    if isinstance(reply, ExecuteMultiOperationResponse):
        return reply.responses[0].start_workflow.started
    return True
