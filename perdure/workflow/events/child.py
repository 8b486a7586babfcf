"""What the events of children do to the facts of their parent.

A child is pending from its Initiated until it can't be started, or its end arrives, numbered or not: a second report
finds nothing. An event about a child that is no longer pending changes nothing: its start may be numbered after its
end arrived.
"""

from typing import Any

import msgspec
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ChildWorkflowExecutionStartedEventAttributes,
    HistoryEvent,
    StartChildWorkflowExecutionInitiatedEventAttributes,
)

from perdure.base.clock import from_timestamp
from perdure.workflow.errand_ids import errand_id
from perdure.workflow.evolve import arrives, numbers
from perdure.workflow.state import PendingChild, Run


@numbers(EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED)
def initiated(run: Run, event: HistoryEvent, attributes: StartChildWorkflowExecutionInitiatedEventAttributes) -> None:
    """The child is pending, and the id of its first run is settled."""
    child = PendingChild(
        initiated_event_id=event.event_id,
        namespace_id=attributes.namespace_id,
        workflow_id=attributes.workflow_id,
        workflow_type=attributes.workflow_type.name,
        parent_close_policy=attributes.parent_close_policy,
        run_id=errand_id(run.run_id, "child", event.event_id),
        initiated_time_ns=from_timestamp(event.event_time),
    )
    run.put("children", event.event_id, child)


@arrives(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)
def started(run: Run, event: HistoryEvent, attributes: ChildWorkflowExecutionStartedEventAttributes) -> None:
    """The child exists."""
    child = run.facts.children.get(attributes.initiated_event_id)
    if child is not None:
        changed = msgspec.structs.replace(child, started=True, run_id=attributes.workflow_execution.run_id)
        run.put("children", child.initiated_event_id, changed)


@numbers(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)
def start_numbered(run: Run, event: HistoryEvent, attributes: ChildWorkflowExecutionStartedEventAttributes) -> None:
    """The start has an id, which the terminal event names."""
    child = run.facts.children.get(attributes.initiated_event_id)
    if child is not None:
        changed = msgspec.structs.replace(child, started_event_id=event.event_id)
        run.put("children", child.initiated_event_id, changed)


@arrives(EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED)
@arrives(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)
@arrives(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED)
@arrives(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED)
@arrives(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT)
@arrives(EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED)
def ended(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The child is over, or never was."""
    if attributes.initiated_event_id in run.facts.children:
        run.drop("children", attributes.initiated_event_id)
