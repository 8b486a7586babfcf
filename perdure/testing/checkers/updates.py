"""Rules 14 and 15: an update is accepted once, and everybody is told the same outcome."""

from collections import defaultdict
from collections.abc import Iterator

from perdure.testing.checkers.evidence import Evidence, RunHistory, Violation
from perdure.testing.checkers.workflow_tasks import attributes_of
from perdure.testing.oplog import Kind, Op


def _accepted(history: RunHistory) -> dict[str, list[int]]:
    """The ids of the Accepted events of each update."""
    found: dict[str, list[int]] = defaultdict(list)
    for event in history.of("WORKFLOW_EXECUTION_UPDATE_ACCEPTED"):
        attributes = attributes_of(event)
        update_id = attributes.protocol_instance_id or attributes.accepted_request.meta.update_id
        found[update_id].append(event.event_id)
    return found


def one_outcome(evidence: Evidence) -> Iterator[Violation]:
    """14: an accepted update has one Accepted event and one outcome, on every poll; a rejected one leaves no event.

    An operation's reply has `update_id`, `stage` ("admitted", "accepted", "rejected", "completed") and the `outcome`'s
    digest.
    """
    outcomes: dict[tuple[str, str], tuple[int, Op]] = {}
    accepted = {history.run_id: _accepted(history) for history in evidence.histories}
    for op in evidence.of(Kind.UPDATE):
        if not op.ok or op.run_id not in accepted or op.reply["stage"] == "admitted":
            continue
        update, stage = op.reply["update_id"], op.reply["stage"]
        events = accepted[op.run_id].get(update, [])
        if stage == "rejected" and events:
            yield Violation(14, op.run_id, f"the update {update} was rejected, but event {events[0]} is of it")
        if stage != "rejected" and len(events) != 1:
            yield Violation(14, op.run_id, f"the update {update} is {stage} and has the Accepted events {events}")
        if "outcome" in op.reply:
            first, earlier = outcomes.setdefault((op.run_id, update), (op.reply["outcome"], op))
            if first != op.reply["outcome"]:
                yield Violation(14, op.run_id, f"{op.identity} and {earlier.identity} saw two outcomes of {update}")


def one_execution(evidence: Evidence) -> Iterator[Violation]:
    """15: an update id is accepted once in a run, and completed at most once, after that."""
    for history in evidence.histories:
        accepted = _accepted(history)
        for update, events in accepted.items():
            if len(events) > 1:
                yield Violation(15, history.name, f"the update {update} was accepted as {events}")
        completed: set[int] = set()
        for event in history.of("WORKFLOW_EXECUTION_UPDATE_COMPLETED"):
            attributes = attributes_of(event)
            update, at = attributes.meta.update_id, attributes.accepted_event_id
            if at in completed or [at] != accepted.get(update):
                yield Violation(15, history.name, f"event {event.event_id} completes {update}, accepted as {at}")
            completed.add(at)
