"""The pieces of chaos that need no process: faults drawn from a seed, quantiles, judgements, errors by status."""

import itertools
from collections import Counter

import orjson
import pytest
from temporalio.api.errordetails.v1 import message_pb2 as details

from perdure.base.errors import Bug, NotFound, OperationAborted, OperationsFailed, Unavailable, WorkflowAlreadyStarted
from perdure.frontend.routing import MAYBE_DONE
from perdure.testing.oplog import outcome_of
from tests.chaos.judging import (
    Minute,
    Outcome,
    defects_told,
    enough,
    faults_table,
    maybe_done,
    minutes_table,
    stuck,
    unfired,
)
from tests.chaos.nemesis import Healed
from tests.chaos.plan import CUTS, Kind, drawn
from tests.chaos.pulse import Phase, quantile
from tests.chaos.reached import raised
from tests.chaos.stalls import Stalls
from tests.conformance.harness.rpc import CallFailed


def test_a_seed_draws_the_same_faults_and_each_kind_before_any_comes_again() -> None:
    kinds = [kind for kind in Kind if kind not in CUTS]
    first = list(itertools.islice(drawn(1, kinds), 3 * len(kinds)))
    assert first == list(itertools.islice(drawn(1, kinds), 3 * len(kinds)))
    assert first != list(itertools.islice(drawn(2, kinds), 3 * len(kinds)))
    assert set(Counter(fault.kind for fault in first).values()) == {3}
    beside = [fault.beside for fault in first if fault.beside is not None]
    assert beside
    assert {fault.kind for fault in beside} <= {Kind.MOVE, Kind.SPLIT, Kind.MERGE, Kind.CLOCK}


def test_faults_are_only_of_the_kinds_that_are_possible() -> None:
    assert {fault.kind for fault in itertools.islice(drawn(3, [Kind.KILL_NODE]), 5)} == {Kind.KILL_NODE}


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)], ids=["p50", "p99", "max", "min"]
)
def test_quantiles(share: float, wanted: float) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == wanted
    assert quantile([], share) == 0


def test_a_phase_in_one_line() -> None:
    phase = Phase("quiet", [0.01, 0.02], Counter({"UNAVAILABLE": 3}))
    assert phase.line() == "2 starts, p50 10 ms, p99 20 ms, longest 20 ms; failed: UNAVAILABLE 3"


def test_a_run_in_which_nothing_happens_is_a_failed_one() -> None:
    assert len(list(enough(1, {}, []))) > 10
    assert not list(enough(0, {}, []))
    assert unfired(["cut", "kill"], {"kill": 2}) == ["cut never happened"]
    assert stuck([Healed("a kill", 31.0, ["lamp-1"]), Healed("a cut", 1.0, [])]) == ["after a kill: lamp-1"]


def test_who_answers_late_is_told_of_although_it_answers() -> None:
    assert stuck([Healed("a kill", 31.0, [])]) == ["after a kill: everything answered only after 31 s"]
    assert not stuck([Healed("a kill", 29.0, [])])


def test_tables_have_a_line_for_each_kind_and_each_minute() -> None:
    healed = [Healed("x", 3.0, [], (Kind.MOVE, Kind.CLOCK)), Healed("y", 5.0, [], (Kind.MOVE,))]
    lines = faults_table([Kind.MOVE, Kind.SPLIT], {Kind.MOVE: 2}, healed)
    assert lines[1].split() == ["shards", "moved", "2", "3.0", "5.0", "s"]
    assert lines[2].split() == ["shards", "split", "0", "0.0", "0.0", "s"]
    assert minutes_table([Minute(Phase("minute 1", [0.5]), 1.25)]) == [
        "    minute 1: 1 starts, p50 500 ms, p99 500 ms, longest 500 ms; failed: none; stood still 1.2 s"
    ]


def test_stalls_are_those_since_the_last_look_and_of_all() -> None:
    stalls = Stalls()
    stalls.seen(2.0)
    stalls.seen(1.0)
    assert stalls.take() == 2.0
    stalls.seen(0.5)
    assert (stalls.take(), stalls.take(), stalls.longest) == (0.5, 0.0, 2.0)


def test_what_a_process_says_is_a_defect() -> None:
    told = [orjson.dumps({"level": level, "msg": "it happened"}).decode() for level in ("info", "error", "error")]
    errors = "\n".join([*told, "Traceback (most recent call last):", "not JSON", "7"])
    assert defects_told("history-1", errors) == [
        "history-1 logs 'it happened' 2 times",
        "history-1 logs 'a trace' 1 times",
    ]
    assert not defects_told("history-1", told[0])


def test_calls_that_were_repeated_although_they_may_have_been_done_are_in_the_logs_of_frontends() -> None:
    about = {"msg": MAYBE_DONE, "level": "debug", "ts": "2026-01-02T03:04:05.678901Z"}
    lines = [about | {"wf_id": "one"}, about | {"task_queue": "q"}, about | {"msg": "serving", "wf_id": "two"}]
    logged = "\n".join(orjson.dumps(line).decode() for line in lines)
    assert list(maybe_done(f"not JSON\n{logged}\n")) == [("one", 1_767_323_045_678_901_000)]


def test_the_table_counts_findings_that_are_alike() -> None:
    outcome = Outcome(["lost", "lost"], [("faults", "3"), ("calls by the SDK", "7")])
    assert outcome.table() == "faults            3\ncalls by the SDK  7\n2 findings\n  lost (2)"


def test_statuses_become_the_errors_of_the_tree() -> None:
    assert isinstance(raised(CallFailed("m", "NOT_FOUND", "no")), NotFound)
    assert isinstance(raised(CallFailed("m", "INTERNAL", "no")), Bug)
    assert isinstance(raised(CallFailed("m", "CANCELLED", "no")), Unavailable)
    exists = details.WorkflowExecutionAlreadyStartedFailure(start_request_id="r", run_id="run")
    error = raised(CallFailed("m", "ALREADY_EXISTS", "there", (exists,)))
    assert isinstance(error, WorkflowAlreadyStarted)
    assert (error.run_id, "run" in error.message) == ("run", True)
    assert outcome_of(error) == "fail"
    assert outcome_of(raised(CallFailed("m", "DEADLINE_EXCEEDED", "late"))) == "unknown"


def test_what_became_of_operations_that_belong_together() -> None:
    failure = details.MultiOperationExecutionFailure()
    failure.statuses.add().code = 0
    failure.statuses.add().code = 10
    failure.statuses.add(code=5, message="gone")
    error = raised(CallFailed("m", "NOT_FOUND", "no", (failure,)))
    assert isinstance(error, OperationsFailed)
    done, aborted, gone = error.errors
    assert done is None
    assert isinstance(aborted, OperationAborted)
    assert isinstance(gone, NotFound)


def test_a_caller_that_is_gone_is_no_defect() -> None:
    told = {"level": "error", "msg": "ExecuteBatchError raised in core by servicer method [/x/y]"}
    assert not defects_told("frontend-1", orjson.dumps(told).decode())
