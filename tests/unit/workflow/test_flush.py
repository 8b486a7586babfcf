"""Buffered events: ends after starts, ids of starts filled in, request ids of attached starts too."""

import re
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskStartedEventAttributes,
    ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionStartedEventAttributes,
    HistoryEvent,
    TimerFiredEventAttributes,
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionSignaledEventAttributes,
)

from perdure.base.limits import Limits
from perdure.workflow import evolve
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.draft import Draft
from perdure.workflow.evolve import attributes_of, history_batches
from perdure.workflow.flush import drop, flush
from perdure.workflow.state import Durable, RequestRecord


@pytest.fixture(autouse=True)
def _only_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """What events do to activities and children is not under test, and needs state that is not there."""
    monkeypatch.setattr(evolve, "NUMBER", {})


def buffering_draft(*attributes: Message) -> Draft:
    """A run whose workflow task has just ended, with these events waiting; the next id is 10."""
    context = Context(0, bytes(16), 1, NamespaceView("ns", "default", 0), Limits())
    run = evolve.new_run(Durable(run_id="run"))
    run.facts.next_event_id = 10
    run.put("request_ids", "attached", RequestRecord(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED))
    run.durable.buffered = tuple(_event(each).SerializeToString() for each in attributes)
    return Draft.of(run, context)


def _event(attributes: Message) -> HistoryEvent:
    name = type(attributes).__name__.removesuffix("EventAttributes")
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", name)
    given: dict[str, Any] = {f"{words.lower()}_event_attributes": attributes}
    return HistoryEvent(event_type=EventType.Value(f"EVENT_TYPE_{words.upper()}"), **given)


def flushed(draft: Draft) -> list[HistoryEvent]:
    """The events in the order of their ids."""
    assert flush(draft)
    return [HistoryEvent.FromString(event) for batch in history_batches(draft.mutation()) for event in batch]


def test_ends_go_last_and_name_the_starts_of_the_same_flush() -> None:
    draft = buffering_draft(
        ActivityTaskStartedEventAttributes(scheduled_event_id=5),
        ActivityTaskCompletedEventAttributes(scheduled_event_id=5),
        ChildWorkflowExecutionStartedEventAttributes(initiated_event_id=6),
        ChildWorkflowExecutionCompletedEventAttributes(initiated_event_id=6),
        ActivityTaskCompletedEventAttributes(scheduled_event_id=7, started_event_id=8),
        TimerFiredEventAttributes(timer_id="t"),
        WorkflowExecutionSignaledEventAttributes(signal_name="s"),
    )
    events = flushed(draft)
    assert [(event.event_id, EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")) for event in events] == [
        (10, "ACTIVITY_TASK_STARTED"),
        (11, "CHILD_WORKFLOW_EXECUTION_STARTED"),
        (12, "TIMER_FIRED"),
        (13, "WORKFLOW_EXECUTION_SIGNALED"),
        (14, "ACTIVITY_TASK_COMPLETED"),
        (15, "CHILD_WORKFLOW_EXECUTION_COMPLETED"),
        (16, "ACTIVITY_TASK_COMPLETED"),
    ]
    assert [attributes_of(event).started_event_id for event in events[4:]] == [10, 11, 8]


def test_an_attached_request_id_learns_its_event() -> None:
    draft = buffering_draft(WorkflowExecutionOptionsUpdatedEventAttributes(attached_request_id="attached"))
    flushed(draft)
    assert draft.run.durable.request_ids["attached"].event_id == 10


def test_a_request_with_two_events_is_known_as_the_first_and_names_the_second() -> None:
    draft = buffering_draft(WorkflowExecutionSignaledEventAttributes(request_id="attached"))
    flushed(draft)
    known = draft.run.durable.request_ids["attached"]
    assert known == RequestRecord(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED, 10)


def test_what_is_dropped_never_gets_an_id() -> None:
    draft = buffering_draft(TimerFiredEventAttributes(timer_id="t"))
    drop(draft)
    assert history_batches(draft.mutation()) == []
    assert (draft.run.durable.buffered, draft.run.facts.next_event_id) == ((), 10)
