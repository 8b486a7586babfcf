"""Rules 7 to 11: workflow tasks, their completions and their commands."""

from collections.abc import Iterator
from typing import Any

from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.testing.checkers.evidence import STATUS_OF, Evidence, RunHistory, Violation, time_of
from perdure.testing.oplog import Kind, Op

_ENDS = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED: "workflow_task_completed_event_attributes",
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED: "workflow_task_failed_event_attributes",
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT: "workflow_task_timed_out_event_attributes",
}
# A command's event, and the field of its attributes that is the command's key.
EVENT_OF_COMMAND: dict[int, tuple[int, str]] = {
    CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK: (EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, "activity_id"),
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK: (
        EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED,
        "scheduled_event_id",
    ),
    CommandType.COMMAND_TYPE_START_TIMER: (EventType.EVENT_TYPE_TIMER_STARTED, "timer_id"),
    CommandType.COMMAND_TYPE_CANCEL_TIMER: (EventType.EVENT_TYPE_TIMER_CANCELED, "timer_id"),
    CommandType.COMMAND_TYPE_RECORD_MARKER: (EventType.EVENT_TYPE_MARKER_RECORDED, "marker_name"),
    CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: (
        EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
        "control",
    ),
    CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: (
        EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        "control",
    ),
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: (
        EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        "control",
    ),
    CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION: (
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
        "",
    ),
    CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION: (EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED, ""),
    CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION: (EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED, ""),
    CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION: (EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED, ""),
}


def attributes_of(event: HistoryEvent) -> Any:
    """The event's attributes, whatever their type."""
    return getattr(event, event.WhichOneof("attributes") or "")


def one_outstanding(evidence: Evidence) -> Iterator[Violation]:
    """7: at most one workflow task is outstanding, and its events name one another."""
    for history in evidence.histories:
        for event_id, what in _out_of_step(history):
            yield Violation(7, history.name, f"event {event_id} {what}")


def _out_of_step(history: RunHistory) -> Iterator[tuple[int, str]]:
    scheduled = started = 0
    for event in history.events:
        at = event.event_id
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            if scheduled:
                yield at, f"schedules a workflow task beside {scheduled}"
            scheduled, started = at, 0
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            named = event.workflow_task_started_event_attributes.scheduled_event_id
            if not scheduled or started or named != scheduled:
                yield at, f"starts {named}, outstanding is {scheduled}"
            started = at
        elif event.event_type in _ENDS:
            attributes = getattr(event, _ENDS[event.event_type])
            named, by = attributes.scheduled_event_id, attributes.started_event_id
            if not scheduled or named != scheduled or by != started:
                yield at, f"ends ({named}, {by}), outstanding is ({scheduled}, {started})"
            scheduled = started = 0


def _task(facts: dict[str, Any]) -> tuple[int, int, int, int]:
    return facts["scheduled"], facts["started"], facts["started_ns"], facts["attempt"]


def completions_of_the_current_task(evidence: Evidence) -> Iterator[Violation]:
    """8: a completion is accepted once, for the task that is started; a refused one leaves no event."""
    accepted: dict[tuple[str, tuple[int, int, int, int]], Op] = {}
    enders: dict[str, dict[str, HistoryEvent]] = {}
    for history in evidence.histories:
        ends = history.of("WORKFLOW_TASK_COMPLETED", "WORKFLOW_TASK_FAILED")
        enders[history.run_id] = {attributes_of(event).identity: event for event in ends}
    for op in evidence.of(Kind.COMPLETE_WORKFLOW, Kind.FAIL_WORKFLOW):
        ended = enders.get(op.run_id, {}).get(op.identity)
        task = _task(op.args)
        if op.ok:
            earlier = accepted.setdefault((op.run_id, task), op)
            if earlier is not op:
                yield Violation(8, op.run_id, f"{op.identity} and {earlier.identity} completed the same task {task}")
            # An attempt after the first fails without an event, so that a history doesn't fill with them.
            is_silent = op.kind is Kind.FAIL_WORKFLOW and op.args["attempt"] > 1
            if ended is None and op.run_id in enders and not is_silent and not _is_discarded(op):
                yield Violation(8, op.run_id, f"{op.identity} was accepted, but no event of it is there")
        elif ended is not None and op.refused_as == "NotFound" and not evidence.is_excused(op):
            yield Violation(8, op.run_id, f"{op.identity} was refused, but event {ended.event_id} is of it")
        if ended is not None and attributes_of(ended).scheduled_event_id != task[0]:
            yield Violation(8, op.run_id, f"{op.identity} answered task {task[0]}, event {ended.event_id} another")


def _is_discarded(op: Op) -> bool:
    """The worker did nothing with its task but reject updates, or was told that the task never was: nothing of it has
    to remain.
    """
    nothing_done = not op.args["commands"] and not op.args.get("accepts")
    return nothing_done and bool(op.reply.get("discarded") or op.args.get("rejects"))


def commands_in_order(evidence: Evidence) -> Iterator[Violation]:
    """9: command events name the Completed that carried them, in the order of the commands."""
    sent = {op.identity: op for op in evidence.of(Kind.COMPLETE_WORKFLOW) if "commands" in op.args}
    kinds = dict(EVENT_OF_COMMAND.values())
    for history in evidence.histories:
        events: dict[int, list[tuple[int, str]]] = {}
        for event in history.events:
            if event.event_type in kinds:
                attributes = attributes_of(event)
                key = str(getattr(attributes, kinds[event.event_type])) if kinds[event.event_type] else ""
                events.setdefault(attributes.workflow_task_completed_event_id, []).append((event.event_type, key))
        completed = {event.event_id: event for event in history.of("WORKFLOW_TASK_COMPLETED")}
        for completed_id in events:
            if completed_id not in completed:
                yield Violation(9, history.name, f"events name {completed_id}, which is no Completed")
        for completed_id, event in completed.items():
            op = sent.get(event.workflow_task_completed_event_attributes.identity)
            if op is None:
                continue
            wanted = [(EVENT_OF_COMMAND[kind][0], key) for kind, key in op.args["commands"] if kind in EVENT_OF_COMMAND]
            if events.get(completed_id, []) != wanted:
                yield Violation(9, history.name, f"Completed {completed_id}: {events.get(completed_id)} for {wanted}")


def buffered_at_close(history: RunHistory, skew_ns: int = 0) -> tuple[int, int] | None:
    """The time within which a signal was buffered when a completion closed the run: (task started, closed)."""
    terminal = history.terminal
    if terminal is None or terminal.event_type not in STATUS_OF:
        return None
    started = 0
    for event in history.of("WORKFLOW_TASK_STARTED"):
        started = time_of(event)
    return started - skew_ns, time_of(terminal) + skew_ns


def no_close_over_buffered(evidence: Evidence) -> Iterator[Violation]:
    """10: a workflow does not close over an acknowledged signal that its worker has not seen."""
    for op in evidence.of(Kind.SIGNAL):
        history = evidence.runs.get(op.reply.get("run_id", op.run_id)) if op.ok else None
        if history is None or op.request_id in dict(history.signals):
            continue
        window = buffered_at_close(history, evidence.skew_ns)
        if window is not None and window[0] <= op.invoked_ns and op.returned_ns <= window[1]:
            yield Violation(10, history.name, f"closed over the signal {op.request_id}")


def one_start_per_task(evidence: Evidence) -> Iterator[Violation]:
    """11: no worker gets the same workflow task under two started ids."""
    started: dict[tuple[str, int, int, int], tuple[int, int]] = {}
    for op in evidence.deliveries(Kind.POLL_WORKFLOW):
        if (op.namespace, op.workflow_id) in evidence.updated:
            continue
        task = op.reply
        key = (op.reply["run_id"], task["scheduled"], task["attempt"], task["stamp"])
        start = (task["started"], task["started_ns"])
        if started.setdefault(key, start) != start:
            yield Violation(11, op.reply["run_id"], f"task {key[1:]} was started as {started[key]} and {start}")
