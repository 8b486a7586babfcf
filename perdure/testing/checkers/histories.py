"""Rules 1 to 6 and 28: what one run's history looks like, to every reader, and after replay."""

from collections.abc import Iterator
from itertools import pairwise

from temporalio.api.enums.v1 import EventType

from perdure.testing.checkers.evidence import STATUS_OF, Evidence, RunHistory, Violation, time_of
from perdure.testing.oplog import Kind, Op

_PROVISIONAL = (EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
_ORDERED = frozenset(
    {
        *_PROVISIONAL,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        *STATUS_OF,
    }
)
_MAY_REPEAT = (EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
_TASK_ENDS = ("WORKFLOW_TASK_COMPLETED", "WORKFLOW_TASK_FAILED", "WORKFLOW_TASK_TIMED_OUT")


def gapless_ids(evidence: Evidence) -> Iterator[Violation]:
    """1: ids are 1..n, and n is what the server says of the history's length."""
    for history in evidence.histories:
        ids = [event.event_id for event in history.events]
        if ids != list(range(1, len(ids) + 1)):
            yield Violation(1, history.name, f"event ids {ids}")
        elif history.length != len(ids):
            yield Violation(1, history.name, f"{len(ids)} events, but the stored length is {history.length}")


def _provisional_from(op: Op) -> int:
    """The id from which on what `op` read may differ later."""
    first: int = op.reply["first"]
    types: list[int] = op.reply["types"]
    end = first + len(types)
    if op.kind is Kind.HISTORY and not op.args.get("tail"):
        return end
    while end > first and first + len(types) - end < len(_PROVISIONAL) and types[end - 1 - first] in _PROVISIONAL:
        end -= 1
    return end


def _reads(evidence: Evidence) -> Iterator[tuple[Op, RunHistory]]:
    for op in evidence.of(Kind.HISTORY, Kind.POLL_WORKFLOW, Kind.COMPLETE_WORKFLOW):
        if op.ok and "digests" in op.reply:
            run_id = op.reply.get("run_id", op.run_id)
            history = evidence.runs.get(run_id)
            if history is not None:
                yield op, history


def same_bytes(evidence: Evidence) -> Iterator[Violation]:
    """2: what was read once is read the same ever after, and from any host."""
    for op, history in _reads(evidence):
        first, digests = op.reply["first"], op.reply["digests"]
        end = _provisional_from(op)
        for event_id, digest in enumerate(digests[: end - first], first):
            if event_id > len(history.digests) or history.digests[event_id - 1] != digest:
                yield Violation(2, history.name, f"event {event_id} was another one when {op.identity} read it")
                break
    for again in evidence.rereads or ():
        before = evidence.runs.get(again.run_id)
        if before is None or len(again.digests) < len(before.digests):
            continue
        if before.digests != again.digests[: len(before.digests)]:
            yield Violation(2, before.name, "the history is another one after the restart")


def one_beginning_and_end(evidence: Evidence) -> Iterator[Violation]:
    """3: one Started, the first event; at most one terminal event, the last."""
    for history in evidence.histories:
        starts = [event.event_id for event in history.of("WORKFLOW_EXECUTION_STARTED")]
        if starts != [1]:
            yield Violation(3, history.name, f"Started events {starts}")
        ends = [event.event_id for event in history.events if event.event_type in STATUS_OF]
        if len(ends) > 1 or (ends and ends[0] != history.events[-1].event_id):
            yield Violation(3, history.name, f"terminal events {ends} of {len(history.events)}")


def reads_never_go_back(evidence: Evidence) -> Iterator[Violation]:
    """4: a read holds what every read held that was answered before it began, whoever made it, and every write that was
    acknowledged before it.
    """
    answered: dict[str, list[tuple[int, int, str]]] = {}
    for op in evidence.of(Kind.HISTORY):
        if op.ok and op.reply.get("whole"):
            seen = op.returned_ns, _provisional_from(op), op.identity
            answered.setdefault(op.reply.get("run_id", op.run_id), []).append(seen)
    for op in evidence.of(Kind.HISTORY, Kind.DESCRIBE):
        history = evidence.runs.get(op.reply.get("run_id", op.run_id))
        if history is None or not op.ok or not (op.reply.get("whole") or "length" in op.reply):
            continue
        end = _read_end(op)
        before = [(seen, who) for at_ns, seen, who in answered.get(history.run_id, ()) if at_ns < op.invoked_ns]
        seen_end, who = max(before, default=(0, ""))
        if end < seen_end:
            yield Violation(4, history.name, f"{op.identity} read up to {end - 1}, {who} before up to {seen_end - 1}")
        missed = _acknowledged_end(evidence, history, op.invoked_ns)
        if end < missed:
            yield Violation(4, history.name, f"{op.identity} read up to {end - 1}, but {missed - 1} was acknowledged")


def _read_end(op: Op) -> int:
    """One past the newest event that a read shows or counts."""
    if "length" in op.reply:
        return int(op.reply["length"]) + 1
    return int(op.reply["first"]) + len(op.reply["types"])


def acknowledged_runs_are_found(evidence: Evidence) -> Iterator[Violation]:
    """4: a run that somebody was told of is there for everybody who looks for it after that."""
    told: dict[tuple[str, str], int] = {}
    for op in evidence.of(Kind.START):
        if op.ok and op.reply.get("run_id"):
            at = op.namespace, op.reply["run_id"]
            told[at] = min(op.returned_ns, told.get(at, op.returned_ns))
    for op in evidence.of(Kind.HISTORY, Kind.DESCRIBE):
        if op.refused_as == "NotFound" and told.get((op.namespace, op.run_id), op.invoked_ns) < op.invoked_ns:
            yield Violation(4, op.workflow_id, f"{op.identity} did not find the run {op.run_id}")


def _acknowledged_end(evidence: Evidence, history: RunHistory, before_ns: int) -> int:
    """One past the newest event that a call which returned before `before_ns` was told of."""
    causes = evidence.__dict__.setdefault("_causes", {})
    if history.run_id not in causes:
        causes[history.run_id] = _acknowledgements(evidence, history)
    return max((event_id + 1 for at_ns, event_id in causes[history.run_id] if at_ns < before_ns), default=1)


def _acknowledgements(evidence: Evidence, history: RunHistory) -> list[tuple[int, int]]:
    """(when it was acknowledged, event id) of the events that are sure to be numbered when the call returns."""
    returned = evidence.__dict__.get("_returned")
    if returned is None:  # of all operations, once: there may be a hundred thousand, and thousands of runs
        returned = {op.identity: op.returned_ns for op in evidence.ops if op.ok}
        evidence.__dict__["_returned"] = returned
    found = []
    for event in history.of("WORKFLOW_TASK_COMPLETED", "WORKFLOW_EXECUTION_TERMINATED"):
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            identity = event.workflow_task_completed_event_attributes.identity
        else:
            identity = event.workflow_execution_terminated_event_attributes.identity
        if identity in returned:
            found.append((returned[identity], event.event_id))
    acks = {
        op.request_id: op.returned_ns
        for op in evidence.of(Kind.SIGNAL)
        if op.ok and op.reply.get("run_id", op.run_id) in ("", history.run_id)
    }
    for request_id, event in history.signals:
        if request_id in acks:
            numbered_ns = _numbered_ns(history, event.event_id) + evidence.skew_ns
            found.append((max(acks[request_id], numbered_ns), event.event_id))
    return found


def _numbered_ns(history: RunHistory, event_id: int) -> int:
    """When a signal got its id at the latest: at once, or when the workflow task that was started then ended.

    After a failed task comes one that is not in history; how that ended shows in the next one that is.
    """
    ended = None
    for event in history.of("WORKFLOW_TASK_SCHEDULED", *_TASK_ENDS):
        if event.event_id < event_id:
            ended = event
        elif ended is not None and ended.event_type in _MAY_REPEAT:
            return time_of(event)
    if ended is not None and ended.event_type in _MAY_REPEAT:
        return history.close_ns or 2**63
    return time_of(ended) if ended is not None else 0


def replay_equals_live(evidence: Evidence) -> Iterator[Violation]:
    """5: the state rebuilt from the log is the live state."""
    for difference in evidence.replays:
        yield Violation(5, "replay", difference)


def times_go_on(evidence: Evidence) -> Iterator[Violation]:
    """6: times of workflow-task and close events never go backwards."""
    for history in evidence.histories:
        newest = 0
        for event in history.events:
            if event.event_type not in _ORDERED:
                continue
            if time_of(event) + evidence.skew_ns < newest:
                yield Violation(6, history.name, f"event {event.event_id} is older than one before it")
            newest = max(newest, time_of(event))


def rising_task_ids(evidence: Evidence) -> Iterator[Violation]:
    """28, as far as readers see it: an event's task id is higher than those before it."""
    for history in evidence.histories:
        ids = [event.task_id for event in history.events]
        if any(later <= earlier for earlier, later in pairwise(ids)):
            yield Violation(28, history.name, "task ids don't rise")
