"""Describe: everything an operator sees of a run. Changes nothing."""

from typing import Any

from temporalio.api.common.v1 import Payload, Priority, WorkerVersionStamp, WorkflowExecution
from temporalio.api.enums.v1 import PendingWorkflowTaskState, TaskQueueKind
from temporalio.api.history.v1 import WorkflowExecutionPausedEventAttributes
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import (
    PendingWorkflowTaskInfo,
    RequestIdInfo,
    ResetPoints,
    WorkflowExecutionConfig,
    WorkflowExecutionExtendedInfo,
    WorkflowExecutionInfo,
)
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.base.clock import to_duration, to_timestamp
from perdure.workflow.decide import Work, decides
from perdure.workflow.deriving.callback import callback_infos
from perdure.workflow.describe_activity import pending_activity_info
from perdure.workflow.lookup import find_run
from perdure.workflow.requests import Describe
from perdure.workflow.state import Run, WorkflowTask
from perdure.workflow.time_skipping import shown
from perdure.workflow.versioning import shown_versioning

_GO_ZERO_TIME_S = -62_135_596_800  # the reference shows 0001-01-01 for a run that never times out


@decides(Describe)
def describe(work: Work, request: Describe) -> DescribeWorkflowExecutionResponse:
    """The run's configuration, state and everything pending."""
    run = find_run(work, request.request.execution.run_id)
    response = DescribeWorkflowExecutionResponse(
        execution_config=_config(run),
        workflow_execution_info=execution_info(run),
        workflow_extended_info=_extended(run),
        pending_activities=[pending_activity_info(run, scheduled_id) for scheduled_id in run.facts.activities],
    )
    task = run.workflow_task
    if task is not None:
        response.pending_workflow_task.CopyFrom(_pending_task(task))
    for child in run.facts.children.values():
        response.pending_children.add(
            workflow_id=child.workflow_id,
            run_id=child.run_id if child.started else "",
            workflow_type_name=child.workflow_type,
            initiated_id=child.initiated_event_id,
            parent_close_policy=child.parent_close_policy,
        )
    if run.facts.time_skipping is not None:
        skipping = shown(run.facts.time_skipping, work.context.now_ns + run.ahead_ns)
        response.workflow_extended_info.time_skipping_info.CopyFrom(skipping)
    if run.facts.callbacks:
        response.callbacks.extend(callback_infos(run, work.context.now_ns + run.ahead_ns))
    return response


def execution_info(run: Run) -> WorkflowExecutionInfo:
    """What Describe and, in part, lists tell of a run."""
    facts, durable = run.facts, run.durable
    root = WorkflowExecution.FromString(facts.root)
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=durable.workflow_id, run_id=durable.run_id),
        start_time=to_timestamp(run.start_time_ns),
        status=run.shown_status,  # type: ignore[arg-type]  # the enum's int is stored plain
        history_length=facts.next_event_id - 1,
        execution_time=to_timestamp(durable.execution_time_ns),
        auto_reset_points=ResetPoints.FromString(durable.auto_reset_points),
        task_queue=facts.task_queue,
        state_transition_count=durable.transition_count,
        history_size_bytes=durable.history_bytes,
        root_execution=root if root.workflow_id else None,
        first_run_id=facts.first_run_id,
        external_payload_count=durable.external_payload_count,
        external_payload_size_bytes=durable.external_payload_bytes,
    )
    info.type.name = facts.workflow_type
    if not root.workflow_id:
        info.root_execution.CopyFrom(info.execution)
    info.memo.SetInParent()
    info.search_attributes.SetInParent()
    _fill(info.memo.fields, facts.memo)
    _fill(info.search_attributes.indexed_fields, facts.search_attributes)
    _fill(info.search_attributes.indexed_fields, durable.server_attributes)
    if facts.parent:
        info.parent_execution.CopyFrom(WorkflowExecution.FromString(facts.parent))
        info.parent_namespace_id = facts.parent_namespace_id
    if facts.versioning is not None:
        info.versioning_info.CopyFrom(shown_versioning(facts.versioning))
    if facts.priority:
        info.priority.CopyFrom(Priority.FromString(facts.priority))
    if durable.most_recent_worker_version:
        stamp = WorkerVersionStamp.FromString(durable.most_recent_worker_version)
        info.most_recent_worker_version_stamp.CopyFrom(stamp)
    if not run.is_open:
        info.close_time.CopyFrom(to_timestamp(facts.close_time_ns))
        info.execution_duration.CopyFrom(to_duration(max(0, facts.close_time_ns - durable.execution_time_ns)))
    return info


def _fill(target: Any, payloads: dict[str, bytes]) -> None:
    for name, encoded in payloads.items():
        target[name].CopyFrom(Payload.FromString(encoded))


def _config(run: Run) -> WorkflowExecutionConfig:
    facts = run.facts
    config = WorkflowExecutionConfig(
        task_queue=TaskQueue(name=facts.task_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        default_workflow_task_timeout=to_duration(facts.task_timeout_ns),
    )
    if facts.execution_timeout_ns:
        config.workflow_execution_timeout.CopyFrom(to_duration(facts.execution_timeout_ns))
    if facts.run_timeout_given:
        config.workflow_run_timeout.CopyFrom(to_duration(facts.run_timeout_ns))
    if facts.user_metadata:
        config.user_metadata.CopyFrom(UserMetadata.FromString(facts.user_metadata))
    return config


def _extended(run: Run) -> WorkflowExecutionExtendedInfo:
    facts, durable = run.facts, run.durable
    info = WorkflowExecutionExtendedInfo(
        cancel_requested=facts.cancel_requested,
        original_start_time=to_timestamp(facts.start_time_ns),
        reset_run_id=durable.reset_run_id,
    )
    if durable.base_run_id:
        info.last_reset_time.CopyFrom(to_timestamp(durable.created_time_ns))
    if durable.execution_expiration_ns:
        info.execution_expiration_time.CopyFrom(to_timestamp(durable.execution_expiration_ns))
    if durable.run_expiration_ns:
        info.run_expiration_time.CopyFrom(to_timestamp(durable.run_expiration_ns))
    else:
        info.run_expiration_time.seconds = _GO_ZERO_TIME_S
    if facts.pause_time_ns:
        pause = WorkflowExecutionPausedEventAttributes.FromString(facts.pause)
        info.pause_info.identity, info.pause_info.reason = pause.identity, pause.reason
        info.pause_info.paused_time.CopyFrom(to_timestamp(facts.pause_time_ns))
    for request_id, record in durable.request_ids.items():
        info.request_id_infos[request_id].CopyFrom(
            RequestIdInfo(
                event_type=record.event_type,  # type: ignore[arg-type]  # the enum's int is stored plain
                event_id=record.event_id,
                buffered=not record.event_id,
            )
        )
    return info


def _pending_task(task: WorkflowTask) -> PendingWorkflowTaskInfo:
    info = PendingWorkflowTaskInfo(
        state=PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED,
        scheduled_time=to_timestamp(task.scheduled_time_ns),
        original_scheduled_time=to_timestamp(task.original_scheduled_time_ns),
        attempt=task.attempt,
    )
    if task.started_event_id:
        info.state = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
        info.started_time.CopyFrom(to_timestamp(task.started_time_ns))
    return info
