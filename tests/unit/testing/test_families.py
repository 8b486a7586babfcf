"""The rules of successors, children, calls between workflows and updates: each has a mutation that breaks it alone."""

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Meta, Request

from perdure.testing.checkers import families, signals, updates
from perdure.testing.checkers.evidence import STATUS_OF, Evidence, RunHistory, Violation
from perdure.testing.checkers.workflow_tasks import attributes_of
from perdure.testing.oplog import Kind, Outcome
from tests.unit.testing.story import event, header, operation

RULES = (
    families.one_successor,
    families.children_once,
    families.calls_between_workflows,
    signals.signals_once,
    updates.one_outcome,
    updates.one_execution,
)
MUTATIONS: list[tuple[int, Callable[[Evidence], None]]] = []
PARENT, CHILD, HEIR = "run-parent", "run-child", "run-heir"


def breaks(rule: int) -> Callable[[Callable[[Evidence], None]], Callable[[Evidence], None]]:
    def register(mutate: Callable[[Evidence], None]) -> Callable[[Evidence], None]:
        MUTATIONS.append((rule, mutate))
        return mutate

    return register


def execution(run_id: str) -> WorkflowExecution:
    return WorkflowExecution(workflow_id="wf", run_id=run_id)


def history(workflow_id: str, run_id: str, events: list[HistoryEvent]) -> RunHistory:
    status = next((STATUS_OF[e.event_type] for e in events if e.event_type in STATUS_OF), 1)
    return RunHistory("ns", workflow_id, run_id, events, len(events), status)


def parent() -> list[HistoryEvent]:
    """It starts a child, signals it and runs an update; the child continues as new and completes."""
    child = {"initiated_event_id": 2, "workflow_execution": execution(CHILD)}
    request = Request(meta=Meta(update_id="u"))
    return [
        event(1, 0, "WORKFLOW_EXECUTION_STARTED", first_execution_run_id=PARENT),
        event(2, 1, "START_CHILD_WORKFLOW_EXECUTION_INITIATED", workflow_id="child"),
        event(3, 2, "CHILD_WORKFLOW_EXECUTION_STARTED", **child),
        event(4, 3, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED", header=header("parent/0")),
        event(5, 4, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", initiated_event_id=4),
        event(6, 4, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED", accepted_request=request),
        event(7, 5, "WORKFLOW_EXECUTION_UPDATE_COMPLETED", meta=Meta(update_id="u"), accepted_event_id=6),
        event(8, 6, "CHILD_WORKFLOW_EXECUTION_COMPLETED", started_event_id=3, **child),
    ]


def begun(run_id: str, continued: str = "") -> HistoryEvent:
    return event(
        1,
        2,
        "WORKFLOW_EXECUTION_STARTED",
        first_execution_run_id=CHILD,
        original_execution_run_id=run_id,
        continued_execution_run_id=continued,
        parent_workflow_execution=execution(PARENT),
        parent_initiated_event_id=2,
    )


def story() -> Evidence:
    child = [
        begun(CHILD),
        event(2, 3, "WORKFLOW_EXECUTION_SIGNALED", header=header("parent/0")),
        event(3, 4, "WORKFLOW_EXECUTION_CONTINUED_AS_NEW", new_execution_run_id=HEIR),
    ]
    heir = [begun(HEIR, continued=CHILD), event(2, 5, "WORKFLOW_EXECUTION_COMPLETED")]
    reply = {"update_id": "u", "stage": "completed", "outcome": "digest"}
    return Evidence(
        ops=[
            operation(0, Kind.UPDATE, 3, 5, run_id=PARENT, reply=reply),
            operation(1, Kind.UPDATE, 6, 7, run_id=PARENT, reply=dict(reply)),
            operation(2, Kind.UPDATE, 6, 7, run_id=PARENT, reply={"update_id": "v", "stage": "rejected"}),
        ],
        histories=[
            history("parent", PARENT, parent()),
            history("child", CHILD, child),
            history("child", HEIR, heir),
        ],
    )


def told(evidence: Evidence, event_id: int, run: int = 0) -> Any:
    return attributes_of(evidence.histories[run].events[event_id - 1])


@breaks(19)
def the_successor_is_missing(evidence: Evidence) -> None:
    del evidence.histories[2]


@breaks(19)
def a_second_successor(evidence: Evidence) -> None:
    again = [begun("run-other", continued=CHILD), event(2, 5, "WORKFLOW_EXECUTION_COMPLETED")]
    evidence.histories.append(history("child", "run-other", again))


@breaks(19)
def a_successor_of_nobody(evidence: Evidence) -> None:
    orphan = [event(1, 9, "WORKFLOW_EXECUTION_STARTED", continued_execution_run_id="run-gone")]
    evidence.histories.append(history("other", "run-orphan", orphan))


@breaks(19)
def the_chain_has_another_first_run(evidence: Evidence) -> None:
    told(evidence, 1, run=2).first_execution_run_id = HEIR


@breaks(19)
def continued_as_nothing(evidence: Evidence) -> None:
    told(evidence, 3, run=1).new_execution_run_id = ""
    told(evidence, 1, run=2).continued_execution_run_id = ""
    told(evidence, 1, run=2).parent_initiated_event_id = 0
    told(evidence, 1, run=2).ClearField("parent_workflow_execution")
    evidence.histories[0].events.pop()


@breaks(20)
def the_child_is_begun_twice(evidence: Evidence) -> None:
    evidence.histories.append(history("child", "run-twin", [begun("run-twin")]))


@breaks(20)
def the_child_is_told_to_have_begun_twice(evidence: Evidence) -> None:
    child = {"initiated_event_id": 2, "workflow_execution": execution(CHILD)}
    evidence.histories[0].events.append(event(9, 7, "CHILD_WORKFLOW_EXECUTION_STARTED", **child))


@breaks(20)
def the_child_ends_twice(evidence: Evidence) -> None:
    evidence.histories[0].events.append(event(9, 7, "CHILD_WORKFLOW_EXECUTION_FAILED", initiated_event_id=2))


@breaks(20)
def the_child_ends_before_it_begins(evidence: Evidence) -> None:
    events = evidence.histories[0].events
    events[2], events[7] = events[7], events[2]


@breaks(20)
def the_child_that_began_is_not_there(evidence: Evidence) -> None:
    told(evidence, 3).workflow_execution.run_id = "run-gone"


@breaks(20)
def the_child_that_could_not_be_started_is_there(evidence: Evidence) -> None:
    evidence.histories[0].events[2:3] = [event(3, 2, "START_CHILD_WORKFLOW_EXECUTION_FAILED", initiated_event_id=2)]
    evidence.histories[0].events.pop()


@breaks(20)
def the_child_ended_otherwise(evidence: Evidence) -> None:
    failed = event(8, 6, "CHILD_WORKFLOW_EXECUTION_FAILED", initiated_event_id=2)
    evidence.histories[0].events[7] = failed


@breaks(20)
def the_open_parent_is_not_told(evidence: Evidence) -> None:
    evidence.histories[0].events.pop()


@breaks(20)
def a_child_that_no_event_began(evidence: Evidence) -> None:
    stray = begun("run-stray")
    stray.workflow_execution_started_event_attributes.parent_initiated_event_id = 5
    evidence.histories.append(history("stray", "run-stray", [stray]))


@breaks(20)
def a_report_of_nothing_initiated(evidence: Evidence) -> None:
    evidence.histories[0].events.append(event(9, 7, "CHILD_WORKFLOW_EXECUTION_CANCELED", initiated_event_id=4))


@breaks(12)
def a_signal_between_workflows_comes_twice(evidence: Evidence) -> None:
    evidence.histories[2].events.insert(1, event(2, 5, "WORKFLOW_EXECUTION_SIGNALED", header=header("parent/0")))


@breaks(12)
def a_signal_between_workflows_is_lost(evidence: Evidence) -> None:
    del evidence.histories[1].events[1]


@breaks(12)
def a_failed_signal_between_workflows_arrives(evidence: Evidence) -> None:
    failed = event(5, 4, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", initiated_event_id=4)
    evidence.histories[0].events[4] = failed


@breaks(12)
def a_signal_that_no_workflow_sent(evidence: Evidence) -> None:
    told(evidence, 2, run=1).header.CopyFrom(header("parent/1"))
    del evidence.histories[0].events[3:5]


@breaks(14)
def two_outcomes_of_one_update(evidence: Evidence) -> None:
    evidence.ops[1].reply["outcome"] = "another"


@breaks(14)
def an_accepted_update_left_no_event(evidence: Evidence) -> None:
    del evidence.histories[0].events[5:7]


@breaks(14)
def a_rejected_update_left_an_event(evidence: Evidence) -> None:
    evidence.ops[2].reply["update_id"] = "u"


@breaks(15)
def an_update_is_accepted_twice(evidence: Evidence) -> None:
    evidence.ops = []
    evidence.histories[0].events.append(evidence.histories[0].events[5])


@breaks(15)
def an_update_is_completed_twice(evidence: Evidence) -> None:
    evidence.histories[0].events.append(evidence.histories[0].events[6])


def broken(evidence: Evidence) -> list[Violation]:
    return [violation for rule in RULES for violation in rule(evidence)]


def test_the_story_breaks_nothing() -> None:
    assert broken(story()) == []


@pytest.mark.parametrize(("rule", "mutate"), MUTATIONS, ids=[mutate.__name__ for _, mutate in MUTATIONS])
def test_a_mutation_breaks_its_rule(rule: int, mutate: Callable[[Evidence], None]) -> None:
    evidence = story()
    mutate(evidence)
    assert {violation.rule for violation in broken(evidence)} == {rule}


def test_an_update_whose_outcome_nobody_knows_proves_nothing() -> None:
    evidence = story()
    evidence.ops[1].reply["outcome"] = "another"
    evidence.ops[1].outcome = Outcome.UNKNOWN
    assert broken(evidence) == []
