"""Children of a parent that is reset: they are the new run's, whatever was under way, and each is started once."""

from typing import Any

import pytest
from temporalio.api.enums.v1 import ParentClosePolicy

from perdure.workflow.requests import Claim, EarlierRun, RecordChildStarted
from perdure.workflow.state import Chain
from perdure.workflow.tasks import TimerKind
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import command, done, start
from tests.unit.history.family import Family, complete, family, start_child

ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON


def initiated(**fields: Any) -> Family:
    """A parent that has initiated a child (event 5), and whose next task (6, 7) is done; nothing came of it yet."""
    found = Family()
    parent = found["parent"]
    parent.do(start())
    parent.poll()
    parent.complete(start_child(**fields), force_create_new_workflow_task=True)
    parent.poll()
    parent.complete(command("RECORD_MARKER", marker_name="m"))
    return found


def runs_of(found: Family, workflow_id: str) -> int:
    """How many runs a workflow id has."""
    return len(found[workflow_id].chain.runs)


def test_a_child_of_before_the_point_is_started_by_the_new_run() -> None:
    found = initiated()
    reset(found["parent"], 8)
    found.settle()
    complete(found, "child", done())
    found.settle()
    assert found.names("parent")[-2:] == ["CHILD_STARTED", "CHILD_COMPLETED"]
    assert runs_of(found, "child") == 1


@pytest.mark.parametrize("lost", ["StartChild", "RecordChildStarted", "WakeChild"])
def test_a_child_that_the_base_was_starting_is_the_new_run_s(lost: str) -> None:
    found = initiated()
    base = found.current("parent").run_id
    found.lost.append(lost)
    found.run()
    for _ in range(2):
        reset(found["parent"], 8, request_id=f"after {found.current('parent').run_id}")
    found["child"].advance(3)  # a child that nobody has woken asks by itself then
    found.settle()
    complete(found, "child", done())
    found.settle()
    assert found.names("parent")[-2:] == ["CHILD_STARTED", "CHILD_COMPLETED"]
    assert runs_of(found, "child") == 1
    assert found.names("parent", base)[-1] == "TERMINATED"


def test_a_child_that_nobody_woke_asks_for_the_run_that_its_parent_was_reset_to() -> None:
    found = initiated()
    found.dropped.append("RecordChildStarted")
    found.run(TimerKind.CHILD_START)
    reset(found["parent"], 8)
    found["child"].advance(3)
    found.run(TimerKind.CHILD_UNCLAIMED)
    assert found.current("child").durable.unclaimed is None
    assert found.names("parent")[-1] == "CHILD_STARTED"


def test_the_new_run_s_end_is_its_children_s_too() -> None:
    found = family()
    found.settle()
    parent = found["parent"]
    parent.poll()
    parent.complete(command("RECORD_MARKER", marker_name="m"))
    reset(parent, 9)
    found.settle()
    assert found.current("child").is_open
    complete(found, "parent", done())
    found.settle()
    assert found.names("child")[-1] == "TERMINATED"


def test_a_child_of_after_the_point_is_the_base_s() -> None:
    found = initiated(parent_close_policy=ABANDON)
    base = found.current("parent")
    (child,) = base.facts.children.values()
    reset(found["parent"], 4)
    parent = found["parent"]
    assert parent.do(RecordChildStarted(base.run_id, 5, child.run_id)) == Claim.ORPHANED
    assert found.names("parent") == ["STARTED"]


def test_a_run_that_is_not_in_memory_is_asked_for() -> None:
    found = initiated()
    parent = found["parent"]
    base = found.current("parent")
    (child,) = base.facts.children.values()
    second = reset(parent, 8).reply.run_id
    third = reset(parent, 8, request_id="another").reply.run_id
    whole = parent.chain
    parent.chain = Chain(whole.key, None, {base.run_id: whole.runs[base.run_id]}, whole.shared)
    asked = RecordChildStarted(base.run_id, 5, child.run_id)
    assert parent.do(asked) == EarlierRun(second)
    parent.chain = Chain(whole.key, None, {run: whole.runs[run] for run in (base.run_id, second)}, whole.shared)
    assert parent.do(RecordChildStarted(base.run_id, 5, child.run_id, seen=(second,))) == EarlierRun(third)
    parent.chain = whole
    assert parent.do(asked) == Claim.STARTED
    # One that was deleted can't be found: the base says what it knows.
    parent.chain = Chain(whole.key, None, {base.run_id: whole.runs[base.run_id]}, whole.shared)
    assert parent.do(RecordChildStarted(base.run_id, 5, child.run_id, seen=(second,))) == Claim.ORPHANED


def test_a_child_that_is_reset_reports_the_end_of_the_run_that_goes_on() -> None:
    found = family()
    found.settle()
    complete(found, "child", command("RECORD_MARKER", marker_name="m"))
    reset(found["child"], 4)
    found.settle()
    assert found.names("parent")[-1] == "CHILD_STARTED"
    complete(found, "child", done())
    found.settle()
    assert found.names("parent")[-1] == "CHILD_COMPLETED"
