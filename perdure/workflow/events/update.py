"""How state follows from the events of updates: by their ids; requests and outcomes stay in history."""

from typing import Any

import msgspec
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.workflow.evolve import numbers
from perdure.workflow.state import Run, Update


@numbers(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED)
def update_admitted(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """A reset carried the update over: its request is in this event."""
    update_id = attributes.request.meta.update_id
    run.put("updates", update_id, Update(admitted_event_id=event.event_id))
    run.put("open_updates", update_id, True)


@numbers(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
def update_accepted(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The workflow wants the update."""
    update_id = attributes.protocol_instance_id
    former = run.facts.updates.get(update_id, Update())
    run.put("updates", update_id, msgspec.structs.replace(former, accepted_event_id=event.event_id))
    run.put("open_updates", update_id, True)


@numbers(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED)
def update_completed(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The update has its outcome."""
    update_id = attributes.meta.update_id
    former = run.facts.updates.get(update_id, Update())
    run.put("updates", update_id, msgspec.structs.replace(former, completed_event_id=event.event_id))
    run.drop("open_updates", update_id)
