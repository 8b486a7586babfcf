"""Making a run from a start request: its first events and its durable state.

Whoever starts it: a client, a parent, or the run before it in its chain. What the request does not say about that is
its `Origin`. What the API has and this server does not yet is refused by name, so that nothing is accepted and ignored.
"""

from typing import Any

import msgspec
from google.protobuf.message import Message
from temporalio.api.common.v1 import Memo, SearchAttributes, TimeSkippingStatePropagation, WorkflowExecution
from temporalio.api.enums.v1 import ContinueAsNewInitiator, EventType, TaskQueueKind, WorkerVersioningMode
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.workflow.v1 import ResetPoints
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.clock import MS_NS, from_duration, from_timestamp, to_duration, to_timestamp
from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.limits import Limits
from perdure.workflow import cron
from perdure.workflow.context import Context
from perdure.workflow.decide import Work
from perdure.workflow.draft import Draft
from perdure.workflow.durations import capped_ns
from perdure.workflow.events.workflow import is_nothing
from perdure.workflow.search_attributes import check_sizes, typed
from perdure.workflow.state import RUNNING, CurrentRun, Durable, HistorySegment, RequestRecord
from perdure.workflow.time_skipping import handed_on_ns
from perdure.workflow.versioning import kept_override

_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_CRON = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
_TAKEN_OVER = (
    "time_skipping_config",
    "input",
    "header",
    "priority",
    "retry_policy",
    "last_completion_result",
    "continued_failure",
)
_CARRIED = frozenset(
    {
        "completion_callbacks",
        "continued_failure",
        "cron_schedule",
        "eager_worker_deployment_options",
        "header",
        "identity",
        "input",
        "last_completion_result",
        "links",
        "memo",
        "namespace",
        "on_conflict_options",
        "priority",
        "request_eager_execution",
        "request_id",
        "retry_policy",
        "search_attributes",
        "task_queue",
        "time_skipping_config",
        "user_metadata",
        "versioning_override",
        "workflow_execution_timeout",
        "workflow_id",
        "workflow_id_conflict_policy",
        "workflow_id_reuse_policy",
        "workflow_run_timeout",
        "workflow_start_delay",
        "workflow_task_timeout",
        "workflow_type",
    }
)


class Parent(msgspec.Struct, frozen=True):
    """The run that started a child, by StartChildWorkflowExecutionInitiated `initiated_event_id`."""

    namespace_id: str
    namespace: str
    workflow_id: str
    run_id: str
    initiated_event_id: int


class Origin(msgspec.Struct, frozen=True):
    """Where a run comes from, beside its start request. The defaults are those of a client's start.

    `run_id`: derived by whoever must be able to start it twice; "" = a new one. `root`: of a child; None = the run is
    its own. `first_run_id`, `continued_run_id`: the first of its chain and the one before it; "" = it is the first.
    `initiator`: temporal.api.enums.v1.ContinueAsNewInitiator. `backoff_ns`: of a run that continues another, until its
    first workflow task; None = at once. `execution_expiration_ns`: when the chain times out, 0 = never; None = as the
    request says.
    """

    run_id: str = ""
    parent: Parent | None = None
    root: WorkflowExecution | None = None
    first_run_id: str = ""
    continued_run_id: str = ""
    initiator: int = 0
    attempt: int = 1
    backoff_ns: int | None = None
    execution_expiration_ns: int | None = None
    auto_reset_points: bytes = b""  # temporal.api.workflow.v1.ResetPoints of the run before
    time_skipping: TimeSkippingStatePropagation | None = None  # where time is ahead: by how much, and the rest of it

    @property
    def ahead_ns(self) -> int:
        """By how much the run's time is ahead as it begins."""
        return 0 if self.time_skipping is None else handed_on_ns(self.time_skipping)


CLIENT = Origin()


def refuse_unknown(request: Message, also: frozenset[str] = frozenset()) -> None:
    """Raises Unimplemented for the first field of a start that is set and not carried out yet."""
    for field, _ in request.ListFields():
        if field.name not in _CARRIED and field.name not in also:
            raise Unimplemented(f"{request.DESCRIPTOR.name}.{field.name} is not supported yet")


def is_eager(request: StartWorkflowExecutionRequest) -> bool:
    """True if the client asks for the first workflow task and can have it: not where that comes later, nor for a
    version of a worker.
    """
    mode = request.eager_worker_deployment_options.worker_versioning_mode
    return (
        request.request_eager_execution
        and not capped_ns(request.workflow_start_delay)
        and not request.cron_schedule
        and mode != WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    )


def create_run(work: Work, request: StartWorkflowExecutionRequest, origin: Origin = CLIENT) -> Draft:
    """A new run with its Started event, which is the current one from now on; its first task is the caller's to
    schedule.
    """
    context = work.context.ahead(origin.ahead_ns)
    run_id = origin.run_id or context.new_run_id()
    started = _started(request, run_id, origin, context)
    delay_ns = from_duration(started.first_workflow_task_backoff)
    expiration_ns = from_timestamp(started.workflow_execution_expiration_time)
    durable = Durable(
        namespace_id=work.chain.key.namespace_id,
        workflow_id=work.chain.key.workflow_id,
        run_id=run_id,
        create_request_id=request.request_id,
        created_time_ns=context.now_ns,
        execution_time_ns=context.now_ns + delay_ns,
        run_expiration_ns=_run_expiration_ns(
            from_duration(started.workflow_run_timeout), delay_ns, expiration_ns, context
        ),
        execution_expiration_ns=expiration_ns,
        segments=(HistorySegment(context.new_id("branch")),),
        visibility_version=1,
        auto_reset_points=origin.auto_reset_points,
    )
    draft = work.create(durable)
    draft.context = context
    fields: dict[str, Any] = {}
    if request.HasField("user_metadata"):
        fields["user_metadata"] = request.user_metadata
    draft.add(started, **fields, links=request.links)
    draft.put("request_ids", request.request_id, RequestRecord(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 1))
    before = work.current if origin.continued_run_id else None
    work.current = CurrentRun(
        run_id=run_id,
        status=RUNNING,
        create_request_id=request.request_id,
        start_time_ns=context.now_ns,
        first_run_id=started.first_execution_run_id,
        chain_request_id=(before.chain_request_id or before.create_request_id) if before is not None else "",
    )
    return draft


def _started(
    request: StartWorkflowExecutionRequest, run_id: str, origin: Origin, context: Context
) -> WorkflowExecutionStartedEventAttributes:
    limits = context.limits
    if origin is CLIENT:  # all others were checked with their command, and can't be refused any more
        _check_sizes(request, limits)
    execution_ns = capped_ns(request.workflow_execution_timeout)
    run_ns = shorter(capped_ns(request.workflow_run_timeout), execution_ns)
    task_ns = task_timeout_ns(capped_ns(request.workflow_task_timeout), run_ns, limits)
    attributes = WorkflowExecutionStartedEventAttributes(
        workflow_type=request.workflow_type,
        task_queue=request.task_queue,
        workflow_task_timeout=to_duration(task_ns),
        original_execution_run_id=run_id,
        identity=request.identity,
        first_execution_run_id=origin.first_run_id or run_id,
        attempt=origin.attempt,
        cron_schedule=request.cron_schedule,
        workflow_id=request.workflow_id,
        memo=_memo(request.memo),
        search_attributes=_search_attributes(request.search_attributes, origin, context),
        eager_execution_accepted=is_eager(request),
        completion_callbacks=request.completion_callbacks,
    )
    if attributes.task_queue.kind != _NORMAL:
        attributes.task_queue.kind = _NORMAL
    for field in _TAKEN_OVER:
        if request.HasField(field):  # type: ignore[arg-type]  # the stubs list the names
            getattr(attributes, field).CopyFrom(getattr(request, field))
    _set_backoff(attributes, request, origin, context)
    if execution_ns:
        attributes.workflow_execution_timeout.CopyFrom(to_duration(execution_ns))
    expiration_ns = _expiration_ns(execution_ns, origin, context)
    if expiration_ns:
        attributes.workflow_execution_expiration_time.CopyFrom(to_timestamp(expiration_ns))
    if run_ns or (origin is not CLIENT and request.HasField("workflow_run_timeout")):
        attributes.workflow_run_timeout.CopyFrom(to_duration(run_ns))
    if request.HasField("versioning_override"):
        attributes.versioning_override.CopyFrom(kept_override(request.versioning_override))
    if origin.time_skipping is not None:
        attributes.time_skipping_state_propagation.CopyFrom(origin.time_skipping)
    if origin is not CLIENT:
        _descend(attributes, origin)
    elif request.cron_schedule:
        attributes.initiator = _CRON
    return attributes


def _set_backoff(
    attributes: WorkflowExecutionStartedEventAttributes,
    request: StartWorkflowExecutionRequest,
    origin: Origin,
    context: Context,
) -> None:
    """Until the first workflow task: what the run before it decided, the start's delay, or the schedule's time."""
    backoff_ns = origin.backoff_ns
    if not origin.continued_run_id:
        backoff_ns = capped_ns(request.workflow_start_delay)
        if not backoff_ns and request.cron_schedule:
            backoff_ns = cron.backoff_ns(request.cron_schedule, context.now_ns, context.now_ns) or 0
    if backoff_ns is not None:
        attributes.first_workflow_task_backoff.CopyFrom(to_duration(backoff_ns))


def _descend(attributes: WorkflowExecutionStartedEventAttributes, origin: Origin) -> None:
    """What a run has from its parent and from the run before it."""
    attributes.continued_execution_run_id = origin.continued_run_id
    initiator = origin.initiator or (_CRON if attributes.cron_schedule else 0)
    attributes.initiator = initiator  # type: ignore[assignment]  # the enum's int is stored plain
    if origin.parent is not None:
        attributes.parent_workflow_namespace_id = origin.parent.namespace_id
        attributes.parent_workflow_namespace = origin.parent.namespace
        attributes.parent_workflow_execution.workflow_id = origin.parent.workflow_id
        attributes.parent_workflow_execution.run_id = origin.parent.run_id
        attributes.parent_initiated_event_id = origin.parent.initiated_event_id
    if origin.root is not None:
        attributes.root_workflow_execution.CopyFrom(origin.root)
    if origin.continued_run_id:
        attributes.prev_auto_reset_points.CopyFrom(ResetPoints.FromString(origin.auto_reset_points))


def _check_sizes(request: StartWorkflowExecutionRequest, limits: Limits) -> None:
    if request.input.ByteSize() > limits.blob_bytes_max:
        raise InvalidArgument("Blob data size exceeds limit.")
    if request.memo.ByteSize() > limits.memo_bytes_max:
        raise InvalidArgument("Memo size exceeds limit.")


def _memo(memo: Memo) -> Memo | None:
    kept = {name: payload for name, payload in memo.fields.items() if not is_nothing(payload)}
    return Memo(fields=kept) if kept else None


def _search_attributes(attributes: SearchAttributes, origin: Origin, context: Context) -> SearchAttributes | None:
    if not attributes.indexed_fields:
        return None
    if origin is CLIENT:
        attributes = typed(attributes, context)
    kept = {name: p for name, p in attributes.indexed_fields.items() if not is_nothing(p)}
    if origin is CLIENT:
        check_sizes(kept, context.limits)
    return SearchAttributes(indexed_fields=kept) if kept else None


def task_timeout_ns(timeout_ns: int, run_timeout_ns: int, limits: Limits) -> int:
    """The time that a workflow task gets: what was asked for (0 = the default), within the run's (0 = none)."""
    timeout_ns = timeout_ns or limits.workflow_task_timeout_ns
    return shorter(min(timeout_ns, limits.workflow_task_timeout_ns_max), run_timeout_ns)


def shorter(timeout_ns: int, bound_ns: int) -> int:
    """The shorter of two timeouts of which 0 means none."""
    return min(timeout_ns, bound_ns) if timeout_ns and bound_ns else timeout_ns or bound_ns


def _expiration_ns(timeout_ns: int, origin: Origin, context: Context) -> int:
    """When the execution times out, to the millisecond; 0 = never."""
    if origin.execution_expiration_ns is not None:
        return origin.execution_expiration_ns
    return (context.now_ns + timeout_ns + MS_NS // 2) // MS_NS * MS_NS if timeout_ns else 0


def _run_expiration_ns(timeout_ns: int, delay_ns: int, expiration_ns: int, context: Context) -> int:
    """When the run times out (its clock starts after the delay, within the execution's); 0 = never.

    Within the millisecond that the execution's end is rounded to, the two are one: the execution times out.
    """
    if not timeout_ns:
        return 0
    due_ns = context.now_ns + delay_ns + timeout_ns
    return expiration_ns if 0 < expiration_ns < due_ns + MS_NS else due_ns
