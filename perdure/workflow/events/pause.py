"""How state follows from a run's pause: who asked for it, why and when. That it is paused now is a delta, on which its
tasks depend; the two are written together.
"""

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import from_timestamp
from perdure.workflow.evolve import arrives
from perdure.workflow.state import Run


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED)
def paused(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The pause, as it is described."""
    run.facts.pause = attributes.SerializeToString()
    run.facts.pause_time_ns = from_timestamp(event.event_time)


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED)
def unpaused(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The pause is over."""
    run.facts.pause = b""
    run.facts.pause_time_ns = 0
