"""RecordExternal: what became of a signal or a cancel request that the run sent to another workflow.

The outcome is recorded while the run waits for it, once: a repeated or late one changes nothing.
"""

from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import (
    ExternalWorkflowExecutionCancelRequestedEventAttributes,
    ExternalWorkflowExecutionSignaledEventAttributes,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes,
)

from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import wanting
from perdure.workflow.requests import RecordExternal
from perdure.workflow.state import PendingExternal
from perdure.workflow.tasks import TimerKind
from perdure.workflow.workflow_task import wake


@decides(RecordExternal)
def record_external(work: Work, request: RecordExternal) -> None:
    """Write the outcome; the workflow's code has to see it."""
    timer = request.timer
    run = wanting(work, timer)
    if run is None:
        return
    draft = work.draft(run.run_id)
    if timer.kind == TimerKind.EXTERNAL_SIGNAL:
        draft.add(_signalled(run.facts.external_signals[timer.event_id], request))
    else:
        draft.add(_asked(run.facts.external_cancels[timer.event_id], request))
    wake(draft)


def _signalled(pending: PendingExternal, request: RecordExternal) -> Message:
    fields = _fields(pending, request) | {"control": request.control}
    if request.cause:
        return SignalExternalWorkflowExecutionFailedEventAttributes(**fields | {"cause": request.cause})
    return ExternalWorkflowExecutionSignaledEventAttributes(**fields)


def _asked(pending: PendingExternal, request: RecordExternal) -> Message:
    """Neither has the control: the reference leaves it out."""
    fields = _fields(pending, request)
    if request.cause:
        return RequestCancelExternalWorkflowExecutionFailedEventAttributes(**fields | {"cause": request.cause})
    return ExternalWorkflowExecutionCancelRequestedEventAttributes(**fields)


def _fields(pending: PendingExternal, request: RecordExternal) -> dict[str, Any]:
    """What the events of every outcome say."""
    return {
        "initiated_event_id": pending.initiated_event_id,
        "namespace": request.namespace,
        "namespace_id": pending.namespace_id,
        "workflow_execution": WorkflowExecution(workflow_id=pending.workflow_id, run_id=pending.run_id),
    }
