"""Reset: another run takes up a run's history at a workflow task, and does the rest anew.

The new run has the base's events up to the point, then the end of the task that is outstanding there, then what
happened from outside after it. The current run is terminated if it is open, whichever it is, and the new one is the
current one: all in one decision. What the point's history says is read before (`ResetReading`); here it is made sure
that nothing came after what was read. Source: the reference (`api/resetworkflow`, `ndc/workflow_resetter.go`), whose
reset has the request id of the start and so is not idempotent: here the new run remembers the reset's own.
"""

from typing import Any

from temporalio.api.enums.v1 import EventType, RetryState, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure, ResetWorkflowFailureInfo
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskFailedEventAttributes,
)
from temporalio.api.workflow.v1 import PostResetOperation, ResetPoints
from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.base.errors import InvalidArgument
from perdure.workflow.branches import forked, share
from perdure.workflow.cause_names import cause_name
from perdure.workflow.close import SERVER_IDENTITY, close_from_outside, interrupt
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.update_options import change_options
from perdure.workflow.draft import Draft
from perdure.workflow.lookup import find_run
from perdure.workflow.lost_task import note_cause
from perdure.workflow.reapplying import reapply, wanted
from perdure.workflow.reset_reading import ResetReading, TaskAtPoint
from perdure.workflow.reset_requests import PlanReset, Reset, ResetOutdated, ResetPlan
from perdure.workflow.server_attributes import count_problem, note_problem
from perdure.workflow.state import (
    RUNNING,
    ActivityAttempt,
    CurrentRun,
    Durable,
    Facts,
    RequestRecord,
    Run,
    WorkflowTask,
)
from perdure.workflow.versioning import check_override
from perdure.workflow.workflow_task import schedule, start, wake

_IDENTITY = "history-resetter"
_TASK_REQUEST_ID = "emptyUuid"  # of a task that no worker got: the reference's
_STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
_RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
_OUT_OF_RANGE = "Workflow task finish ID must be > 1 && <= workflow last event ID."
_NO_TASK = "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {}"
_TOO_LARGE = "Transaction size exceeds limit."


@decides(PlanReset)
def plan_reset(work: Work, request: PlanReset) -> ResetPlan | ResetWorkflowExecutionResponse:
    """Find the base; its history has to be read."""
    base, done = _check(work, request.request)
    return done or ResetPlan(base.run_id, base.durable.segments)


@decides(Reset)
def reset(work: Work, request: Reset) -> ResetWorkflowExecutionResponse | ResetOutdated:
    """Make the new run, unless there is more to read by now."""
    asked, read = request.request, request.read
    base, done = _check(work, asked)
    if done is not None:
        return done
    last, end = work.chain.runs.get(read.last_run_id), read.ends.get(read.last_run_id)
    if base.run_id != read.run_id or last is None or (end is not None and last.facts.next_event_id != end):
        return ResetOutdated()  # of those that were read, all but the last were closed then
    if read.task is None:
        raise InvalidArgument(_NO_TASK.format(asked.workflow_task_finish_event_id))
    run_id = work.context.new_run_id()
    current = _open_current(work)
    if current is not None:
        interrupt(work.draft(current.run_id))  # before anything is written there
    work.draft(base.run_id).assign("reset_run_id", run_id)
    buffered = _end_current(work, asked, read)
    draft = _create(work, base, asked, read, run_id)
    _fail_task(draft, read.task, asked.reason, base.run_id)
    _fail_activities(draft, asked.reason)
    reapply(draft, [*read.later, *buffered])
    for operation in asked.post_reset_operations:
        _operate(draft, operation)
    if draft.event_bytes > work.context.limits.transaction_bytes_max:
        raise InvalidArgument(_TOO_LARGE)
    wake(draft, skip_delay=True)
    return ResetWorkflowExecutionResponse(run_id=run_id)


def _check(work: Work, asked: ResetWorkflowExecutionRequest) -> tuple[Run, ResetWorkflowExecutionResponse | None]:
    """The base, and the answer where the request took effect before. Raises NotFound, InvalidArgument."""
    base = find_run(work, asked.workflow_execution.run_id)
    if not 1 < asked.workflow_task_finish_event_id < base.facts.next_event_id:
        raise InvalidArgument(_OUT_OF_RANGE)
    for operation in asked.post_reset_operations:
        _check_operation(base, operation)
    current = work.chain.runs.get(work.current.run_id) if work.current is not None else None
    if current is not None and asked.request_id in (
        current.durable.create_request_id,
        current.durable.reset_request_id,
    ):
        return base, ResetWorkflowExecutionResponse(run_id=current.run_id)
    return base, None


def _check_operation(base: Run, operation: PostResetOperation) -> None:
    """Raises InvalidArgument for what can't be done to a new run; the kind is named as Go prints it."""
    if operation.HasField("update_workflow_options"):
        options = operation.update_workflow_options.workflow_execution_options
        if options.HasField("versioning_override"):
            check_override(options.versioning_override, base.facts.task_queue)
        return
    variant = operation.WhichOneof("variant")
    name = "".join(word.capitalize() for word in variant.split("_")) if variant else ""
    raise InvalidArgument(
        f"unsupported post reset operation: *workflow.PostResetOperation_{name}_"
        if name
        else "unsupported post reset operation: <nil>"
    )


def _operate(draft: Draft, operation: PostResetOperation) -> None:
    """An operation on the new run."""
    change = operation.update_workflow_options
    asked = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution_options=change.workflow_execution_options, update_mask=change.update_mask
    )
    change_options(draft, asked)


def _open_current(work: Work) -> Run | None:
    run = work.chain.runs.get(work.current.run_id) if work.current is not None else None
    return run if run is not None and run.is_open else None


def _end_current(work: Work, asked: ResetWorkflowExecutionRequest, read: ResetReading) -> list[Any]:
    """Terminate the current run if it is open. What was buffered there is as much after the point as the rest."""
    run = _open_current(work)
    if run is None:
        return []
    draft = work.draft(run.run_id)
    draft.assign("was_reset", True)
    kinds = wanted(asked, base=run.run_id == read.run_id) if run.run_id == read.last_run_id else frozenset()
    buffered = [event for event in draft.buffered() if event.event_type in kinds]
    attributes = WorkflowExecutionTerminatedEventAttributes(reason=asked.reason, identity=_IDENTITY)
    close_from_outside(work, draft, attributes)
    return buffered


def _create(work: Work, base: Run, asked: ResetWorkflowExecutionRequest, read: ResetReading, run_id: str) -> Draft:
    """The new run as of the point; it is the current one from now on."""
    facts = read.facts
    skipping = facts.time_skipping
    now_ns = work.context.ahead(skipping.skipped_ns if skipping is not None else 0).now_ns
    segments = forked(base, facts.next_event_id, work.context.new_id("branch"))
    request_id = _start_request_id(base)
    points = ResetPoints.FromString(read.auto_reset_points)
    for point in points.points:
        point.run_id = point.run_id or run_id
    execution_expiration_ns = now_ns + facts.execution_timeout_ns if facts.execution_timeout_ns else 0
    run_expiration_ns = now_ns + facts.run_timeout_ns if facts.run_timeout_ns else 0
    if 0 < execution_expiration_ns < run_expiration_ns:
        run_expiration_ns = execution_expiration_ns
    durable = Durable(
        namespace_id=base.durable.namespace_id,
        workflow_id=base.durable.workflow_id,
        run_id=run_id,
        create_request_id=request_id,
        created_time_ns=now_ns,
        execution_time_ns=now_ns + facts.first_task_backoff_ns,
        run_expiration_ns=run_expiration_ns,
        execution_expiration_ns=execution_expiration_ns,
        segments=segments,
        history_bytes=read.history_bytes,
        workflow_task=_task(facts, read.task),
        workflow_task_problems=read.task_problems,
        attempts={
            activity.scheduled_event_id: ActivityAttempt(
                scheduled_time_ns=now_ns,
                first_scheduled_time_ns=now_ns,
                fair=work.context.limits.is_fair(activity.task_queue, "Activity"),
            )
            for activity in facts.activities.values()
            if not activity.started_event_id
        },
        request_ids={request_id: RequestRecord(_STARTED, 1), **read.request_ids},
        signal_requests=dict(read.signal_requests),
        base_run_id=base.run_id,
        reset_request_id=asked.request_id,
        paused=bool(facts.pause_time_ns),
        auto_reset_points=points.SerializeToString(),
        most_recent_worker_version=read.worker_version,
        visibility_version=1,
    )
    draft = work.create(durable, facts)
    share(work, segments)
    work.current = CurrentRun(
        run_id=run_id,
        status=RUNNING,
        create_request_id=request_id,
        start_time_ns=now_ns,
        first_run_id=facts.first_run_id,
        chain_request_id=_chain_request_id(work.chain.current, facts.first_run_id),
    )
    return draft


def _start_request_id(base: Run) -> str:
    """Of the start that the base goes back to: whoever repeats that finds the run that goes on."""
    for request_id, record in base.durable.request_ids.items():
        if record.event_type == _STARTED and record.event_id == 1:
            return request_id
    return base.durable.create_request_id


def _chain_request_id(current: CurrentRun | None, first_run_id: str) -> str:
    """Of the start of the chain, as far as the pointer to another run of that chain tells."""
    return current.chain_request_id if current is not None and current.first_run_id == first_run_id else ""


def _task(facts: Facts, task: TaskAtPoint | None) -> WorkflowTask | None:
    """The task at the point, if it is in history."""
    if task is None or not task.scheduled_event_id:
        return None
    return WorkflowTask(
        scheduled_event_id=task.scheduled_event_id,
        scheduled_time_ns=task.scheduled_time_ns,
        queue=facts.task_queue,
        timeout_ns=task.timeout_ns,
        original_scheduled_time_ns=task.scheduled_time_ns,
        started_event_id=task.started_event_id,
    )


def _fail_task(draft: Draft, task: TaskAtPoint, reason: str, base_run_id: str) -> None:
    """The task at the point failed, because of the reset; one that is not started yet is started for that."""
    if not task.scheduled_event_id:
        schedule(draft)
    if not task.started_event_id:
        start(draft, _TASK_REQUEST_ID, SERVER_IDENTITY)
    started = draft.run.durable.workflow_task
    assert started is not None
    draft.assign("workflow_task", None)
    draft.add(
        WorkflowTaskFailedEventAttributes(
            scheduled_event_id=started.scheduled_event_id,
            started_event_id=started.started_event_id,
            cause=_RESET,
            failure=_failure(reason),
            identity=SERVER_IDENTITY,
            base_run_id=base_run_id,
            new_run_id=draft.run.run_id,
        )
    )
    note_cause(draft, _RESET)
    note_problem(draft, "Failed", cause_name(_RESET))
    count_problem(draft)


def _fail_activities(draft: Draft, reason: str) -> None:
    """An activity whose start is in history, and whose end is not, does not run for the new run."""
    for activity in list(draft.run.facts.activities.values()):
        if activity.started_event_id:
            draft.add(
                ActivityTaskFailedEventAttributes(
                    scheduled_event_id=activity.scheduled_event_id,
                    started_event_id=activity.started_event_id,
                    failure=_failure(reason),
                    retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
                )
            )


def _failure(reason: str) -> Failure:
    return Failure(message=reason, source="", reset_workflow_failure_info=ResetWorkflowFailureInfo())
