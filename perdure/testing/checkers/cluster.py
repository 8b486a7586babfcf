"""Rules 26, 27, 29, 32 and 33: the cluster as a whole. It goes on, it fences, it forgets nothing, it keeps apart."""

from collections.abc import Iterator

from perdure.testing.checkers.evidence import Evidence, Violation
from perdure.testing.oplog import Kind


def everything_settles(evidence: Evidence) -> Iterator[Violation]:
    """26: some time after the last fault everything that was due is done, and every call has returned."""
    for what in evidence.unsettled:
        yield Violation(26, "liveness", what)


def epochs_rise(evidence: Evidence) -> Iterator[Violation]:
    """27: a shard's groups have rising numbers, without a gap under one epoch, and epochs never fall."""
    newest: dict[str, tuple[int, int]] = {}
    for commit in evidence.commits:
        epoch, n = newest.get(commit.shard, (0, commit.n - 1))
        if commit.epoch < epoch:
            yield Violation(27, commit.shard, f"group {commit.n} under epoch {commit.epoch} after {epoch}")
        elif commit.n <= n or (commit.epoch == epoch and commit.n != n + 1):
            yield Violation(27, commit.shard, f"group {commit.n} after {n}")
        newest[commit.shard] = max(epoch, commit.epoch), commit.n


def one_owner(evidence: Evidence) -> Iterator[Violation]:
    """27: nobody answers for a shard that another has."""
    for what in evidence.doubled:
        yield Violation(27, "owners", what)


def every_task_was_executed(evidence: Evidence) -> Iterator[Violation]:
    """29: nothing is outstanding when there is nothing left to do."""
    for what in evidence.leftovers:
        yield Violation(29, "tasks", what)


def namespaces_apart(evidence: Evidence) -> Iterator[Violation]:
    """32: a call in one namespace neither shows nor changes anything of another."""
    for op in evidence.ops:
        if op.foreign and op.ok:
            yield Violation(32, op.namespace, f"{op.kind} {op.identity} reached into another namespace")
    for op in evidence.of(Kind.LIST):
        for workflow_id, run_id, _ in op.reply.get("rows", ()):
            history = evidence.runs.get(run_id)
            if history is not None and history.namespace != op.namespace:
                yield Violation(32, op.namespace, f"{op.identity} listed {workflow_id} of {history.namespace}")


def restart_loses_nothing(evidence: Evidence) -> Iterator[Violation]:
    """33: after everything was restarted every history is still there, as long as it was."""
    if evidence.rereads is None:
        return
    again = {history.run_id: history for history in evidence.rereads}
    for history in evidence.histories:
        after = again.get(history.run_id)
        if after is None:
            yield Violation(33, history.name, "is gone after the restart")
        elif len(after.events) < len(history.events):
            yield Violation(33, history.name, f"has lost events after {len(after.events)} with the restart")
