"""Rules 19 and 20, and 12 between workflows: runs that follow one another, children, and calls from one to another."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.testing.checkers.evidence import REQUEST_ID, Evidence, RunHistory, Violation, successor_of
from perdure.testing.checkers.workflow_tasks import attributes_of

_CONTINUED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
_STARTED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
_NOT_STARTED = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED
# How a child's end stands in its parent's history.
_REPORTS = {
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}


def _beginning(history: RunHistory) -> Any:
    return history.events[0].workflow_execution_started_event_attributes


def one_successor(evidence: Evidence) -> Iterator[Violation]:
    """19: a run that goes on in another one has exactly that successor, both name each other, and a chain of runs
    keeps the id of its first.
    """
    followers: dict[str, list[str]] = defaultdict(list)
    for history in evidence.histories:
        before = history.continues
        if not before:
            continue
        followers[before].append(history.run_id)
        former = evidence.runs.get(before)
        if former is None:
            yield Violation(19, history.name, f"continues {before[-8:]}, which has no history")
        elif former.terminal is None or successor_of(former.terminal) != history.run_id:
            yield Violation(19, history.name, f"continues {before[-8:]}, which does not name it")
        elif _beginning(former).first_execution_run_id != _beginning(history).first_execution_run_id:
            yield Violation(19, history.name, "has another first run than the run before it")
    for history in evidence.histories:
        named = successor_of(history.terminal) if history.terminal is not None else ""
        if named and named not in evidence.runs:
            yield Violation(19, history.name, f"goes on as {named[-8:]}, which has no history")
        if not named and history.terminal is not None and history.terminal.event_type == _CONTINUED:
            yield Violation(19, history.name, "continued as new, and does not say as which run")
        if len(followers[history.run_id]) > 1:
            yield Violation(19, history.name, f"has {len(followers[history.run_id])} successors")


def children_once(evidence: Evidence) -> Iterator[Violation]:
    """20: an initiation is started or fails, ends at most once and after that, and makes at most one child, which ends
    as its parent is told.
    """
    made: dict[tuple[str, int], list[RunHistory]] = defaultdict(list)
    for history in evidence.histories:
        begun = _beginning(history)
        if begun.HasField("parent_workflow_execution") and not history.continues:
            made[begun.parent_workflow_execution.run_id, begun.parent_initiated_event_id].append(history)
    for parent in evidence.histories:
        told: dict[int, list[HistoryEvent]] = defaultdict(list)
        for event in parent.events:
            if event.event_type in (_STARTED, _NOT_STARTED, *_REPORTS):
                told[attributes_of(event).initiated_event_id].append(event)
        initiated = [event.event_id for event in parent.of("START_CHILD_WORKFLOW_EXECUTION_INITIATED")]
        for stray in told.keys() - set(initiated):
            yield Violation(20, parent.name, f"event {told[stray][0].event_id} is of no initiated child")
        for at in initiated:
            yield from _child(evidence, parent, at, told[at], made.pop((parent.run_id, at), []))
    for (run_id, at), children in made.items():
        if run_id in evidence.runs:
            yield Violation(20, children[0].name, f"its parent's event {at} began no child")


def _child(
    evidence: Evidence, parent: RunHistory, at: int, told: list[HistoryEvent], made: list[RunHistory]
) -> Iterator[Violation]:
    if len(made) > 1:
        yield Violation(20, parent.name, f"the child of event {at} was begun {len(made)} times")
    kinds = [event.event_type for event in told]
    ends = [kind for kind in kinds if kind in _REPORTS]
    if len(kinds) - len(ends) > 1 or len(ends) > 1 or (ends and kinds[0] != _STARTED):
        yield Violation(20, parent.name, f"the child of event {at} is told of as {kinds}")
    if _NOT_STARTED in kinds and made:
        yield Violation(20, parent.name, f"the child of event {at} could not be started, but is there")
    if _STARTED not in kinds:
        return
    run_id = attributes_of(told[kinds.index(_STARTED)]).workflow_execution.run_id
    if run_id not in [child.run_id for child in made]:
        yield Violation(20, parent.name, f"the child of event {at} was started as {run_id[-8:]}, which is not there")
        return
    last = _last(evidence, evidence.runs[run_id])
    if last.terminal is not None and (last.terminal.event_type == _CONTINUED or successor_of(last.terminal)):
        return  # the chain is torn, which is another rule's business
    if ends and (last.terminal is None or last.terminal.event_type != _REPORTS[ends[0]]):
        yield Violation(20, parent.name, f"the child of event {at} ended otherwise than its parent was told")
    if last.close_ns is not None and parent.close_ns is None and not ends:
        yield Violation(20, parent.name, f"the child of event {at} is over, and its open parent was not told")


def _last(evidence: Evidence, run: RunHistory) -> RunHistory:
    """The run in which `run` ended up."""
    seen = {run.run_id}
    while run.terminal is not None:
        following = evidence.runs.get(successor_of(run.terminal))
        if following is None or following.run_id in seen:
            break
        seen.add(following.run_id)
        run = following
    return run


def calls_between_workflows(evidence: Evidence) -> Iterator[Violation]:
    """12: a signal that a workflow is told was delivered is in its target's chain once; one that failed, never."""
    places: dict[str, int] = defaultdict(int)
    for history in evidence.histories:
        for request_id, _ in history.signals:
            places[request_id] += 1
    for history in evidence.histories:
        outcomes = {
            attributes_of(event).initiated_event_id: event.event_type
            for event in history.of("EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED")
        }
        for event in history.of("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED"):
            attributes = event.signal_external_workflow_execution_initiated_event_attributes
            found = places[attributes.header.fields[REQUEST_ID].data.decode()]
            outcome = outcomes.get(event.event_id)
            if found > 1:
                yield Violation(12, history.name, f"the signal of event {event.event_id} was delivered {found} times")
            if outcome == EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED and found:
                yield Violation(12, history.name, f"the failed signal of event {event.event_id} was delivered")
            if outcome == EventType.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED and not found:
                yield Violation(12, history.name, f"the signal of event {event.event_id} is nowhere")
