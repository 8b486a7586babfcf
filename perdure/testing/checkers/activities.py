"""Rules 21 to 24: activities end once, are delivered once an attempt, back off, and remember their heartbeats."""

from collections import defaultdict
from collections.abc import Iterator

from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import from_duration
from perdure.testing.checkers.backoff import backoff_ns
from perdure.testing.checkers.evidence import Evidence, RunHistory, Violation, time_of
from perdure.testing.checkers.workflow_tasks import attributes_of
from perdure.testing.oplog import Kind, Op

_ENDS = (
    "ACTIVITY_TASK_COMPLETED",
    "ACTIVITY_TASK_FAILED",
    "ACTIVITY_TASK_TIMED_OUT",
    "ACTIVITY_TASK_CANCELED",
)
_ANSWERS = (Kind.COMPLETE_ACTIVITY, Kind.FAIL_ACTIVITY, Kind.CANCEL_ACTIVITY)


def ends_of(history: RunHistory) -> dict[int, list[HistoryEvent]]:
    """The terminal events of each activity, by scheduled event id."""
    found: dict[int, list[HistoryEvent]] = defaultdict(list)
    for event in history.of(*_ENDS):
        found[attributes_of(event).scheduled_event_id].append(event)
    return found


def one_end(evidence: Evidence) -> Iterator[Violation]:
    """21: at most one terminal event per activity, after its Started, which it names."""
    for history in evidence.histories:
        started = {
            attributes_of(event).scheduled_event_id: event.event_id for event in history.of("ACTIVITY_TASK_STARTED")
        }
        scheduled = {event.event_id for event in history.of("ACTIVITY_TASK_SCHEDULED")}
        for scheduled_id, ends in ends_of(history).items():
            ids = [event.event_id for event in ends]
            if len(ends) > 1 or scheduled_id not in scheduled:
                yield Violation(21, history.name, f"the activity {scheduled_id} ended as {ids}")
            elif attributes_of(ends[0]).started_event_id != started.get(scheduled_id, 0):
                yield Violation(21, history.name, f"event {ids[0]} names the wrong Started")
            elif started.get(scheduled_id, 0) > ids[0]:
                yield Violation(21, history.name, f"event {ids[0]} stands before its Started")


def nothing_after_the_end(evidence: Evidence) -> Iterator[Violation]:
    """22: an activity is not started after it ended, and an acknowledged completion is what ended it."""
    ends = {history.run_id: ends_of(history) for history in evidence.histories}
    for op in evidence.deliveries(Kind.POLL_ACTIVITY):
        for event in ends.get(op.reply["run_id"], {}).get(op.reply["scheduled"], ()):
            if op.reply["started_ns"] > time_of(event) + evidence.skew_ns:
                yield Violation(22, op.reply["run_id"], f"activity {op.reply['scheduled']} was started after its end")
    for op in evidence.of(Kind.COMPLETE_ACTIVITY, Kind.CANCEL_ACTIVITY):
        if op.run_id not in ends:
            continue
        mine = [e for e in ends[op.run_id].get(op.args["scheduled"], ()) if _identity(e) == op.identity]
        if op.ok and not mine:
            yield Violation(22, op.run_id, f"{op.identity} was accepted, but did not end the activity")
        if mine and op.refused_as == "NotFound" and not evidence.is_excused(op):
            yield Violation(22, op.run_id, f"{op.identity} was refused, but ended the activity")


def _identity(event: HistoryEvent) -> str:
    return str(getattr(attributes_of(event), "identity", ""))


def _scheduled(evidence: Evidence, op: Op) -> HistoryEvent | None:
    history = evidence.runs.get(op.reply["run_id"])
    return history.by_id.get(op.reply["scheduled"]) if history is not None else None


def one_delivery_per_attempt(evidence: Evidence) -> Iterator[Violation]:
    """23: an attempt is delivered once; attempts have no gap and stay within the maximum, if no operator meddles."""
    seen: dict[tuple[str, int, int, int], Op] = {}
    for op in evidence.deliveries(Kind.POLL_ACTIVITY):
        task = op.reply
        key = (task["run_id"], task["scheduled"], task["attempt"], task["stamp"])
        earlier = seen.setdefault(key, op)
        if earlier is not op:
            yield Violation(23, task["run_id"], f"attempt {key[1:]} went to {earlier.identity} and {op.identity}")
        event = _scheduled(evidence, op)
        if event is None or evidence.is_operated(task["run_id"]):
            continue
        maximum = event.activity_task_scheduled_event_attributes.retry_policy.maximum_attempts
        if maximum and task["attempt"] > maximum:
            yield Violation(23, task["run_id"], f"attempt {task['attempt']} of at most {maximum}")
    newest: dict[tuple[str, int], int] = {}
    for entry in evidence.attempts:
        activity = (entry.run_id, entry.scheduled)
        before = newest.get(activity, 1)
        if entry.attempt not in (before, before + 1) and not evidence.is_operated(entry.run_id):
            yield Violation(23, entry.run_id, f"attempt {entry.attempt} of {entry.scheduled} came after {before}")
        newest[activity] = entry.attempt


def attempts_back_off(evidence: Evidence) -> Iterator[Violation]:
    """23: no attempt comes before the backoff after the one before it is over, unless an operator said so."""
    ended: dict[tuple[str, int, int], int] = {}
    deliveries = evidence.deliveries(Kind.POLL_ACTIVITY)
    for op in deliveries:
        event = _scheduled(evidence, op)
        if event is not None:
            shortest = _shortest_timeout(event)
            if shortest:
                key = (op.reply["run_id"], op.reply["scheduled"], op.reply["attempt"])
                ended[key] = op.reply["started_ns"] + shortest
    for op in evidence.of(Kind.FAIL_ACTIVITY):
        if op.outcome != "fail" or evidence.is_excused(op):
            key = (op.run_id, op.args["scheduled"], op.args["attempt"])
            ended[key] = min(op.invoked_ns, ended.get(key, op.invoked_ns))
    for op in deliveries:
        event, attempt = _scheduled(evidence, op), op.reply["attempt"]
        end = ended.get((op.reply["run_id"], op.reply["scheduled"], attempt - 1))
        if event is None or end is None or evidence.is_operated(op.reply["run_id"]):
            continue
        pause = backoff_ns(event.activity_task_scheduled_event_attributes.retry_policy, attempt - 1)
        if min(op.reply["started_ns"], op.returned_ns) + evidence.skew_ns < end + pause:
            early = (end + pause - op.reply["started_ns"]) / 1e9
            yield Violation(23, op.reply["run_id"], f"attempt {attempt} of {op.reply['scheduled']} {early} s early")


def _shortest_timeout(event: HistoryEvent) -> int:
    attributes = event.activity_task_scheduled_event_attributes
    return min(
        (
            timeout
            for timeout in (
                from_duration(attributes.start_to_close_timeout),
                from_duration(attributes.heartbeat_timeout),
            )
            if timeout
        ),
        default=0,
    )


def heartbeats_survive(evidence: Evidence) -> Iterator[Violation]:
    """24: an attempt receives the details of the last acknowledged heartbeat before it, or of an unknown later one,
    unless an operator may have reset them.
    """
    beats: dict[tuple[str, int], list[Op]] = defaultdict(list)
    for op in evidence.of(Kind.HEARTBEAT):
        beats[op.run_id, op.args["scheduled"]].append(op)
    for op in evidence.deliveries(Kind.POLL_ACTIVITY):
        if evidence.is_operated(op.reply["run_id"]):
            continue
        before = [
            beat
            for beat in beats.get((op.reply["run_id"], op.reply["scheduled"]), ())
            if beat.args["attempt"] < op.reply["attempt"]
        ]
        allowed = {""}
        for beat in before:
            if beat.ok and op.workflow_id not in evidence.repeated:
                allowed = {beat.args["details"]}
            elif beat.outcome != "fail" or evidence.is_excused(beat):
                allowed.add(beat.args["details"])
        if op.reply["heartbeat"] not in allowed:
            what = f"attempt {op.reply['attempt']} of {op.reply['scheduled']} got {op.reply['heartbeat']!r}"
            told = [beat.error or "done" for beat in before if beat.args["details"] == op.reply["heartbeat"]]
            yield Violation(24, op.reply["run_id"], f"{what} (told {told}), the last heartbeat was {sorted(allowed)}")
