"""Each rule has a mutation that breaks it, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import WorkflowIdReusePolicy

from perdure.testing.checkers import check, vacuous
from perdure.testing.checkers.evidence import AttemptSeen, Commit, Evidence, Row, Violation
from perdure.testing.oplog import Kind, Op, Outcome
from tests.unit.testing.story import (
    NEXT_RUN,
    RUN,
    at,
    event,
    first_run,
    header,
    history,
    operation,
    read,
    renumbered,
    reread,
    story,
    timed_out,
)

MUTATIONS: list[tuple[int, Callable[[Evidence], Evidence | None]]] = []


def breaks(rule: int) -> Callable[[Callable[[Evidence], Evidence | None]], Callable[[Evidence], Evidence | None]]:
    def register(mutate: Callable[[Evidence], Evidence | None]) -> Callable[[Evidence], Evidence | None]:
        MUTATIONS.append((rule, mutate))
        return mutate

    return register


def op_of(evidence: Evidence, n: int) -> Op:
    return next(op for op in evidence.ops if op.n == n)


def drop(evidence: Evidence, n: int) -> None:
    evidence.ops = [op for op in evidence.ops if op.n != n]


def change(evidence: Evidence, event_id: int, run: int = 0, **attributes: Any) -> Evidence:
    """Set attributes of an event; every reader saw it like that."""
    changed = evidence.histories[run].events[event_id - 1]
    for key, value in attributes.items():
        target = changed if hasattr(changed, key) else getattr(changed, changed.WhichOneof("attributes") or "")
        if hasattr(value, "DESCRIPTOR"):
            getattr(target, key).CopyFrom(value)
        else:
            setattr(target, key, value)
    return reread(evidence)


@breaks(1)
def event_is_missing(evidence: Evidence) -> Evidence:
    evidence.ops = [op for op in evidence.ops if "digests" not in op.reply]
    del evidence.histories[0].events[11]
    commands = op_of(evidence, 12).args
    commands["commands"] = []
    return reread(evidence)


@breaks(1)
def stored_length_is_another(evidence: Evidence) -> None:
    evidence.histories[0].length += 1


@breaks(2)
def earlier_read_saw_another_event(evidence: Evidence) -> None:
    op_of(evidence, 4).reply["digests"][6] += 1


@breaks(2)
def provisional_event_in_the_middle(evidence: Evidence) -> None:
    op_of(evidence, 5).reply["digests"][7] += 1


@breaks(2)
def other_bytes_after_the_restart(evidence: Evidence) -> None:
    assert evidence.rereads is not None
    evidence.rereads[0].events[3].task_id += 1


@breaks(3)
def event_after_the_end(evidence: Evidence) -> Evidence:
    evidence.histories[0].events.append(event(20, 8, "WORKFLOW_TASK_SCHEDULED"))
    return reread(evidence)


@breaks(3)
def second_start_event(evidence: Evidence) -> Evidence:
    evidence.histories[1].events.insert(2, event(3, 10, "WORKFLOW_EXECUTION_STARTED", header=header("s2")))
    evidence.histories[1].events[3].event_id = 4
    evidence.histories[1].events[3].task_id = 104
    return reread(evidence)


@breaks(4)
def read_goes_back(evidence: Evidence) -> None:
    again = read(evidence.histories[0].events, end=4)
    late = operation(40, Kind.HISTORY, 3.6, 3.7, reply=again)
    evidence.ops = [*evidence.ops, late]


@breaks(4)
def read_is_behind_what_another_one_read(evidence: Evidence) -> None:
    whole = read(evidence.histories[0].events[:8])
    behind = operation(41, Kind.HISTORY, 3.12, 3.15, party="two", reply=read(evidence.histories[0].events, end=6))
    evidence.ops = [*evidence.ops, operation(40, Kind.HISTORY, 3.05, 3.1, party="one", reply=whole), behind]


@breaks(4)
def described_shorter_than_acknowledged(evidence: Evidence) -> None:
    reply = {"run_id": RUN, "status": 1, "length": 3}
    evidence.ops = [*evidence.ops, operation(40, Kind.DESCRIBE, 9, 9.1, party="other", reply=reply)]


@breaks(4)
def acknowledged_run_is_not_found(evidence: Evidence) -> None:
    gone = operation(40, Kind.DESCRIBE, 9, 9.1, run_id=RUN, outcome=Outcome.FAIL, error="NotFound: no such run")
    evidence.ops = [*evidence.ops, gone]


@breaks(4)
def read_misses_an_acknowledged_completion(evidence: Evidence) -> None:
    again = read(evidence.histories[0].events, end=16)
    evidence.ops = [*evidence.ops, operation(40, Kind.HISTORY, 9, 9.1, party="other", reply=again)]


@breaks(4)
def read_misses_an_acknowledged_signal(evidence: Evidence) -> None:
    again = read(evidence.histories[0].events, end=7)
    evidence.ops = [*evidence.ops, operation(40, Kind.HISTORY, 3.3, 3.4, party="other", reply=again)]


@breaks(5)
def replay_gives_another_state(evidence: Evidence) -> None:
    evidence.replays.append("ns/wf: attempts differ")


@breaks(6)
def task_times_go_back(evidence: Evidence) -> Evidence:
    return change(evidence, 8, event_time=first_run()[2].event_time)


@breaks(7)
def two_tasks_outstanding(evidence: Evidence) -> Evidence:
    events = evidence.histories[1].events
    events.insert(2, event(3, 10, "WORKFLOW_TASK_SCHEDULED"))
    events[3].event_id, events[3].task_id = 4, 104
    return reread(evidence)


@breaks(7)
def started_names_another_scheduled(evidence: Evidence) -> Evidence:
    return change(evidence, 10, scheduled_event_id=2)


@breaks(8)
def one_task_completed_twice(evidence: Evidence) -> None:
    first = op_of(evidence, 11)
    again = operation(40, Kind.COMPLETE_WORKFLOW, 2, 2.1, party="worker", args=first.args)
    evidence.ops = [*evidence.ops, again]


@breaks(8)
def refused_completion_left_its_event(evidence: Evidence) -> None:
    op = op_of(evidence, 11)
    op.outcome, op.error = Outcome.FAIL, "NotFound: Workflow task not found."


@breaks(9)
def commands_out_of_order(evidence: Evidence) -> None:
    op_of(evidence, 11).args["commands"].reverse()


@breaks(9)
def command_event_names_no_completed(evidence: Evidence) -> Evidence:
    op_of(evidence, 12).args["commands"] = []
    return change(evidence, 12, workflow_task_completed_event_id=10)


@breaks(10)
def closed_over_a_buffered_signal(evidence: Evidence) -> None:
    evidence.ops = [*evidence.ops, operation(40, Kind.SIGNAL, 7.6, 7.7, request_id="g3", party="other")]


@breaks(11)
def task_started_twice(evidence: Evidence) -> None:
    first = op_of(evidence, 8)
    other = first.reply | {"started": 7, "started_ns": at(1.5)}
    del other["digests"]
    evidence.ops = [*evidence.ops, operation(40, Kind.POLL_WORKFLOW, 1.4, 1.6, party="other", reply=other)]


@breaks(12)
def acknowledged_signal_is_lost(evidence: Evidence) -> None:
    drop(evidence, 3)
    evidence.ops = [*evidence.ops, operation(40, Kind.SIGNAL, 3.3, 3.4, request_id="g3", party="other")]


@breaks(12)
def signal_is_there_twice(evidence: Evidence) -> Evidence:
    op_of(evidence, 3).reply["signals"].append("g2")
    drop(evidence, 1)
    return change(evidence, 7, header=header("g2"))


@breaks(12)
def refused_signal_is_there(evidence: Evidence) -> None:
    op = op_of(evidence, 2)
    op.outcome, op.error = Outcome.FAIL, "NotFound: workflow execution already completed"


@breaks(12)
def signal_that_nobody_sent(evidence: Evidence) -> None:
    drop(evidence, 2)


@breaks(13)
def signals_of_one_sender_change_places(evidence: Evidence) -> Evidence:
    change(evidence, 7, header=header("g2"))
    drop(evidence, 4)
    return change(evidence, 9, header=header("g1"))


@breaks(16)
def query_misses_a_signal(evidence: Evidence) -> None:
    op_of(evidence, 3).reply["signals"].remove("g2")


@breaks(17)
def two_runs_open(evidence: Evidence) -> Evidence:
    for started in evidence.histories[1].events[:2]:
        started.event_time.CopyFrom(event(1, 7, "WORKFLOW_TASK_STARTED").event_time)
    evidence.rows[1] = Row("ns", "wf", NEXT_RUN, 5, at(7), at(12))
    return reread(evidence)


@breaks(17)
def pointer_names_an_old_run(evidence: Evidence) -> None:
    evidence.pointers["ns", "wf"] = RUN


@breaks(18)
def one_start_made_two_runs(evidence: Evidence) -> Evidence:
    drop(evidence, 30)
    return change(evidence, 1, run=1, header=header("s1"))


@breaks(18)
def acknowledged_start_made_no_run(evidence: Evidence) -> None:
    lost = operation(40, Kind.START, 14, 15, request_id="s3", run_id="", reply={"run_id": "gone", "started": True})
    evidence.ops = [*evidence.ops, lost]


@breaks(18)
def refused_start_made_a_run(evidence: Evidence) -> None:
    op = op_of(evidence, 30)
    op.outcome, op.error, op.reply = Outcome.FAIL, "WorkflowAlreadyStarted: it runs", {}


@breaks(18)
def repeated_start_was_refused_for_its_own_run(evidence: Evidence) -> None:
    refused = f"WorkflowAlreadyStarted: it is already running, RunId: {RUN}"
    again = operation(40, Kind.START, 1, 2, request_id="s1", run_id="", outcome=Outcome.FAIL, error=refused)
    evidence.ops = [*evidence.ops, again]


@breaks(18)
def duplicate_was_not_rejected(evidence: Evidence) -> None:
    op_of(evidence, 30).args["reuse"] = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE


@breaks(18)
def refused_for_a_run_that_never_was(evidence: Evidence) -> None:
    refused = operation(
        40, Kind.START, 1, 2, workflow_id="no", outcome=Outcome.FAIL, error="WorkflowAlreadyStarted: it runs"
    )
    evidence.ops = [*evidence.ops, refused]


@breaks(21)
def activity_ends_twice(evidence: Evidence) -> Evidence:
    events = evidence.histories[0].events
    extra = event(12, 4, "ACTIVITY_TASK_FAILED", scheduled_event_id=5, started_event_id=13)
    events[11] = extra
    op_of(evidence, 12).args["commands"] = []
    op_of(evidence, 23).reply["started_ns"] = at(4)
    evidence.ops = [op for op in evidence.ops if op.kind is not Kind.FAIL_ACTIVITY and op.n != 20]
    return reread(evidence)


@breaks(21)
def activity_end_names_another_start(evidence: Evidence) -> Evidence:
    return change(evidence, 14, started_event_id=12)


@breaks(22)
def dispatched_after_its_end(evidence: Evidence) -> Evidence:
    task = op_of(evidence, 23).reply | {"attempt": 3, "started_ns": at(7.1)}
    evidence.ops = [*evidence.ops, operation(40, Kind.POLL_ACTIVITY, 7, 20, party="worker", reply=task)]
    evidence.histories[0].events[4].activity_task_scheduled_event_attributes.start_to_close_timeout.CopyFrom(
        Duration(nanos=1)
    )
    evidence.histories[0].events[4].activity_task_scheduled_event_attributes.retry_policy.initial_interval.CopyFrom(
        Duration(nanos=1)
    )
    return reread(evidence)


@breaks(22)
def accepted_completion_ended_nothing(evidence: Evidence) -> None:
    late = operation(40, Kind.COMPLETE_ACTIVITY, 6.5, 6.6, party="worker", args=op_of(evidence, 24).args)
    evidence.ops = [*evidence.ops, late]


@breaks(23)
def attempt_delivered_twice(evidence: Evidence) -> None:
    again = operation(40, Kind.POLL_ACTIVITY, 5, 6, party="other", reply=op_of(evidence, 23).reply)
    evidence.ops = [*evidence.ops, again]


@breaks(23)
def attempts_have_a_gap(evidence: Evidence) -> None:
    evidence.attempts.append(AttemptSeen(RUN, 5, 4, 0))


@breaks(23)
def more_attempts_than_allowed(evidence: Evidence) -> Evidence:
    change(evidence, 5)
    scheduled = evidence.histories[0].events[4].activity_task_scheduled_event_attributes
    scheduled.retry_policy.maximum_attempts = 1
    return reread(evidence)


@breaks(23)
def attempt_before_its_backoff(evidence: Evidence) -> None:
    op_of(evidence, 23).reply["started_ns"] = at(5.3)


@breaks(24)
def heartbeat_is_forgotten(evidence: Evidence) -> None:
    op_of(evidence, 23).reply["heartbeat"] = ""


@breaks(24)
def refused_heartbeat_is_delivered(evidence: Evidence) -> None:
    op = op_of(evidence, 21)
    op.outcome, op.error = Outcome.FAIL, "NotFound: the attempt is over"


@breaks(25)
def timer_fires_early(evidence: Evidence) -> Evidence:
    return change(evidence, 16, event_time=event(1, 6.9, "WORKFLOW_TASK_STARTED").event_time)


@breaks(25)
def timer_fires_twice(evidence: Evidence) -> Evidence:
    events = evidence.histories[0].events
    events[11] = event(12, 7, "TIMER_FIRED", timer_id="t", started_event_id=6)
    op_of(evidence, 12).args["commands"] = []
    return reread(evidence)


@breaks(25)
def workflow_task_times_out_early(evidence: Evidence) -> Evidence:
    events = evidence.histories[0].events
    events[10:12] = [timed_out(11, 4)]
    evidence.ops = [op for op in evidence.ops if op.n not in (4, 5, 8, 9, 10, 12, 13, 23, 24)]
    moved = {event_id: event_id - 1 for event_id in range(13, 20)}
    for later in events[11:]:
        attributes = getattr(later, later.WhichOneof("attributes") or "")
        for field in ("started_event_id", "scheduled_event_id", "workflow_task_completed_event_id"):
            if getattr(attributes, field, 0) in moved:
                setattr(attributes, field, moved[getattr(attributes, field)])
    evidence.histories[0].events = renumbered(events, moved)
    return reread(evidence)


@breaks(26)
def run_is_not_finished(evidence: Evidence) -> None:
    evidence.unsettled.append("ns/wf is open 60 s after the last fault")


@breaks(27)
def former_owner_commits(evidence: Evidence) -> None:
    evidence.commits.append(Commit("shard", 1, 1, 4))


@breaks(27)
def group_is_missing(evidence: Evidence) -> None:
    evidence.commits[1] = Commit("shard", 1, 1, 3)
    del evidence.commits[2]


@breaks(28)
def task_ids_repeat(evidence: Evidence) -> Evidence:
    return change(evidence, 9, task_id=101)


@breaks(29)
def task_is_left_over(evidence: Evidence) -> None:
    evidence.leftovers.append("an offer of ns/wf")


@breaks(30)
def pointer_names_nothing(evidence: Evidence) -> None:
    evidence.pointers["ns", "other"] = "gone"


@breaks(30)
def deletion_leaves_something(evidence: Evidence) -> None:
    evidence.orphans.append("a row of a timer")


@breaks(30)
def no_run_is_current(evidence: Evidence) -> None:
    evidence.pointers.clear()


@breaks(31)
def list_shows_another_status(evidence: Evidence) -> None:
    evidence.rows[0] = Row("ns", "wf", RUN, 1, at(0), 0)


@breaks(31)
def list_misses_a_run(evidence: Evidence) -> None:
    del evidence.rows[0]


@breaks(31)
def count_is_wrong(evidence: Evidence) -> None:
    evidence.counts["ns"] = 3


@breaks(32)
def foreign_token_accepted(evidence: Evidence) -> None:
    evidence.ops = [*evidence.ops, operation(40, Kind.DESCRIBE, 5, 6, namespace="other", foreign=True)]


@breaks(32)
def list_shows_a_foreign_run(evidence: Evidence) -> None:
    op_of(evidence, 6).namespace = "other"


@breaks(33)
def run_is_gone_after_the_restart(evidence: Evidence) -> None:
    assert evidence.rereads is not None
    del evidence.rereads[0]


@breaks(33)
def events_are_gone_after_the_restart(evidence: Evidence) -> None:
    assert evidence.rereads is not None
    evidence.rereads[0] = history(RUN, first_run()[:-1])


def test_a_sound_run_breaks_no_rule() -> None:
    assert check(story()) == []


@pytest.mark.parametrize(("rule", "mutate"), MUTATIONS, ids=[f"{r}-{m.__name__}" for r, m in MUTATIONS])
def test_a_mutation_breaks_its_rule_only(rule: int, mutate: Callable[[Evidence], Evidence | None]) -> None:
    evidence = story()
    found = check(mutate(evidence) or evidence)
    assert {violation.rule for violation in found} == {rule}, found


@pytest.mark.parametrize(
    ("mutate", "lost_s"), [(refused_completion_left_its_event, 1.5), (refused_heartbeat_is_delivered, 3.25)]
)
def test_what_was_told_of_a_lost_reply_is_excused(mutate: Callable[[Evidence], None], lost_s: float) -> None:
    evidence = story()
    mutate(evidence)
    evidence.replies_lost.append(("wf", at(lost_s)))
    assert check(evidence) == []


def test_unknown_outcomes_may_have_happened_or_not() -> None:
    evidence = story()
    op_of(evidence, 1).outcome = Outcome.UNKNOWN
    never = operation(40, Kind.SIGNAL, 3.3, 3.4, request_id="g3", party="other", outcome=Outcome.UNKNOWN)
    evidence.ops = [*evidence.ops, never]
    assert check(evidence) == []


def test_a_run_that_did_too_little_is_vacuous() -> None:
    evidence = story()
    assert list(vacuous(evidence, {Kind.SIGNAL: 2}, {"crash": 1})) == []
    found = list(vacuous(evidence, {Kind.SIGNAL: 3, Kind.CANCEL: 1}, {"crash": 2}))
    assert [violation.rule for violation in found] == [0, 0, 0]
    assert isinstance(found[0], Violation)
