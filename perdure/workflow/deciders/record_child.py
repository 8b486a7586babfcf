"""What a parent records of its child: that it started, that it can't be started, how it ended.

Each is accepted while the parent is open and the child pending, once; what comes again, or too late, changes nothing.
Source: the reference's transfer queue and `recordchildworkflowcompleted`.
"""

from typing import Any

from temporalio.api.common.v1 import Header, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ChildWorkflowExecutionCanceledEventAttributes,
    ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes,
    ChildWorkflowExecutionStartedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes,
    ChildWorkflowExecutionTimedOutEventAttributes,
    HistoryEvent,
    StartChildWorkflowExecutionFailedEventAttributes,
)

from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.evolve import attributes_of
from perdure.workflow.requests import (
    Claim,
    EarlierRun,
    RecordChildClosed,
    RecordChildNotStarted,
    RecordChildStarted,
)
from perdure.workflow.state import PendingChild, Run
from perdure.workflow.workflow_task import wake

# So many resets after one another a child's news follows.
_RESETS_MAX = 100
# Terminal event -> the parent's event, and what it takes over.
_ENDS: dict[int, tuple[type[Any], tuple[str, ...]]] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: (ChildWorkflowExecutionCompletedEventAttributes, ("result",)),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: (
        ChildWorkflowExecutionFailedEventAttributes,
        ("failure", "retry_state"),
    ),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: (ChildWorkflowExecutionCanceledEventAttributes, ("details",)),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: (ChildWorkflowExecutionTerminatedEventAttributes, ()),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: (
        ChildWorkflowExecutionTimedOutEventAttributes,
        ("retry_state",),
    ),
}


@decides(RecordChildStarted)
def record_child_started(work: Work, request: RecordChildStarted) -> Claim | EarlierRun:
    """The child was created; it waits for this answer."""
    run = heir(work, request.run_id, request.initiated_event_id, request.child_run_id, request.seen)
    if run is None:
        return Claim.ORPHANED
    if isinstance(run, EarlierRun):
        return run
    child = run.facts.children.get(request.initiated_event_id)
    if child is None or child.run_id != request.child_run_id:
        return Claim.UNKNOWN
    if child.started:
        return Claim.STARTED
    if not run.is_open:
        return Claim.ORPHANED
    draft = work.draft(run.run_id)
    _add_started(draft, child, request.header)
    wake(draft)
    return Claim.STARTED


@decides(RecordChildNotStarted)
def record_child_not_started(work: Work, request: RecordChildNotStarted) -> None:
    """The child's workflow id is taken, or its namespace is not there."""
    found = _pending(work, request.run_id, request.initiated_event_id)
    if found is None or found[1].started:
        return
    draft, child = found
    draft.add(
        StartChildWorkflowExecutionFailedEventAttributes(
            namespace=work.context.namespace.name,
            namespace_id=child.namespace_id,
            workflow_id=child.workflow_id,
            workflow_type=WorkflowType(name=child.workflow_type),
            cause=request.cause,  # type: ignore[arg-type]  # the enum's int is stored plain
            control=request.control,
            initiated_event_id=child.initiated_event_id,
        )
    )
    wake(draft)


@decides(RecordChildClosed)
def record_child_closed(work: Work, request: RecordChildClosed) -> EarlierRun | None:
    """The child ended, by whatever run of its chain."""
    parent = heir(work, request.run_id, request.initiated_event_id, request.first_run_id, request.seen)
    if isinstance(parent, EarlierRun):
        return parent
    found = _pending(work, parent.run_id, request.initiated_event_id) if parent is not None else None
    if found is None:
        return None
    draft, child = found
    if (child.workflow_id, child.run_id) != (request.child.workflow_id, request.first_run_id):
        return None
    if not child.started:
        _add_started(draft, child, None)
        child = draft.run.facts.children[child.initiated_event_id]
    draft.add(_closed(work, child, request.child, request.event))
    wake(draft)
    return None


def heir(
    work: Work, run_id: str, initiated_event_id: int, child_run_id: str, seen: tuple[str, ...]
) -> Run | EarlierRun | None:
    """The parent, or the open run that it was reset to, perhaps over several, if that has the child too: none has one
    that was initiated after the point of its reset.
    """
    parent = run = work.chain.runs.get(run_id)
    for _ in range(_RESETS_MAX):
        if run is None or run.is_open or not run.durable.reset_run_id:
            break
        following = run.durable.reset_run_id
        run = work.chain.runs.get(following)
        if run is None and following not in seen:
            return EarlierRun(following)
    if run is None or not run.is_open:
        return parent
    child = run.facts.children.get(initiated_event_id)
    return run if child is not None and child.run_id == child_run_id else parent


def _pending(work: Work, run_id: str, initiated_event_id: int) -> tuple[Draft, PendingChild] | None:
    """The open parent's draft and its pending child."""
    run = work.chain.runs.get(run_id)
    if run is None or not run.is_open or initiated_event_id not in run.facts.children:
        return None
    return work.draft(run_id), run.facts.children[initiated_event_id]


def _add_started(draft: Draft, child: PendingChild, header: Header | None) -> None:
    draft.add(
        ChildWorkflowExecutionStartedEventAttributes(
            namespace=draft.context.namespace.name,
            namespace_id=child.namespace_id,
            initiated_event_id=child.initiated_event_id,
            workflow_execution=WorkflowExecution(workflow_id=child.workflow_id, run_id=child.run_id),
            workflow_type=WorkflowType(name=child.workflow_type),
            header=header,
        )
    )


def _closed(work: Work, child: PendingChild, execution: WorkflowExecution, event: HistoryEvent) -> Any:
    """The attributes of the parent's event about the child's terminal `event`."""
    kind, taken = _ENDS[event.event_type]
    ended = {field.name: value for field, value in attributes_of(event).ListFields()}
    return kind(
        namespace=work.context.namespace.name,
        namespace_id=child.namespace_id,
        workflow_execution=execution,
        workflow_type=WorkflowType(name=child.workflow_type),
        initiated_event_id=child.initiated_event_id,
        started_event_id=child.started_event_id,
        **{name: ended[name] for name in taken if name in ended},
    )
