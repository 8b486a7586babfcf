"""Errands that signal other workflows and ask them to cancel.

A workflow never reaches itself this way. What its target refuses for good is recorded as the failure that it is;
everything else is tried again, and the request id sees to it that the target takes it once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    CancelExternalWorkflowExecutionFailedCause,
    SignalExternalWorkflowExecutionFailedCause,
)
from temporalio.api.history.v1 import (
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
)
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest, SignalWorkflowExecutionRequest

from perdure.base.errors import (
    InvalidArgument,
    NamespaceNotFound,
    NotFound,
)
from perdure.base.slots import ChainKey
from perdure.history.errands import Errand, runs
from perdure.workflow.close import SERVER_IDENTITY
from perdure.workflow.requests import (
    EarlierRun,
    External,
    ExternalPlan,
    RecordExternal,
    RequestCancel,
    SignalWorkflow,
)
from perdure.workflow.tasks import TimerKind

_SIGNAL_CAUSES = SignalExternalWorkflowExecutionFailedCause
_CANCEL_CAUSES = CancelExternalWorkflowExecutionFailedCause
# What the target's refusal says in the failed event, the most special class first.
_SIGNAL_REFUSALS: dict[type[Exception], int] = {
    NamespaceNotFound: _SIGNAL_CAUSES.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_NAMESPACE_NOT_FOUND,
    NotFound: _SIGNAL_CAUSES.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND,
    InvalidArgument: _SIGNAL_CAUSES.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_SIGNAL_COUNT_LIMIT_EXCEEDED,
}
_CANCEL_REFUSALS: dict[type[Exception], int] = {
    NamespaceNotFound: _CANCEL_CAUSES.CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_NAMESPACE_NOT_FOUND,
    NotFound: _CANCEL_CAUSES.CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND,
}


@runs(TimerKind.EXTERNAL_SIGNAL)
async def signal(errand: Errand, plan: ExternalPlan) -> None:
    """Signal the target; its answer goes into the sender's history. Raises Unavailable, and what is no answer."""
    event = await errand.event(plan.segments, plan.pending.initiated_event_id)
    asked = event.signal_external_workflow_execution_initiated_event_attributes

    async def send(namespace: str) -> None:
        await _ask(errand, plan, SignalWorkflow(_signal_request(asked, plan, namespace), _external(errand, plan)))

    await _settle(errand, plan, asked, _SIGNAL_REFUSALS, send)


@runs(TimerKind.EXTERNAL_CANCEL)
async def cancel(errand: Errand, plan: ExternalPlan) -> None:
    """Ask the target to cancel; its answer goes into the sender's history. Raises as `signal` does."""
    event = await errand.event(plan.segments, plan.pending.initiated_event_id)
    asked = event.request_cancel_external_workflow_execution_initiated_event_attributes

    async def send(namespace: str) -> None:
        await _ask(errand, plan, RequestCancel(_cancel_request(asked, plan, namespace), _external(errand, plan)))

    await _settle(errand, plan, asked, _CANCEL_REFUSALS, send)


async def _settle(
    errand: Errand,
    plan: ExternalPlan,
    asked: (
        SignalExternalWorkflowExecutionInitiatedEventAttributes
        | RequestCancelExternalWorkflowExecutionInitiatedEventAttributes
    ),
    refusals: dict[type[Exception], int],
    send: Callable[[str], Awaitable[None]],
) -> None:
    """Send it, and bring back what came of it."""
    cause, namespace = 0, asked.namespace
    try:
        namespace = (await errand.namespaces.by_id(plan.pending.namespace_id)).name
        if _target(plan) == errand.timer.key:
            cause = refusals[NotFound]  # whatever run it names
        else:
            await send(namespace)
    except tuple(refusals) as refusal:
        cause = next(cause for kind, cause in refusals.items() if isinstance(refusal, kind))
    await errand.bring_back(RecordExternal(errand.timer, cause, namespace, asked.control))


async def _ask(errand: Errand, plan: ExternalPlan, request: SignalWorkflow | RequestCancel) -> None:
    """Ask until the target has looked at all the runs that may have taken the request before."""
    reply: Any = await errand.ask(_target(plan), request)
    while isinstance(reply, EarlierRun):
        assert request.external is not None
        seen = (*request.external.seen, reply.run_id)
        request = replace(request, external=msgspec.structs.replace(request.external, seen=seen))
        reply = await errand.ask(_target(plan), request)


def _target(plan: ExternalPlan) -> ChainKey:
    return ChainKey(plan.pending.namespace_id, plan.pending.workflow_id)


def _external(errand: Errand, plan: ExternalPlan) -> External:
    pending, timer = plan.pending, errand.timer
    return External(
        workflow_id=timer.key.workflow_id,
        run_id=timer.run_id,
        initiated_event_id=pending.initiated_event_id,
        initiated_time_ns=timer.due_ns,  # when it was initiated by the clock of its shard, not by its run's own
        child_only=pending.child_only,
        before=plan.before,
    )


def _signal_request(
    asked: SignalExternalWorkflowExecutionInitiatedEventAttributes, plan: ExternalPlan, namespace: str
) -> SignalWorkflowExecutionRequest:
    request = SignalWorkflowExecutionRequest(
        namespace=namespace,
        workflow_execution=WorkflowExecution(workflow_id=plan.pending.workflow_id, run_id=plan.pending.run_id),
        signal_name=asked.signal_name,
        identity=SERVER_IDENTITY,
        request_id=plan.request_id,
    )
    if asked.HasField("input"):
        request.input.CopyFrom(asked.input)
    if asked.HasField("header"):
        request.header.CopyFrom(asked.header)
    return request


def _cancel_request(
    asked: RequestCancelExternalWorkflowExecutionInitiatedEventAttributes, plan: ExternalPlan, namespace: str
) -> RequestCancelWorkflowExecutionRequest:
    return RequestCancelWorkflowExecutionRequest(
        namespace=namespace,
        workflow_execution=WorkflowExecution(workflow_id=plan.pending.workflow_id, run_id=plan.pending.run_id),
        identity=SERVER_IDENTITY,
        request_id=plan.request_id,
        reason=asked.reason,
    )
