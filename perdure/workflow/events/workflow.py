"""How state follows from events of the run as a whole: start, signals, cancellation, close, search attributes, memo.

Messages stay encoded in state; only what decisions read is taken apart. Refuses to know why an event was written.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from temporalio.api.common.v1 import Callback, Payload
from temporalio.api.enums.v1 import EventType, RetryState, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from perdure.base.clock import from_duration, from_timestamp
from perdure.workflow.events.options import no_longer_overridden, overridden
from perdure.workflow.evolve import arrives, numbers
from perdure.workflow.state import Callback as Attached
from perdure.workflow.state import Run
from perdure.workflow.time_skipping import begun, reconfigured, transitioned

_CONTINUED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
_NOTHING = (b"", b"null", b"[]")

_CLOSES: dict[EventType.ValueType, WorkflowExecutionStatus.ValueType] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: (
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
    ),
}


def is_nothing(payload: Payload) -> bool:
    """True for a value that unsets a memo field or search attribute: empty, null or an empty list."""
    return payload.data in _NOTHING


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
def started(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The run exists: what it is, its timeouts, its place in its chain."""
    facts = run.facts
    facts.workflow_type = attributes.workflow_type.name
    facts.task_queue = attributes.task_queue.name
    facts.execution_timeout_ns = from_duration(attributes.workflow_execution_timeout)
    facts.run_timeout_ns = from_duration(attributes.workflow_run_timeout)
    facts.task_timeout_ns = from_duration(attributes.workflow_task_timeout)
    facts.first_run_id = attributes.first_execution_run_id
    facts.original_run_id = attributes.original_execution_run_id
    facts.continued_run_id = attributes.continued_execution_run_id
    facts.attempt = attributes.attempt
    facts.cron_schedule = attributes.cron_schedule
    facts.first_task_backoff_ns = from_duration(attributes.first_workflow_task_backoff)
    facts.initiator = attributes.initiator
    facts.parent_namespace_id = attributes.parent_workflow_namespace_id
    facts.parent_initiated_event_id = attributes.parent_initiated_event_id
    facts.retry_policy = attributes.retry_policy.SerializeToString()
    facts.parent = attributes.parent_workflow_execution.SerializeToString()
    facts.root = attributes.root_workflow_execution.SerializeToString()
    facts.priority = attributes.priority.SerializeToString()
    facts.user_metadata = event.user_metadata.SerializeToString(deterministic=True)
    facts.start_time_ns = from_timestamp(event.event_time)
    facts.run_timeout_given = attributes.HasField("workflow_run_timeout")
    facts.parent_namespace = attributes.parent_workflow_namespace
    if event.links:
        facts.start_links = tuple(link.SerializeToString() for link in event.links)
    if attributes.HasField("time_skipping_config") or attributes.HasField("time_skipping_state_propagation"):
        facts.time_skipping = begun(attributes, facts.start_time_ns)
    if facts.retry_policy or facts.cron_schedule:
        facts.blueprint = _blueprint(attributes)
    if attributes.completion_callbacks:
        _attach(run, event, attributes.completion_callbacks)
    if attributes.HasField("versioning_override"):
        overridden(run, attributes.versioning_override)
    if attributes.HasField("memo"):
        _merge(run, "memo", attributes.memo.fields)
    if attributes.HasField("search_attributes"):
        _merge(run, "search_attributes", attributes.search_attributes.indexed_fields)


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
def signaled(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """Signals are counted, against the limit of a run."""
    run.facts.signal_count += 1


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED)
def cancel_requested(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """Cancellation is requested at most once."""
    run.facts.cancel_requested = True


@arrives(EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
def search_attributes_upserted(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """New values replace old ones; nothing removes them."""
    _merge(run, "search_attributes", attributes.search_attributes.indexed_fields)


@arrives(EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED)
def properties_modified(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """New memo fields replace old ones; nothing removes them."""
    _merge(run, "memo", attributes.upserted_memo.fields)


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED)
def options_updated(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """An operator changed the run's options, or a later start attached itself, perhaps with callbacks; its request id
    is a delta.
    """
    if attributes.HasField("versioning_override"):
        overridden(run, attributes.versioning_override)
    elif attributes.unset_versioning_override:
        no_longer_overridden(run)
    if attributes.HasField("priority"):
        run.facts.priority = attributes.priority.SerializeToString()
    if attributes.attached_completion_callbacks:
        _attach(run, event, attributes.attached_completion_callbacks, attributes.attached_request_id)
    if attributes.time_skipping_config_updated:
        config = attributes.time_skipping_config if attributes.HasField("time_skipping_config") else None
        run.facts.time_skipping = reconfigured(run.facts.time_skipping, config, from_timestamp(event.event_time))


@arrives(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED)
def time_skipped(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The run's time jumped, or a fast-forward has come to its end."""
    assert run.facts.time_skipping is not None
    run.facts.time_skipping = transitioned(run.facts.time_skipping, attributes, from_timestamp(event.event_time))


def _blueprint(attributes: WorkflowExecutionStartedEventAttributes) -> bytes:
    kept = WorkflowExecutionStartedEventAttributes()
    kept.CopyFrom(attributes)
    kept.ClearField("continued_failure")
    kept.ClearField("prev_auto_reset_points")
    kept.ClearField("completion_callbacks")
    return kept.SerializeToString(deterministic=True)


def _closed(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The terminal event."""
    run.facts.status = _CLOSES[event.event_type]
    run.facts.close_time_ns = from_timestamp(event.event_time)
    run.facts.successor_run_id = getattr(attributes, "new_execution_run_id", "")
    if run.facts.callbacks:
        run.facts.callbacks_due = not _hands_on(run, attributes)


def _hands_on(run: Run, attributes: Any) -> bool:
    """Whether another run goes on with the callbacks: one that this was continued by, its next attempt, or the run that
    it was reset to. A schedule's next run does not.
    """
    if run.facts.status == _CONTINUED:
        return True
    if getattr(attributes, "retry_state", 0) == RetryState.RETRY_STATE_IN_PROGRESS:
        return True
    return run.durable.was_reset and run.durable.reset_run_id not in ("", run.run_id)


def _attach(run: Run, event: HistoryEvent, callbacks: Iterable[Callback], request_id: str = "") -> None:
    for number, callback in enumerate(callbacks, len(run.facts.callbacks) + 1):
        encoded = callback.SerializeToString(deterministic=True)
        run.put("callbacks", number, Attached(encoded, from_timestamp(event.event_time), request_id))


def _close_numbered(run: Run, event: HistoryEvent, attributes: Any) -> None:
    run.facts.close_event_id = event.event_id


for _event_type in _CLOSES:
    arrives(_event_type)(_closed)
    numbers(_event_type)(_close_numbered)


def _merge(run: Run, field: str, payloads: Mapping[str, Payload]) -> None:
    for name, payload in payloads.items():
        if is_nothing(payload):
            run.drop(field, name)
        else:
            run.put(field, name, payload.SerializeToString(deterministic=True))
