"""The command that starts a child: validated and made complete here, carried out by an errand.

Of the parent's timeouts a child inherits none. Source: the reference (`command_attr_validator.go`,
`workflow_task_completed_handler.go`).
"""

from typing import Any

from temporalio.api.command.v1 import Command, StartChildWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Memo, RetryPolicy, SearchAttributes
from temporalio.api.enums.v1 import (
    CommandType,
    ParentClosePolicy,
    TaskQueueKind,
    WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import StartChildWorkflowExecutionInitiatedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import to_duration
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow import cron
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require
from perdure.workflow.commands.target_namespace import refuse_other, target_namespace_id
from perdure.workflow.context import Context
from perdure.workflow.durations import capped_ns, duration_fault
from perdure.workflow.events.workflow import is_nothing
from perdure.workflow.new_run import shorter, task_timeout_ns
from perdure.workflow.priorities import priority_fault
from perdure.workflow.retry_policy import check, filled
from perdure.workflow.search_attributes import check_known, check_sizes, typed
from perdure.workflow.state import Run
from perdure.workflow.task_queue_names import check_task_queue
from perdure.workflow.time_skipping import for_child

_COMMAND = "StartChildWorkflowExecutionCommand"
_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES
_BAD_SEARCH_ATTRIBUTES = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES
_TOO_MANY = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED
_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_TERMINATE = ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE
_ALLOW_DUPLICATE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
_Attributes = StartChildWorkflowExecutionCommandAttributes
_TIMEOUTS = (
    ("WorkflowExecutionTimeout", "workflow_execution_timeout"),
    ("WorkflowRunTimeout", "workflow_run_timeout"),
    ("WorkflowTaskTimeout", "workflow_task_timeout"),
)
# What the Initiated event takes over as it is.
_TAKEN_OVER = ("header", "input", "priority")


@commands(CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
def start_child(completion: Completion, command: Command, attributes: _Attributes) -> None:
    """The child is pending. Raises BadCommand, NamespaceNotFound."""
    draft = completion.draft
    run, context = draft.run, draft.context
    namespace_id = target_namespace_id(context, attributes.namespace)
    require(command, "StartChildWorkflowExecution", _BAD)
    name = attributes.namespace or context.namespace.name
    refuse_other(context, namespace_id, _BAD)
    event = _initiated(attributes, name, run, context)
    if attributes.inherit_build_id and event.task_queue.name != run.facts.task_queue:
        message = "StartChildWorkflowExecution with UseCompatibleVersion cannot run on different task queue."
        raise BadCommand(_BAD, message)
    _check_sizes(attributes, event, context)
    pending, limit = len(run.facts.children), context.limits.pending_children_max
    if pending >= limit:
        what = "the number of pending child workflow executions"
        raise BadCommand(_TOO_MANY, f"{what}, {pending}, has reached the per-workflow limit of {limit}")
    event.namespace_id = namespace_id
    if run.facts.time_skipping is not None:
        config, handed_on = for_child(run.facts.time_skipping)
        if config is not None:
            event.time_skipping_config.CopyFrom(config)
        if handed_on is not None:
            event.time_skipping_state_propagation.CopyFrom(handed_on)
    event.workflow_task_completed_event_id = completion.completed_event_id
    draft.add(event, **marks(command))
    completion.children.add(event.workflow_id)


def _initiated(
    attributes: _Attributes, namespace: str, run: Run, context: Context
) -> StartChildWorkflowExecutionInitiatedEventAttributes:
    """The event with everything filled in, checked in the reference's order. Raises BadCommand."""
    limits = context.limits
    workflow_id, workflow_type = attributes.workflow_id, attributes.workflow_type.name
    try:
        check_known(attributes.search_attributes, context)
    except InvalidArgument as fault:
        raise BadCommand(_BAD_SEARCH_ATTRIBUTES, fault.message) from fault
    _check_names(workflow_id, workflow_type, namespace, limits)
    shown = f"WorkflowId={workflow_id} WorkflowType={workflow_type} Namespace={namespace}"
    for label, field in _TIMEOUTS:
        if fault_text := duration_fault(getattr(attributes, field)):
            raise BadCommand(_BAD, f"Invalid {label} on {_COMMAND}: {fault_text}. {shown}")
    policy = _policy(attributes, limits, shown)
    if attributes.cron_schedule and cron.read(attributes.cron_schedule) is None:
        raise BadCommand(_BAD, f"invalid CronSchedule on {_COMMAND}: invalid CronSchedule.. {shown}")
    found = _search_attributes(attributes, context, shown)
    if fault_text := priority_fault(attributes.priority):
        raise BadCommand(_BAD, fault_text)
    queue = _queue(attributes, run.facts.task_queue, limits, shown)
    event = StartChildWorkflowExecutionInitiatedEventAttributes(
        namespace=namespace,
        workflow_id=workflow_id,
        workflow_type=attributes.workflow_type,
        task_queue=queue,
        parent_close_policy=attributes.parent_close_policy or _TERMINATE,
        control=attributes.control,
        workflow_id_reuse_policy=attributes.workflow_id_reuse_policy or _ALLOW_DUPLICATE,
        retry_policy=policy,
        cron_schedule=attributes.cron_schedule,
        memo=_memo(attributes.memo),
        search_attributes=found,
        inherit_build_id=attributes.inherit_build_id,
    )
    for field in _TAKEN_OVER:
        if attributes.HasField(field):  # type: ignore[arg-type]  # the stubs list the names
            getattr(event, field).CopyFrom(getattr(attributes, field))
    _set_timeouts(event, attributes, limits)
    return event


def _check_names(workflow_id: str, workflow_type: str, namespace: str, limits: Limits) -> None:
    if not workflow_id:
        shown = f"WorkflowType={workflow_type} Namespace={namespace}"
        raise BadCommand(_BAD, f"Required field WorkflowId is not set on {_COMMAND}. {shown}")
    if not workflow_type:
        shown = f"WorkflowId={workflow_id} Namespace={namespace}"
        raise BadCommand(_BAD, f"Required field WorkflowType is not set on {_COMMAND}. {shown}")
    limit = limits.id_bytes_max
    if (length := len(workflow_id.encode())) > limit:
        shown = (
            f"WorkflowId={workflow_id} Length={length} Limit={limit} WorkflowType={workflow_type} Namespace={namespace}"
        )
        raise BadCommand(_BAD, f"WorkflowId on {_COMMAND} exceeds length limit. {shown}")
    if (length := len(workflow_type.encode())) > limit:
        shown = (
            f"WorkflowId={workflow_id} WorkflowType={workflow_type} Length={length} Limit={limit} Namespace={namespace}"
        )
        raise BadCommand(_BAD, f"WorkflowType on {_COMMAND} exceeds length limit. {shown}")


def _policy(attributes: _Attributes, limits: Limits, shown: str) -> RetryPolicy | None:
    """The retry policy with its defaults; a child without one is not retried."""
    if not attributes.HasField("retry_policy"):
        return None
    policy = filled(attributes.retry_policy, limits)
    try:
        check(policy)
    except InvalidArgument as fault:
        message = f"invalid WorkflowRetryPolicy on {_COMMAND}: {fault.message}. {shown}"
        raise BadCommand(_BAD, message) from fault
    return policy


def _search_attributes(attributes: _Attributes, context: Context, shown: str) -> SearchAttributes | None:
    if not attributes.search_attributes.indexed_fields:
        return None
    try:
        found = typed(attributes.search_attributes, context)
    except InvalidArgument as fault:
        message = f"invalid SearchAttributes on StartChildWorkflowCommand: {fault.message}. {shown}"
        raise BadCommand(_BAD_SEARCH_ATTRIBUTES, message) from fault
    kept = {name: payload for name, payload in found.indexed_fields.items() if not is_nothing(payload)}
    return SearchAttributes(indexed_fields=kept) if kept else None


def _memo(memo: Memo) -> Memo | None:
    kept = {name: payload for name, payload in memo.fields.items() if not is_nothing(payload)}
    return Memo(fields=kept) if kept else None


def _queue(attributes: _Attributes, parent: str, limits: Limits, shown: str) -> TaskQueue:
    """The queue that was named, or the parent's."""
    name = attributes.task_queue.name or parent
    queue = TaskQueue(name=name, kind=attributes.task_queue.kind or _NORMAL)
    try:
        check_task_queue(name, limits.id_bytes_max, parent=parent)
    except InvalidArgument as fault:
        message = f'invalid TaskQueue on {_COMMAND}: {fault.message}. {shown} TaskQueue=name:"{name}"'
        raise BadCommand(_BAD, message) from fault
    return queue


def _set_timeouts(
    event: StartChildWorkflowExecutionInitiatedEventAttributes, attributes: _Attributes, limits: Limits
) -> None:
    """The run's is bounded by the execution's, the task's by the run's; the reference writes them even if none."""
    execution_ns = capped_ns(attributes.workflow_execution_timeout)
    run_ns = shorter(capped_ns(attributes.workflow_run_timeout), execution_ns)
    task_ns = task_timeout_ns(capped_ns(attributes.workflow_task_timeout), run_ns, limits)
    if attributes.HasField("workflow_execution_timeout"):
        event.workflow_execution_timeout.CopyFrom(to_duration(execution_ns))
    event.workflow_run_timeout.CopyFrom(to_duration(run_ns))
    event.workflow_task_timeout.CopyFrom(to_duration(task_ns))


def _check_sizes(
    attributes: _Attributes, event: StartChildWorkflowExecutionInitiatedEventAttributes, context: Context
) -> None:
    """Raises BadCommand that ends the workflow for what is too large."""
    limits = context.limits
    sizes: tuple[tuple[Any, int, str], ...] = (
        (attributes.input, limits.blob_bytes_max, "StartChildWorkflowExecutionCommandAttributes. Input"),
        (attributes.memo, limits.memo_bytes_max, "StartChildWorkflowExecutionCommandAttributes.Memo"),
    )
    for message, limit, name in sizes:
        check_size(message.ByteSize(), limit, _BAD, f"{name} exceeds size limit.")
    try:
        check_sizes(event.search_attributes.indexed_fields, limits)
    except InvalidArgument as fault:
        raise BadCommand(_BAD, fault.message, terminate=True) from fault
