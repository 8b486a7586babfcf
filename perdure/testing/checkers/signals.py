"""Rules 12, 13 and 16: signals arrive once and in order, and queries see them."""

from collections.abc import Iterator

from perdure.testing.checkers.evidence import REQUEST_ID, Evidence, Violation
from perdure.testing.checkers.workflow_tasks import buffered_at_close
from perdure.testing.oplog import Kind, Op, Outcome


def _run_of(op: Op) -> str:
    return str(op.reply.get("run_id") or op.run_id)


def signals_once(evidence: Evidence) -> Iterator[Violation]:
    """12: an acknowledged signal is in the history once, an unknown one at most once, a failed one never."""
    places: dict[str, list[str]] = {}
    for history in evidence.histories:
        for request_id, _ in history.signals:
            places.setdefault(request_id, []).append(history.name)
    by_request: dict[str, list[Op]] = {}
    for op in evidence.of(Kind.SIGNAL):
        by_request.setdefault(op.request_id, []).append(op)
    for request_id, ops in by_request.items():
        found = places.get(request_id, [])
        acknowledged = [op for op in ops if op.ok]
        if len(found) > 1 and len(set(found)) < len(found):
            yield Violation(12, found[0], f"the signal {request_id} is there {len(found)} times")
        if acknowledged and not found and not _closed_over(evidence, acknowledged[0]):
            yield Violation(12, ops[0].workflow_id, f"the acknowledged signal {request_id} is nowhere")
        if found and all(op.outcome is Outcome.FAIL and not evidence.is_excused(op) for op in ops):
            yield Violation(12, found[0], f"the refused signal {request_id} is there")
    for request_id in places.keys() - by_request.keys() - _sent_by_workflows(evidence):
        yield Violation(12, places[request_id][0], f"nobody sent the signal {request_id}")


def _sent_by_workflows(evidence: Evidence) -> set[str]:
    """The request ids of the signals that workflows send to one another."""
    return {
        event.signal_external_workflow_execution_initiated_event_attributes.header.fields[REQUEST_ID].data.decode()
        for history in evidence.histories
        for event in history.of("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED")
    }


def _closed_over(evidence: Evidence, op: Op) -> bool:
    """True if the signal was buffered when its run closed: rule 10 says so."""
    history = evidence.runs.get(_run_of(op))
    window = buffered_at_close(history, evidence.skew_ns) if history is not None else None
    return window is not None and window[0] <= op.invoked_ns and op.returned_ns <= window[1]


def signals_in_order(evidence: Evidence) -> Iterator[Violation]:
    """13: one sender's signals stand in the order in which they were acknowledged."""
    for history in evidence.histories:
        position = {request_id: event.event_id for request_id, event in history.signals}
        newest: dict[str, tuple[int, str]] = {}
        seen: set[str] = set()
        for op in evidence.of(Kind.SIGNAL):
            if not op.ok or op.request_id not in position or op.request_id in seen:
                continue
            if _run_of(op) not in ("", history.run_id):
                continue  # a late duplicate of a signal that another run of the id had taken
            seen.add(op.request_id)
            event_id = position[op.request_id]
            before, earlier = newest.get(op.party, (0, ""))
            if event_id < before:
                yield Violation(13, history.name, f"{op.party}'s signal {op.request_id} stands before {earlier}")
            newest[op.party] = max((event_id, op.request_id), (before, earlier))


def queries_see_signals(evidence: Evidence) -> Iterator[Violation]:
    """16: a query's answer reflects every signal that was acknowledged before it was asked."""
    acknowledged: dict[str, list[Op]] = {}
    for op in evidence.of(Kind.SIGNAL):
        if op.ok:
            acknowledged.setdefault(_run_of(op), []).append(op)
    for query in evidence.of(Kind.QUERY):
        if not query.ok or "signals" not in query.reply:
            continue
        for op in acknowledged.get(_run_of(query), ()):
            if op.returned_ns < query.invoked_ns and op.request_id not in query.reply["signals"]:
                yield Violation(16, _run_of(query), f"{query.identity} does not reflect the signal {op.request_id}")
