"""The command that closes the run and begins another of the same chain, with arguments of its own.

What the command leaves out is the run's: type, queue, timeouts. Input, header, memo, search attributes, retry policy
and schedule are only what the command says; SDKs hand them on themselves. Source: the reference
(`command_attr_validator.go`, `workflow_task_completed_handler.go`).
"""

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import Command, ContinueAsNewWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Memo, Payload, RetryPolicy, SearchAttributes
from temporalio.api.enums.v1 import CommandType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowExecutionContinuedAsNewEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import to_duration
from perdure.base.errors import InvalidArgument
from perdure.workflow.close import close
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks
from perdure.workflow.commands.close_workflow import check_close
from perdure.workflow.context import Context
from perdure.workflow.durations import capped_ns, duration_fault
from perdure.workflow.events.workflow import is_nothing
from perdure.workflow.new_run import shorter, task_timeout_ns
from perdure.workflow.retry_policy import check, filled
from perdure.workflow.search_attributes import check_sizes, typed
from perdure.workflow.state import Facts
from perdure.workflow.successor import continue_as_new, new_run_id
from perdure.workflow.task_queue_names import check_task_queue

_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CONTINUE_AS_NEW_ATTRIBUTES
_BAD_SEARCH_ATTRIBUTES = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES
_COMMAND = "ContinueAsNewWorkflowExecutionCommand"
_Attributes = ContinueAsNewWorkflowExecutionCommandAttributes


@commands(CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
def continue_as_new_workflow(completion: Completion, command: Command, attributes: _Attributes) -> None:
    """Close the run and begin its successor. Raises BadCommand."""
    check_close(completion, command, "ContinueAsNewWorkflowExecution", _BAD)
    draft = completion.draft
    facts, context = draft.run.facts, draft.context
    event, policy = _event(attributes, facts, context)
    if attributes.inherit_build_id and event.task_queue.name != facts.task_queue:
        raise BadCommand(_BAD, "ContinueAsNew with UseCompatibleVersion cannot run on different task queue.")
    _check_sizes(event, context)
    event.workflow_task_completed_event_id = completion.completed_event_id
    event.new_execution_run_id = new_run_id(context)
    close(draft, event, **marks(command))
    continue_as_new(completion.work, draft.run, event, retry_policy=policy, cron_schedule=attributes.cron_schedule)


def _event(
    attributes: _Attributes, facts: Facts, context: Context
) -> tuple[WorkflowExecutionContinuedAsNewEventAttributes, RetryPolicy | None]:
    """The event's attributes with everything filled in, and the new run's retry policy; checked in the reference's
    order.
    """
    limits = context.limits
    type_name = attributes.workflow_type.name or facts.workflow_type
    if (length := len(type_name.encode())) > limits.id_bytes_max:
        raise BadCommand(
            _BAD,
            f"WorkflowType on {_COMMAND} exceeds length limit. "
            f"WorkflowType={type_name} Length={length} Limit={limits.id_bytes_max}",
        )
    queue = TaskQueue(name=attributes.task_queue.name or facts.task_queue, kind=attributes.task_queue.kind or _NORMAL)
    about = f"WorkflowType={type_name} TaskQueue={_shown(queue)}"
    try:
        check_task_queue(queue.name, limits.id_bytes_max, parent=facts.task_queue)
    except InvalidArgument as fault:
        raise BadCommand(_BAD, f"error validating {_COMMAND} TaskQueue: {fault.message}. {about}") from fault
    run_timeout, task_timeout = _timeouts(attributes, facts, context, about)
    policy = _policy(attributes, context, about)
    event = WorkflowExecutionContinuedAsNewEventAttributes(
        task_queue=queue,
        workflow_run_timeout=run_timeout,
        workflow_task_timeout=task_timeout,
        initiator=attributes.initiator,
        memo=_memo(attributes.memo),
        search_attributes=_search_attributes(attributes.search_attributes, context, about),
        inherit_build_id=attributes.inherit_build_id,
    )
    event.workflow_type.name = type_name
    for field in ("input", "backoff_start_interval", "failure", "last_completion_result", "header"):
        if attributes.HasField(field):
            getattr(event, field).CopyFrom(getattr(attributes, field))
    return event, policy


def _timeouts(attributes: _Attributes, facts: Facts, context: Context, about: str) -> tuple[Duration, Duration]:
    """(run timeout, workflow task timeout) of the new run; 0 = none."""
    for name, timeout in (
        ("WorkflowRunTimeout", attributes.workflow_run_timeout),
        ("WorkflowTaskTimeout", attributes.workflow_task_timeout),
        ("BackoffStartInterval", attributes.backoff_start_interval),
    ):
        if fault := duration_fault(timeout):
            raise BadCommand(_BAD, f"Invalid {name} on {_COMMAND}: {fault}. {about}")
    run_ns = capped_ns(attributes.workflow_run_timeout) or facts.run_timeout_ns
    run_ns = shorter(run_ns, facts.execution_timeout_ns)
    task_ns = capped_ns(attributes.workflow_task_timeout) or facts.task_timeout_ns
    return to_duration(run_ns), to_duration(task_timeout_ns(task_ns, run_ns, context.limits))


def _policy(attributes: _Attributes, context: Context, about: str) -> RetryPolicy | None:
    if not attributes.HasField("retry_policy"):
        return None
    policy = filled(attributes.retry_policy, context.limits)
    try:
        check(policy)
    except InvalidArgument as fault:
        raise BadCommand(_BAD, f"invalid WorkflowRetryPolicy on {_COMMAND}: {fault.message}. {about}") from fault
    return policy


def _memo(memo: Memo) -> Memo | None:
    kept = _set(memo.fields)
    return Memo(fields=kept) if kept else None


def _search_attributes(attributes: SearchAttributes, context: Context, about: str) -> SearchAttributes | None:
    try:
        kept = _set(typed(attributes, context).indexed_fields)
    except InvalidArgument as fault:
        raise BadCommand(_BAD_SEARCH_ATTRIBUTES, fault.message) from fault
    return SearchAttributes(indexed_fields=kept) if kept else None


def _set(payloads: Mapping[str, Payload]) -> dict[str, Payload]:
    return {name: payload for name, payload in payloads.items() if not is_nothing(payload)}


def _check_sizes(event: WorkflowExecutionContinuedAsNewEventAttributes, context: Context) -> None:
    limits, name = context.limits, "ContinueAsNewWorkflowExecutionCommandAttributes"
    check_size(event.input.ByteSize(), limits.blob_bytes_max, _BAD, f"{name}. Input exceeds size limit.")
    check_size(event.memo.ByteSize(), limits.memo_bytes_max, _BAD, f"{name}. Memo exceeds size limit.")
    try:
        check_sizes(event.search_attributes.indexed_fields, limits)
    except InvalidArgument as error:
        raise BadCommand(_BAD, error.message, terminate=True) from error


def _shown(queue: TaskQueue) -> str:
    """A queue as the reference's messages show it."""
    kind = TaskQueueKind.Name(queue.kind) if queue.kind in TaskQueueKind.values() else str(queue.kind)
    return f'name:"{queue.name}"  kind:{kind}'
