"""Rules 17, 18, 30 and 31: which runs there are, which is current, and what lists show of them."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from temporalio.api.enums.v1 import WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy

from perdure.testing.checkers.evidence import STATUS_OF, Evidence, Row, RunHistory, Violation
from perdure.testing.oplog import Kind, Op, Outcome

_FAILED_ONLY = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
_REJECT = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
_TERMINATE = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
_COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
_RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
_FOREVER = 2**63


def one_open_run(evidence: Evidence) -> Iterator[Violation]:
    """17: the runs of an id follow one another, and the current-run pointer names the newest."""
    for (namespace, workflow_id), runs in evidence.chains.items():
        for before, after in pairwise(runs):
            if after.start_ns + evidence.skew_ns < (before.close_ns or _FOREVER):
                yield Violation(17, before.name, f"was open when {after.run_id[-8:]} began")
        pointer = evidence.pointers.get((namespace, workflow_id))
        if pointer in evidence.runs and pointer != runs[-1].run_id and len(runs) > 1:
            yield Violation(17, f"{namespace}/{workflow_id}", f"current is {pointer[-8:]}, not the newest run")


def one_run_per_start(evidence: Evidence) -> Iterator[Violation]:
    """18: a start's request id makes one run while that is the current one; a refused start makes none."""
    made: dict[str, list[RunHistory]] = defaultdict(list)
    for history in evidence.histories:
        made[history.start_request_id].append(history)
    by_request: dict[str, list[Op]] = defaultdict(list)
    for op in evidence.of(Kind.START):
        by_request[op.request_id].append(op)
    for request_id, ops in by_request.items():
        runs = made.get(request_id, [])
        if len(runs) > 1 and _adjacent(evidence, runs):
            yield Violation(18, runs[0].name, f"the start {request_id} made {len(runs)} runs")
        for op in ops:
            run_id = op.reply.get("run_id", "")
            if op.refused_as == "WorkflowAlreadyStarted" and any(run.run_id in op.error for run in runs):
                yield Violation(18, op.workflow_id, f"the start {request_id} was refused for the run that it made")
            if op.ok and run_id not in evidence.runs:
                yield Violation(18, op.workflow_id, f"the acknowledged start {request_id} has no run {run_id[-8:]}")
            elif op.ok and op.reply.get("started") and runs and run_id not in {run.run_id for run in runs}:
                yield Violation(18, op.workflow_id, f"the start {request_id} was told another run than it made")
        if runs and all(op.outcome is Outcome.FAIL and not evidence.is_excused(op) for op in ops):
            yield Violation(18, runs[0].name, f"the refused start {request_id} made a run")


def _adjacent(evidence: Evidence, runs: list[RunHistory]) -> bool:
    """True if two of these runs follow one another with none in between but those that followed the former by
    themselves: its chain was still the current one.
    """
    chain = [run.run_id for run in evidence.chains[runs[0].namespace, runs[0].workflow_id] if not run.continues]
    places = sorted(chain.index(run.run_id) for run in runs)
    return any(later - earlier == 1 for earlier, later in pairwise(places))


def policies_hold(evidence: Evidence) -> Iterator[Violation]:
    """18: the reuse and conflict policies hold for each run and its predecessor, and refusals have a reason."""
    starts = {op.request_id: op for op in evidence.of(Kind.START)}
    for runs in evidence.chains.values():
        for before, after in pairwise(runs):
            op = starts.get(after.start_request_id)
            if op is None:
                continue
            reuse, status = op.args.get("reuse", 0), before.status
            terminated = op.args.get("conflict") == _TERMINATE and list(before.of("WORKFLOW_EXECUTION_TERMINATED"))
            if reuse == _REJECT and not terminated:
                yield Violation(18, after.name, "began though its start rejects duplicates")
            if reuse == _FAILED_ONLY and status == _COMPLETED:
                yield Violation(18, after.name, "began though the run before it completed")
    for op in evidence.of(Kind.START):
        if op.refused_as == "WorkflowAlreadyStarted":
            runs = evidence.chains.get((op.namespace, op.workflow_id), [])
            if not any(run.start_ns <= op.returned_ns + evidence.skew_ns for run in runs):
                yield Violation(18, op.workflow_id, f"the start {op.request_id} was refused for a run that isn't there")


def pointers_and_runs(evidence: Evidence) -> Iterator[Violation]:
    """30: a current-run pointer names a run that is there, every id with runs has one, and deletion leaves nothing."""
    for orphan in evidence.orphans:
        yield Violation(30, "orphan", orphan)
    for (namespace, workflow_id), run_id in evidence.pointers.items():
        if run_id and run_id not in evidence.runs:
            yield Violation(30, f"{namespace}/{workflow_id}", f"current is {run_id[-8:]}, which has no history")
    for namespace, workflow_id in evidence.chains:
        if not evidence.pointers.get((namespace, workflow_id)):
            yield Violation(30, f"{namespace}/{workflow_id}", "there are runs, but none is current")


def lists_agree(evidence: Evidence) -> Iterator[Violation]:
    """31: lists and counts show what histories say, once there was time."""
    expected = {history.run_id: _row(history) for history in evidence.histories}
    shown: dict[str, Row] = {}
    for row in evidence.rows:
        if row.run_id in shown:
            yield Violation(31, row.workflow_id, f"the run {row.run_id[-8:]} is listed twice")
        shown[row.run_id] = row
    for run_id in sorted(expected.keys() | shown.keys()):
        if expected.get(run_id) != shown.get(run_id):
            yield Violation(31, run_id[-8:], f"listed as {shown.get(run_id)}, history says {expected.get(run_id)}")
    totals: dict[str, int] = defaultdict(int)
    for history in evidence.histories:
        totals[history.namespace] += 1
    for namespace, count in evidence.counts.items():
        if totals[namespace] != count:
            yield Violation(31, namespace, f"counted {count} runs, there are {totals[namespace]}")


def _row(history: RunHistory) -> Row:
    terminal = history.terminal
    status = STATUS_OF[terminal.event_type] if terminal is not None else _RUNNING
    return Row(history.namespace, history.workflow_id, history.run_id, status, history.start_ns, history.close_ns or 0)
