"""Errands between a parent and its children: start one, ask whether it is expected, report its end, end it.

Every step may be repeated, and come late: what it finds done it leaves alone. A parent or child that is gone needs
nothing any more.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ParentClosePolicy, StartChildWorkflowExecutionFailedCause
from temporalio.api.history.v1 import HistoryEvent, StartChildWorkflowExecutionInitiatedEventAttributes
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.base.errors import NamespaceNotFound, NotFound, WorkflowAlreadyStarted
from perdure.base.slots import ChainKey
from perdure.history.errands import Errand, runs
from perdure.workflow.close import PARENT_CLOSED, SERVER_IDENTITY
from perdure.workflow.deciders.plan_child import ChildrenClose, ChildStart, ParentReport
from perdure.workflow.new_run import Origin, Parent
from perdure.workflow.priorities import merge
from perdure.workflow.requests import (
    Claim,
    EarlierRun,
    ErrandDone,
    External,
    RecordChildClosed,
    RecordChildNotStarted,
    RecordChildStarted,
    RequestCancel,
    StartChild,
    Terminate,
    WakeChild,
)
from perdure.workflow.state import PendingChild
from perdure.workflow.tasks import TimerKind

_Causes = StartChildWorkflowExecutionFailedCause
_REFUSALS: dict[type[Exception], int] = {
    NamespaceNotFound: _Causes.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_NAMESPACE_NOT_FOUND,
    WorkflowAlreadyStarted: _Causes.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS,
}
_REQUEST_CANCEL = ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL
# So many children of a closed run are ended at once.
_CLOSES_MAX = 50
# Fields of the Initiated event that a start request has too.
_COPIED = tuple(
    field.name
    for field in StartChildWorkflowExecutionInitiatedEventAttributes.DESCRIPTOR.fields
    if field.name in StartWorkflowExecutionRequest.DESCRIPTOR.fields_by_name and field.name != "priority"
)


@runs(TimerKind.CHILD_START)
async def start(errand: Errand, plan: ChildStart) -> None:
    """Create the child, have its parent record it, and wake it."""
    child, run_id = plan.child, errand.timer.run_id
    event = await errand.event(plan.segments, child.initiated_event_id)
    asked = event.start_child_workflow_execution_initiated_event_attributes
    key = ChainKey(child.namespace_id, child.workflow_id)
    try:
        namespace = await errand.namespaces.by_id(errand.timer.key.namespace_id)
        await errand.ask(key, _start_request(errand, plan, event, namespace.name))
    except tuple(_REFUSALS) as refusal:
        cause = _REFUSALS[type(refusal)]
        await errand.bring_back(RecordChildNotStarted(run_id, child.initiated_event_id, cause, asked.control))
        return
    header = asked.header if asked.HasField("header") else None
    started = RecordChildStarted(run_id, child.initiated_event_id, child.run_id, header)
    claim: Claim = await _tell(errand.bring_back, started)
    await errand.ask(key, WakeChild(child.run_id, claim))


async def _tell(ask: Callable[[Any], Awaitable[Any]], request: RecordChildStarted | RecordChildClosed) -> Any:
    """Ask a parent until it has found the run that it was reset to."""
    reply = await ask(request)
    while isinstance(reply, EarlierRun):
        request = replace(request, seen=(*request.seen, reply.run_id))
        reply = await ask(request)
    return reply


def _start_request(errand: Errand, plan: ChildStart, event: HistoryEvent, namespace: str) -> StartChild:
    asked, child, timer = event.start_child_workflow_execution_initiated_event_attributes, plan.child, errand.timer
    request = StartWorkflowExecutionRequest(
        request_id=f"{timer.run_id}:{child.initiated_event_id}:0",
        **{field.name: value for field, value in asked.ListFields() if field.name in _COPIED},
    )
    if plan.priority or asked.HasField("priority"):
        request.priority.ParseFromString(merge(plan.priority, asked.priority.SerializeToString()))
    if event.HasField("user_metadata"):
        request.user_metadata.CopyFrom(event.user_metadata)
    parent = Parent(timer.key.namespace_id, namespace, timer.key.workflow_id, timer.run_id, child.initiated_event_id)
    propagates = asked.HasField("time_skipping_state_propagation")
    skipping = asked.time_skipping_state_propagation if propagates else None
    origin = Origin(run_id=child.run_id, parent=parent, root=plan.root, time_skipping=skipping)
    return StartChild(request, origin, child.parent_close_policy)


@runs(TimerKind.CHILD_UNCLAIMED)
async def claim(errand: Errand, plan: ParentReport) -> None:
    """A child that nobody has woken asks its parent, and does as that says."""
    answer = await _record_started(errand, plan)
    await errand.bring_back(WakeChild(errand.timer.run_id, answer))


async def _record_started(errand: Errand, plan: ParentReport) -> Claim:
    event = await errand.event(plan.segments, 1)
    started = event.workflow_execution_started_event_attributes
    header = started.header if started.HasField("header") else None
    request = RecordChildStarted(plan.parent_run_id, plan.initiated_event_id, plan.first_run_id, header)
    try:
        answer: Claim = await _tell(partial(errand.ask, plan.parent), request)
    except NamespaceNotFound:
        return Claim.ORPHANED
    return answer


@runs(TimerKind.PARENT_REPORT)
async def report(errand: Errand, plan: ParentReport) -> None:
    """Tell the parent how its child's last run ended; that it started, if nobody did."""
    event = await errand.event(plan.segments, plan.close_event_id)
    if not plan.is_claimed:
        await _record_started(errand, plan)
    child = WorkflowExecution(workflow_id=errand.timer.key.workflow_id, run_id=errand.timer.run_id)
    closed = RecordChildClosed(plan.parent_run_id, plan.initiated_event_id, child, plan.first_run_id, event)
    with suppress(NamespaceNotFound):
        await _tell(partial(errand.ask, plan.parent), closed)
    await errand.bring_back(ErrandDone(errand.timer))


@runs(TimerKind.CHILDREN_CLOSE)
async def close_children(errand: Errand, plan: ChildrenClose) -> None:
    """Apply the parent close policies. Raises the first failure, after all children were tried: one that can't be
    reached, perhaps for ever, keeps none of the others.
    """
    failures: list[BaseException] = []
    parent = External(errand.timer.key.workflow_id, errand.timer.run_id, child_only=True, before=plan.before)
    for first in range(0, len(plan.children), _CLOSES_MAX):
        batch = plan.children[first : first + _CLOSES_MAX]
        closings = (_close_child(errand, parent, child) for child in batch)
        outcomes = await asyncio.gather(*closings, return_exceptions=True)
        failures += [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise failures[0]
    await errand.bring_back(ErrandDone(errand.timer))


async def _close_child(errand: Errand, parent: External, child: PendingChild) -> None:
    """End the child's chain of runs, whichever is the current one; unless the current run is somebody else's."""
    execution = WorkflowExecution(workflow_id=child.workflow_id)
    request: RequestCancel | Terminate
    if child.parent_close_policy == _REQUEST_CANCEL:
        cancel = RequestCancelWorkflowExecutionRequest(
            workflow_execution=execution, first_execution_run_id=child.run_id, identity=SERVER_IDENTITY
        )
        request = RequestCancel(cancel, parent)
    else:
        terminate = TerminateWorkflowExecutionRequest(
            workflow_execution=execution,
            first_execution_run_id=child.run_id,
            reason=PARENT_CLOSED,
            identity=SERVER_IDENTITY,
        )
        request = Terminate(terminate, parent)
    with suppress(NotFound):
        await errand.ask(ChainKey(child.namespace_id, child.workflow_id), request)
