"""Links from replies to the events that requests caused."""

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType

from perdure.base.slots import ChainKey

_STARTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED


def started_link(namespace: str, key: ChainKey, run_id: str) -> Link:
    """To a run's Started event."""
    link = Link()
    event = link.workflow_event
    event.namespace, event.workflow_id, event.run_id = namespace, key.workflow_id, run_id
    event.event_ref.event_id = 1
    event.event_ref.event_type = _STARTED
    return link


def request_link(namespace: str, key: ChainKey, run_id: str, request_id: str, event_type: EventType.ValueType) -> Link:
    """To the event that a request caused, whose id may not be known yet."""
    link = Link()
    event = link.workflow_event
    event.namespace, event.workflow_id, event.run_id = namespace, key.workflow_id, run_id
    event.request_id_ref.request_id = request_id
    event.request_id_ref.event_type = event_type
    return link
