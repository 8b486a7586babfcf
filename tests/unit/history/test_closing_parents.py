"""What becomes of children whose parent closes, and of runs that owe something to others when they are to go."""

from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.evolve import attributes_of
from perdure.workflow.requests import DeleteRun, Describe
from perdure.workflow.tasks import TimerKind
from tests.transcripts.scenarios import command, done, start, terminate
from tests.transcripts.stage import DAY_NS
from tests.unit.history.family import Family, complete, family, start_child

ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
TERMINATE = ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE
REQUEST_CANCEL = ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL
ENDS: dict[int, list[str]] = {ABANDON: [], TERMINATE: ["TERMINATED"], REQUEST_CANCEL: ["CANCEL_REQUESTED"]}


def with_child(policy: int = TERMINATE, **start_fields: Any) -> Family:
    """A parent with a child that runs."""
    found = Family()
    found["parent"].do(start(**start_fields))
    complete(found, "parent", start_child(parent_close_policy=policy))
    found.settle()
    return found


def close_by(found: Family, way: str | Command) -> None:
    if isinstance(way, Command):
        complete(found, "parent", way)
    elif way == "terminate":
        found["parent"].do(terminate())
    elif way == "delete":
        found["parent"].do(DeleteRun(""))
    else:
        found["parent"].advance(60)


@pytest.mark.parametrize("policy", [ABANDON, TERMINATE, REQUEST_CANCEL])
@pytest.mark.parametrize(
    "way",
    [
        done(),
        command("FAIL_WORKFLOW_EXECUTION", failure=Failure(message="no")),
        command("CANCEL_WORKFLOW_EXECUTION"),
        command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"),
        "terminate",
        "time out",
        "delete",
    ],
)
def test_every_close_applies_the_policies(way: str | Command, policy: int) -> None:
    found = with_child(policy, workflow_run_timeout=to_duration(60 * SECOND_NS))
    run_id = found.current("parent").run_id
    close_by(found, way)
    found.settle()
    assert found.names("child") == ["STARTED", *ENDS[policy]]
    if policy == TERMINATE:
        ended = attributes_of(found.history("child")[-1])
        assert (ended.reason, ended.identity) == ("by parent close policy", "history-service")
    if policy == REQUEST_CANCEL:
        asked = attributes_of(found.history("child")[-1])
        assert asked.external_workflow_execution.workflow_id == "parent"
        assert asked.external_workflow_execution.run_id == run_id
        assert (asked.external_initiated_event_id, asked.identity) == (0, "history-service")


@pytest.mark.parametrize("way", ["dropped", "lost"])
@pytest.mark.parametrize("step", ["PlanErrand", "Terminate", "RequestCancel", "ErrandDone"])
def test_policies_are_applied_though_a_step_is_repeated(step: str, way: str) -> None:
    found = family(
        start_child("a", parent_close_policy=TERMINATE),
        start_child("b", parent_close_policy=REQUEST_CANCEL),
        start_child("c", parent_close_policy=ABANDON),
    )
    found.settle()
    found["parent"].do(terminate())
    getattr(found, way).append(step)
    found.settle()
    assert [found.names(child) for child in "abc"] == [
        ["STARTED", "TERMINATED"],
        ["STARTED", "CANCEL_REQUESTED"],
        ["STARTED"],
    ]


def test_a_child_that_can_t_be_reached_keeps_none_of_the_others() -> None:
    children = [f"child {number}" for number in range(60)]
    found = family(*map(start_child, children))
    found.settle()
    found["parent"].do(terminate())
    found.dropped.append("Terminate")
    found.run(TimerKind.CHILDREN_CLOSE)
    assert [child for child in children if found.current(child).is_open] == children[:1]
    found.settle()
    assert not any(found.current(child).is_open for child in children)


def test_a_child_in_its_next_run_is_ended_too() -> None:
    found = with_child()
    complete(found, "child", command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"))
    found["parent"].do(terminate())
    found.settle()
    assert found.names("child") == ["STARTED", "TERMINATED"]


@pytest.mark.parametrize("policy", [TERMINATE, REQUEST_CANCEL])
def test_a_stranger_in_the_place_of_a_child_is_left_alone(policy: int) -> None:
    found = with_child(policy)
    found.dropped.append("RecordChildClosed")
    found["child"].do(terminate())
    found.run(TimerKind.PARENT_REPORT)
    found["child"].do(start("stranger"))
    found["parent"].do(terminate())
    found.settle()
    assert found.names("child") == ["STARTED"]
    assert found.current("child").is_open


def test_a_grandchild_ends_with_its_grandparent() -> None:
    found = with_child()
    complete(found, "child", start_child("grandchild"))
    found.settle()
    found["parent"].do(terminate())
    found.settle()
    assert found.names("grandchild") == ["STARTED", "TERMINATED"]


def test_an_end_that_finds_no_parent_is_told_nobody() -> None:
    found = with_child(ABANDON)
    found["parent"].do(DeleteRun(""))
    found["parent"].advance(1)
    complete(found, "child", done())
    found.settle()
    assert found["parent"].chain.runs == {}
    assert found.current("child").durable.parent_told


def test_a_deleted_run_goes_when_its_errands_are_done() -> None:
    found = with_child()
    found["child"].do(DeleteRun(""))
    found["child"].do(DeleteRun(""))
    found["child"].advance(1)
    assert found.names("child") == ["STARTED", "TERMINATED"]
    found.settle()
    assert found.names("parent") == ["STARTED", "START_CHILD_INITIATED", "CHILD_STARTED", "CHILD_TERMINATED"]
    found["child"].advance(0)
    assert found["child"].chain.runs == {}
    assert found["child"].chain.current is None


def test_retention_waits_for_errands() -> None:
    found = with_child()
    found["parent"].do(terminate())
    found["parent"].advance(4 * DAY_NS / SECOND_NS)
    assert found["parent"].chain.runs
    found.settle()
    assert found.names("child") == ["STARTED", "TERMINATED"]
    found["parent"].advance(0)
    assert not found["parent"].chain.runs


def test_what_is_pending_is_shown() -> None:
    found = family(start_child(parent_close_policy=ABANDON))
    (pending,) = found["parent"].do(Describe(DescribeWorkflowExecutionRequest())).pending_children
    assert (pending.workflow_id, pending.run_id, pending.initiated_id) == ("child", "", 5)
    assert (pending.workflow_type_name, pending.parent_close_policy) == ("flow", ABANDON)
    found.settle()
    (pending,) = found["parent"].do(Describe(DescribeWorkflowExecutionRequest())).pending_children
    assert pending.run_id == found.current("child").run_id
    shown = found["child"].do(Describe(DescribeWorkflowExecutionRequest())).workflow_execution_info
    assert (shown.parent_execution.workflow_id, shown.parent_namespace_id) == ("parent", "ns")
    assert shown.root_execution.run_id == found.current("parent").run_id
