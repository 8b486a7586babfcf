"""What happens again in a reset run: of the events after the point those that came from outside.

Signals, updates, what starts attached, and what became of children that were pending at the point. Requests to cancel,
timers, activities and everything that the workflow itself did are not among them. Source: the reference
(`service/history/ndc/workflow_resetter.go`). Refuses to read history: whoever does asks here what is `wanted`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType, ResetReapplyType, UpdateAdmittedEventOrigin
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionSignaledEventAttributes,
    WorkflowExecutionUpdateAdmittedEventAttributes,
)
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from perdure.workflow.deciders.signal import add_signal
from perdure.workflow.draft import Draft
from perdure.workflow.evolve import attributes_of
from perdure.workflow.state import RequestRecord

_Exclude = ResetReapplyExcludeType
_SIGNAL = _Exclude.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
_UPDATE = _Exclude.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE
_EVERYTHING = frozenset(_Exclude.values()) - {0}
_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
_ADMITTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED
_ACCEPTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
_OPTIONS_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
_CHILD_STARTED = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
_CHILD_NOT_STARTED = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED
_CHILD_ENDS = frozenset(
    EventType.Value(f"EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_{end}")
    for end in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED")
)
_OF_CHILDREN = _CHILD_ENDS | {_CHILD_STARTED, _CHILD_NOT_STARTED}


def wanted(request: ResetWorkflowExecutionRequest, *, base: bool) -> frozenset[int]:
    """The types of the events that happen again. `base`: of the run that is reset; those after it have children of
    their own, of which the reset run knows nothing.
    """
    excluded = set(request.reset_reapply_exclude_types)
    if request.reset_reapply_type == ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL:
        excluded.add(_UPDATE)
    elif request.reset_reapply_type == ResetReapplyType.RESET_REAPPLY_TYPE_NONE:
        excluded |= {_SIGNAL, _UPDATE}
    if excluded >= _EVERYTHING:
        return frozenset()
    kinds = {_OPTIONS_UPDATED}
    if _SIGNAL not in excluded:
        kinds.add(_SIGNALED)
    if _UPDATE not in excluded:
        kinds |= {_ADMITTED, _ACCEPTED}
    return frozenset(kinds | _OF_CHILDREN if base else kinds)


def reapply(draft: Draft, events: Iterable[HistoryEvent]) -> None:
    """Let these events, of types that are `wanted`, happen again in the new run, in their order."""
    for event in events:
        _REAPPLY[event.event_type](draft, event, attributes_of(event))


def _signaled(draft: Draft, event: HistoryEvent, attributes: WorkflowExecutionSignaledEventAttributes) -> None:
    again = WorkflowExecutionSignaledEventAttributes()
    again.CopyFrom(attributes)
    again.ClearField("external_workflow_execution")
    add_signal(draft, again, links=event.links)


def _admitted(draft: Draft, event: HistoryEvent, attributes: WorkflowExecutionUpdateAdmittedEventAttributes) -> None:
    if attributes.request.meta.update_id not in draft.run.facts.updates:  # two runs may each have had one of that id
        draft.add(attributes)


def _accepted(draft: Draft, event: HistoryEvent, attributes: Any) -> None:
    """The new run has not accepted it. Without its request: it was admitted by an event, which happens again too."""
    if attributes.HasField("accepted_request"):
        origin = UpdateAdmittedEventOrigin.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY
        again = WorkflowExecutionUpdateAdmittedEventAttributes(request=attributes.accepted_request, origin=origin)
        _admitted(draft, event, again)


def _options_updated(draft: Draft, event: HistoryEvent, attributes: Any) -> None:
    """What a later start attached."""
    request_id = attributes.attached_request_id
    if request_id and request_id in draft.run.durable.request_ids and attributes.attached_completion_callbacks:
        return
    again = draft.add(attributes, links=event.links, worker_may_ignore=event.worker_may_ignore)
    if request_id:
        draft.put("request_ids", request_id, RequestRecord(again.event_type, again.event_id))


def _child_started(draft: Draft, event: HistoryEvent, attributes: Any) -> None:
    child = draft.run.facts.children.get(attributes.initiated_event_id)
    if child is not None and not child.started:
        draft.add(attributes)


def _child_ended(draft: Draft, event: HistoryEvent, attributes: Any) -> None:
    child = draft.run.facts.children.get(attributes.initiated_event_id)
    if child is None:
        return
    again = type(attributes)()
    again.CopyFrom(attributes)
    if event.event_type != _CHILD_NOT_STARTED:
        again.started_event_id = child.started_event_id
    draft.add(again)


_REAPPLY: dict[int, Callable[[Draft, HistoryEvent, Any], None]] = {
    _SIGNALED: _signaled,
    _ADMITTED: _admitted,
    _ACCEPTED: _accepted,
    _OPTIONS_UPDATED: _options_updated,
    _CHILD_STARTED: _child_started,
    _CHILD_NOT_STARTED: _child_ended,
    **dict.fromkeys(_CHILD_ENDS, _child_ended),
}
