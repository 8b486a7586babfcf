"""Children: started once, told once, ended as their parents want it, whichever step is repeated or never done."""

from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, SearchAttributes
from temporalio.api.enums.v1 import ParentClosePolicy, RetryState, StartChildWorkflowExecutionFailedCause
from temporalio.api.enums.v1 import WorkflowIdReusePolicy as Reuse
from temporalio.api.failure.v1 import Failure

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.evolve import attributes_of
from perdure.workflow.requests import DeleteRun, StartChild
from perdure.workflow.tasks import TimerKind
from tests.transcripts.scenarios import cancel, command, done, signal, start, terminate
from tests.unit.history.family import Family, complete, family, start_child

ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
TERMINATE = ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE
REQUEST_CANCEL = ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL
BEGUN = ["STARTED", "START_CHILD_INITIATED"]
STARTED = [*BEGUN, "CHILD_STARTED"]
STEPS = ["PlanErrand", "StartChild", "RecordChildStarted", "WakeChild"]
REPORT_STEPS = ["PlanErrand", "RecordChildClosed", "ErrandDone"]


def last(found: Family, workflow_id: str) -> Any:
    return attributes_of(found.history(workflow_id)[-1])


def event(found: Family, workflow_id: str, name: str) -> Any:
    index = [each for each in found.history(workflow_id) if each.WhichOneof("attributes") == f"{name}_event_attributes"]
    (attributes,) = map(attributes_of, index)
    return attributes


@pytest.mark.parametrize("way", ["dropped", "lost"])
@pytest.mark.parametrize("step", ["none", *STEPS])
def test_a_child_is_started_once_whichever_step_is_repeated(step: str, way: str) -> None:
    found = family()
    if step != "none":
        getattr(found, way).append(step)
    found.settle()
    assert found.names("parent") == STARTED
    # A parent that has recorded its child needs its own errand no more: the child asks, some seconds later.
    if (step, way) in (("WakeChild", "dropped"), ("RecordChildStarted", "lost")):
        assert found["child"].offers() == []
        found["child"].advance(5)
        found.settle()
    assert found.names("child") == ["STARTED"]
    assert len(found["child"].offers()) == 1
    assert len(found["child"].chain.runs) == 1
    assert found["parent"].errands() == found["child"].errands() == []


@pytest.mark.parametrize("way", ["dropped", "lost"])
@pytest.mark.parametrize("step", ["none", *REPORT_STEPS])
def test_a_childs_end_is_told_once_whichever_step_is_repeated(step: str, way: str) -> None:
    found = family()
    found.settle()
    complete(found, "child", done())
    if step != "none":
        getattr(found, way).append(step)
    found.settle()
    assert found.names("parent") == [*STARTED, "CHILD_COMPLETED"]
    assert found.names("child") == ["STARTED", "COMPLETED"]
    assert not found.current("parent").facts.children


def test_the_events_say_what_the_command_said() -> None:
    child = start_child(
        header={"fields": {"h": Payload(data=b"1")}},
        input=Payloads(payloads=[Payload(data=b"2")]),
        memo={"fields": {"m": Payload(data=b"3")}},
        control="control",
        workflow_run_timeout=to_duration(7 * SECOND_NS),
        priority={"priority_key": 2},
    )
    child.user_metadata.summary.data = b"summary"
    found = family(child)
    found.settle()
    begun = attributes_of(found.history("child")[0])
    parent = found.current("parent")
    run_id = found.current("child").run_id
    assert (begun.parent_workflow_execution.workflow_id, begun.parent_workflow_execution.run_id) == (
        "parent",
        parent.run_id,
    )
    assert (begun.parent_workflow_namespace, begun.parent_workflow_namespace_id) == ("default", "ns")
    assert begun.parent_initiated_event_id == 5
    assert begun.root_workflow_execution == begun.parent_workflow_execution
    assert (begun.original_execution_run_id, begun.first_execution_run_id) == (run_id, run_id)
    assert (begun.header.fields["h"].data, begun.input.payloads[0].data, begun.memo.fields["m"].data) == (
        b"1",
        b"2",
        b"3",
    )
    assert begun.workflow_run_timeout.seconds == 7
    assert begun.priority.priority_key == 2
    assert found.history("child")[0].user_metadata.summary.data == b"summary"
    assert list(found.current("child").durable.request_ids) == [f"{parent.run_id}:5:0"]
    started = event(found, "parent", "child_workflow_execution_started")
    assert (started.initiated_event_id, started.workflow_execution.run_id) == (5, run_id)
    assert started.header.fields["h"].data == b"1"


def test_a_grandchild_has_the_same_root() -> None:
    found = family()
    found.settle()
    complete(found, "child", start_child("grandchild"))
    found.settle()
    begun = attributes_of(found.history("grandchild")[0])
    assert begun.parent_workflow_execution.workflow_id == "child"
    assert begun.root_workflow_execution.workflow_id == "parent"
    assert begun.root_workflow_execution.run_id == found.current("parent").run_id


FAILURE = Failure(message="no")


@pytest.mark.parametrize(
    ("close", "name", "field", "value"),
    [
        (command("COMPLETE_WORKFLOW_EXECUTION"), "CHILD_COMPLETED", "result", None),
        (
            command("COMPLETE_WORKFLOW_EXECUTION", result=Payloads(payloads=[Payload(data=b"out")])),
            "CHILD_COMPLETED",
            "result",
            Payloads(payloads=[Payload(data=b"out")]),
        ),
        (command("FAIL_WORKFLOW_EXECUTION", failure=FAILURE), "CHILD_FAILED", "failure", FAILURE),
        (
            command("FAIL_WORKFLOW_EXECUTION", failure=FAILURE),
            "CHILD_FAILED",
            "retry_state",
            RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET,
        ),
        (
            command("CANCEL_WORKFLOW_EXECUTION", details=Payloads(payloads=[Payload(data=b"x")])),
            "CHILD_CANCELED",
            "details",
            Payloads(payloads=[Payload(data=b"x")]),
        ),
    ],
)
def test_each_end_has_its_event(close: Command, name: str, field: str, value: Any) -> None:
    found = family()
    found.settle()
    complete(found, "parent")
    complete(found, "child", close)
    found.settle()
    assert found.names("parent") == [*STARTED, name]
    told = attributes_of(found.history("parent")[-2])
    assert (told.initiated_event_id, told.started_event_id) == (5, 6)
    assert told.workflow_execution.run_id == found.current("child").run_id
    if value is None:
        assert not told.HasField(field)
    else:
        assert getattr(told, field) == value


def test_an_end_during_a_task_waits_with_the_start_and_names_it() -> None:
    found = Family()
    found["parent"].do(start())
    found["parent"].poll()
    found["parent"].complete(start_child(), force_create_new_workflow_task=True, return_new_workflow_task=True)
    found.settle()
    complete(found, "child", done())
    found.settle()
    assert found.names("parent") == BEGUN
    found["parent"].complete(command("RECORD_MARKER", marker_name="m"))
    assert found.names("parent") == [*BEGUN, "MARKER_RECORDED", "CHILD_STARTED", "CHILD_COMPLETED"]
    ended = event(found, "parent", "child_workflow_execution_completed")
    names = [
        each.event_id for each in found.history("parent") if str(each.WhichOneof("attributes")).startswith("child_")
    ]
    assert ended.started_event_id == names[0]


def asleep() -> Family:
    """A child that was created, and whose parent has not heard of it yet."""
    found = family()
    found.dropped.append("RecordChildStarted")
    found.run(TimerKind.CHILD_START)
    assert found.names("child") == ["STARTED"]
    return found


@pytest.mark.parametrize("request_", [signal(), cancel()])
def test_a_child_that_sleeps_gets_no_task_whatever_it_is_told(request_: Any) -> None:
    found = asleep()
    found["child"].do(request_)
    assert found["child"].offers() == []
    found.settle()
    assert len(found["child"].offers()) == 1
    assert len(found.names("child")) == 2


def test_a_child_that_sleeps_sleeps_through_its_delay_too() -> None:
    found = family(start_child(cron_schedule="@every 3s"))
    found.dropped.append("RecordChildStarted")
    found.run(TimerKind.CHILD_START)
    found["child"].advance(4)
    assert found["child"].offers() == []
    found.settle()
    found["child"].advance(0.1)
    assert len(found["child"].offers()) == 1


def test_a_delayed_child_is_woken_before_its_time_and_begins_at_it() -> None:
    found = family(start_child(cron_schedule="@every 3s"))
    found.settle()
    assert found["child"].offers() == []
    found["child"].advance(3)
    assert len(found["child"].offers()) == 1


@pytest.mark.parametrize("ends", ["terminated", "timed_out"])
def test_a_child_that_ends_in_its_sleep_was_started_all_the_same(ends: str) -> None:
    found = family(start_child(workflow_run_timeout=to_duration(2 * SECOND_NS)))
    found.dropped.append("RecordChildStarted")
    found.run(TimerKind.CHILD_START)
    if ends == "terminated":
        found["child"].do(terminate())
    else:
        found["child"].advance(2)
    found.run(TimerKind.PARENT_REPORT)
    assert found.names("parent") == [*STARTED, f"CHILD_{ends.upper()}"]
    ended = event(found, "parent", f"child_workflow_execution_{ends}")
    assert ended.started_event_id == 6
    found.settle()
    assert found.names("parent") == [*STARTED, f"CHILD_{ends.upper()}"]


def test_a_child_that_is_tried_again_in_its_sleep_sleeps_on() -> None:
    policy = {"initial_interval": to_duration(SECOND_NS // 10), "maximum_attempts": 2}
    found = family(start_child(workflow_run_timeout=to_duration(SECOND_NS), retry_policy=policy))
    found.dropped.append("RecordChildStarted")
    found.run(TimerKind.CHILD_START)
    found["child"].advance(1.5)
    assert len(found["child"].histories) == 2
    assert found["child"].offers() == []
    found.settle()
    found["child"].advance(0.5)
    found.settle()
    found["child"].advance(0)
    assert found.names("parent") == STARTED
    assert len(found["child"].offers()) == 1


@pytest.mark.parametrize(
    ("policy", "names", "offers"),
    [
        (ABANDON, ["STARTED"], 1),
        (TERMINATE, ["STARTED", "TERMINATED"], 0),
        (REQUEST_CANCEL, ["STARTED", "CANCEL_REQUESTED"], 1),
    ],
)
@pytest.mark.parametrize("asks", ["parent", "child"])
def test_a_child_whose_parent_closed_without_knowing_it_does_as_the_policy_says(
    policy: int, names: list[str], offers: int, asks: str
) -> None:
    found = family(start_child(parent_close_policy=policy))
    found.dropped += ["RecordChildStarted"] if asks == "child" else []
    if asks == "child":
        found.run(TimerKind.CHILD_START)
        found["parent"].do(terminate())
        found["child"].advance(5)
    else:
        _close_in_between(found)
    found.settle()
    assert found.names("child") == names
    assert len(found["child"].offers()) == offers
    assert found.names("parent") == [*BEGUN, "TERMINATED"]
    if policy == REQUEST_CANCEL:
        asked = event(found, "child", "workflow_execution_cancel_requested")
        assert asked.external_workflow_execution.run_id == found.current("parent").run_id


def _close_in_between(found: Family) -> None:
    """The parent closes while its errand is on its way to the child."""
    (timer,) = found.errands()
    found.lost.append("StartChild")
    found.run(TimerKind.CHILD_START)
    found["parent"].do(terminate())
    assert timer not in found["parent"].errands()
    found["child"].advance(5)


def test_a_child_that_outlived_its_parents_memory_does_as_the_policy_says() -> None:
    found = family(start_child(parent_close_policy=ABANDON))
    found.dropped.append("RecordChildStarted")
    found.run(TimerKind.CHILD_START)
    found["parent"].do(DeleteRun(""))
    found["parent"].advance(1)
    assert found["parent"].chain.runs == {}
    found["child"].advance(5)
    found.settle()
    assert len(found["child"].offers()) == 1


def test_a_start_that_comes_after_the_parent_gave_up_ends_at_once() -> None:
    found = family()
    stage = found["child"]
    stage.do(start("other"))
    found.settle()
    assert found.names("parent") == [*BEGUN, "START_CHILD_FAILED"]
    stage.do(terminate())
    (late,) = [request for request in found.asked if isinstance(request, StartChild)]
    stage.do(late)
    stage.advance(5)
    found.settle()
    assert found.names("child") == ["STARTED", "TERMINATED"]
    assert last(found, "child").reason == "the parent does not know this child"
    assert found.names("parent") == [*BEGUN, "START_CHILD_FAILED"]


@pytest.mark.parametrize(
    ("reuse", "close", "starts"),
    [
        (Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, None, False),
        (Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, done(), True),
        (Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, done(), False),
        (
            Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
            command("FAIL_WORKFLOW_EXECUTION", failure=FAILURE),
            True,
        ),
        (Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE, done(), False),
        (Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING, None, True),
    ],
)
def test_reuse_policies_of_a_childs_id(reuse: int, close: Command | None, starts: bool) -> None:
    found = Family()
    found["child"].do(start("other"))
    if close is not None:
        complete(found, "child", close)
    found["parent"].do(start())
    complete(found, "parent", start_child(workflow_id_reuse_policy=reuse, control="control"))
    found.lost.append("RecordChildNotStarted")
    found.settle()
    assert len(found["child"].histories) == (2 if starts else 1)
    assert found.names("parent") == (STARTED if starts else [*BEGUN, "START_CHILD_FAILED"])
    if not starts:
        failed = event(found, "parent", "start_child_workflow_execution_failed")
        causes = StartChildWorkflowExecutionFailedCause
        assert failed.cause == causes.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS
        assert (failed.control, failed.initiated_event_id, failed.workflow_id) == ("control", 5, "child")
    assert len(found["parent"].offers()) == 1


def test_two_children_of_one_id_are_one_and_a_failure() -> None:
    found = family(start_child(), start_child())
    found.settle()
    assert sorted(found.names("parent")) == sorted(
        ["STARTED", "START_CHILD_INITIATED", "START_CHILD_INITIATED", "CHILD_STARTED", "START_CHILD_FAILED"]
    )
    assert len(found["child"].histories) == 1


def test_a_chain_of_runs_tells_its_end_once_at_its_last_run() -> None:
    found = family()
    found.settle()
    first = found.current("child").run_id
    complete(found, "child", command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"))
    found.settle()
    assert found.names("parent") == STARTED
    second = found.current("child").run_id
    assert second != first
    found["child"].advance(60)
    complete(found, "child", done())
    found.settle()
    assert found.names("parent") == [*STARTED, "CHILD_COMPLETED"]
    ended = event(found, "parent", "child_workflow_execution_completed")
    assert ended.workflow_execution.run_id == second
    assert found.errands() == []


def test_a_child_starts_though_its_search_attribute_was_removed_meanwhile() -> None:
    found = Family()
    parent = found["parent"]
    parent.types = {"Colour": 2}
    parent.do(start())
    fields = {"Colour": Payload(metadata={"encoding": b"json/plain"}, data=b'"red"')}
    complete(found, "parent", start_child(search_attributes=SearchAttributes(indexed_fields=fields)))
    parent.types = {}
    found.settle()
    shown = attributes_of(found.history("child")[0]).search_attributes.indexed_fields["Colour"]
    assert (shown.data, shown.metadata["type"]) == (b'"red"', b"Keyword")
