"""What signals and requests to other workflows do to the facts of the run that sends them.

One is pending from its Initiated until its outcome arrives, which may be buffered: a second outcome finds nothing.
"""

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ExternalWorkflowExecutionCancelRequestedEventAttributes,
    ExternalWorkflowExecutionSignaledEventAttributes,
    HistoryEvent,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
)

from perdure.base.clock import from_timestamp
from perdure.workflow.evolve import arrives, numbers
from perdure.workflow.state import PendingExternal, Run

Initiated = (
    SignalExternalWorkflowExecutionInitiatedEventAttributes
    | RequestCancelExternalWorkflowExecutionInitiatedEventAttributes
)
Signalled = ExternalWorkflowExecutionSignaledEventAttributes | SignalExternalWorkflowExecutionFailedEventAttributes
Asked = (
    ExternalWorkflowExecutionCancelRequestedEventAttributes
    | RequestCancelExternalWorkflowExecutionFailedEventAttributes
)


@numbers(EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED)
def signal_initiated(run: Run, event: HistoryEvent, attributes: Initiated) -> None:
    """The signal is to be sent."""
    run.put("external_signals", event.event_id, _pending(event, attributes))


@numbers(EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED)
def cancel_initiated(run: Run, event: HistoryEvent, attributes: Initiated) -> None:
    """The other workflow is to be asked."""
    run.put("external_cancels", event.event_id, _pending(event, attributes))


@arrives(EventType.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED)
@arrives(EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED)
def signal_answered(run: Run, event: HistoryEvent, attributes: Signalled) -> None:
    """The signal was delivered, or can't be."""
    if attributes.initiated_event_id in run.facts.external_signals:
        run.drop("external_signals", attributes.initiated_event_id)


@arrives(EventType.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
@arrives(EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED)
def cancel_answered(run: Run, event: HistoryEvent, attributes: Asked) -> None:
    """The other workflow was asked, or can't be."""
    if attributes.initiated_event_id in run.facts.external_cancels:
        run.drop("external_cancels", attributes.initiated_event_id)


def _pending(event: HistoryEvent, attributes: Initiated) -> PendingExternal:
    return PendingExternal(
        initiated_event_id=event.event_id,
        initiated_time_ns=from_timestamp(event.event_time),
        namespace_id=attributes.namespace_id,
        workflow_id=attributes.workflow_execution.workflow_id,
        run_id=attributes.workflow_execution.run_id,
        child_only=attributes.child_workflow_only,
    )
