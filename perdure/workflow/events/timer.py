"""What user timers' events do to the facts of a run.

A timer is pending from its Started until it fires or is cancelled. It leaves when TimerFired arrives, although that
event may be buffered; a cancellation takes such an event back.
"""

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    HistoryEvent,
    TimerCanceledEventAttributes,
    TimerFiredEventAttributes,
    TimerStartedEventAttributes,
)

from perdure.base.clock import from_duration, from_timestamp
from perdure.workflow.evolve import arrives, numbers
from perdure.workflow.state import PendingTimer, Run


@numbers(EventType.EVENT_TYPE_TIMER_STARTED)
def started(run: Run, event: HistoryEvent, attributes: TimerStartedEventAttributes) -> None:
    """The timer is pending; it is due a duration after the event's time."""
    due_ns = from_timestamp(event.event_time) + from_duration(attributes.start_to_fire_timeout)
    run.put("timers", attributes.timer_id, PendingTimer(attributes.timer_id, event.event_id, due_ns))


@arrives(EventType.EVENT_TYPE_TIMER_FIRED)
@arrives(EventType.EVENT_TYPE_TIMER_CANCELED)
def ended(run: Run, event: HistoryEvent, attributes: TimerFiredEventAttributes | TimerCanceledEventAttributes) -> None:
    """The timer is over; its id may be used again, and is already where the event waited for its number meanwhile."""
    pending = run.facts.timers.get(attributes.timer_id)
    if pending is not None and pending.started_event_id == attributes.started_event_id:
        run.drop("timers", attributes.timer_id)
