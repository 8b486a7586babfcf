"""How state follows from steps. The same functions run live and in replay.

An event acts in two moments, because some events are buffered: `arrive` when it happens (a pending activity is gone,
a signal is counted), `number` when it gets its id (ids are referred to, the next id moves on). An unbuffered event
does both at once. Handlers are registered per event type in `ARRIVE` and `NUMBER`; an event without a handler only
takes its id.
"""

from collections.abc import Callable, Iterable
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.errors import Bug
from perdure.workflow.state import Durable, Ephemeral, Facts, Run
from perdure.workflow.steps import (
    Append,
    Assign,
    Buffer,
    Create,
    Delete,
    Drop,
    Flush,
    Mutation,
    Put,
    Step,
    Unbuffer,
    check_durable,
)

Handler = Callable[[Run, HistoryEvent, Any], None]
ARRIVE: dict[int, Handler] = {}
NUMBER: dict[int, Handler] = {}

# event type -> the name of its attributes in a HistoryEvent
ATTRIBUTE_FIELDS: dict[int, str] = {
    value.number: value.name.removeprefix("EVENT_TYPE_").lower() + "_event_attributes"
    for value in EventType.DESCRIPTOR.values
    if value.number
}


def arrives(event_type: EventType.ValueType) -> Callable[[Handler], Handler]:
    """Registers what an event of this type does when it happens: `(run, event, attributes)`; its id may still be 0."""

    def register(handler: Handler) -> Handler:
        ARRIVE[event_type] = handler
        return handler

    return register


def numbers(event_type: EventType.ValueType) -> Callable[[Handler], Handler]:
    """Registers what an event of this type does when it gets its id: `(run, event, attributes)`."""

    def register(handler: Handler) -> Handler:
        NUMBER[event_type] = handler
        return handler

    return register


def attributes_of(event: HistoryEvent) -> Any:
    """The event's attributes message."""
    return getattr(event, ATTRIBUTE_FIELDS[event.event_type])


def arrive(run: Run, event: HistoryEvent) -> None:
    """`event` happened."""
    handler = ARRIVE.get(event.event_type)
    if handler is not None:
        handler(run, event, attributes_of(event))


def number(run: Run, event: HistoryEvent) -> None:
    """`event` has its id, which is the run's next."""
    if event.event_id != run.facts.next_event_id:
        raise Bug(f"event id {event.event_id} where {run.facts.next_event_id} is next in run {run.run_id}")
    run.facts.next_event_id += 1
    handler = NUMBER.get(event.event_type)
    if handler is not None:
        handler(run, event, attributes_of(event))


def evolve(run: Run, event: HistoryEvent) -> None:
    """`event` happened and has its id."""
    arrive(run, event)
    number(run, event)


def apply(run: Run, step: Step) -> None:
    """One step of a record, on a run that exists."""
    match step:
        case Assign(field, value):
            check_durable(field)
            run.assign(field, value)
        case Put(field, key, value):
            check_durable(field)
            run.put(field, key, value)
        case Drop(field, key):
            check_durable(field)
            run.drop(field, key)
        case Append(event):
            evolve(run, HistoryEvent.FromString(event))
        case Buffer(event):
            buffer(run, HistoryEvent.FromString(event), event)
        case Unbuffer(index):
            unbuffer(run, index)
        case Flush(events):
            clear_buffer(run)
            for body in events:
                number(run, HistoryEvent.FromString(body))
        case Create() | Delete():
            raise Bug("create and delete steps stand at the ends of a mutation")


def buffer(run: Run, event: HistoryEvent, encoded: bytes) -> None:
    """`event` happened; it waits for its id."""
    arrive(run, event)
    run.durable.buffered = (*run.durable.buffered, encoded)
    run.durable.buffered_bytes += len(encoded)


def unbuffer(run: Run, index: int) -> None:
    """The buffered event at `index` is taken back."""
    buffered = run.durable.buffered
    run.durable.buffered_bytes -= len(buffered[index])
    run.durable.buffered = buffered[:index] + buffered[index + 1 :]


def clear_buffer(run: Run) -> None:
    """Nothing waits for an id any more."""
    run.durable.buffered = ()
    run.durable.buffered_bytes = 0


def new_run(durable: Durable, facts: Facts | None = None) -> Run:
    """A run as its first step makes it."""
    return Run(facts if facts is not None else Facts(), durable, Ephemeral())


def finish(run: Run, batches: Iterable[int], history_bytes: int) -> None:
    """The bookkeeping at the end of a mutation: transitions, batch starts, history size in bytes."""
    run.durable.transition_count += 1
    run.durable.history_bytes += history_bytes
    sizes = tuple(batches)
    if sizes:
        run.facts.last_first_event_id = run.facts.next_event_id - sizes[-1]


def replay(run: Run | None, mutation: Mutation) -> Run | None:
    """The run after `mutation`: None if it was deleted. Raises Bug where steps do not fit the state."""
    history_bytes = 0
    for step in mutation.steps:
        if isinstance(step, Create):
            run = new_run(step.durable, step.facts)
            continue
        if isinstance(step, Delete):
            return None
        if run is None:
            raise Bug(f"a delta for run {mutation.run_id} without its base")
        apply(run, step)
        history_bytes += sum(map(len, numbered_events(step)))
    if run is not None:
        finish(run, mutation.batches, history_bytes)
    return run


def numbered_events(step: Step) -> tuple[bytes, ...]:
    """The encoded events that a step adds to history."""
    match step:
        case Append(event):
            return (event,)
        case Flush(events):
            return events
        case _:
            return ()


def history_batches(mutation: Mutation) -> list[list[bytes]]:
    """The mutation's numbered events (encoded), cut into its history batches."""
    events = [event for step in mutation.steps for event in numbered_events(step)]
    batches, start = [], 0
    for size in mutation.batches:
        batches.append(events[start : start + size])
        start += size
    if start != len(events):
        raise Bug(f"{len(events)} events in batches of {mutation.batches}")
    return batches
