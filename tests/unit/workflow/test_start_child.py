"""The command that starts a child: what is refused, and what its event says."""

from typing import Any

import pytest
from temporalio.api.command.v1 import Command, StartChildWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Memo, Payload, Payloads, Priority, RetryPolicy, SearchAttributes, WorkflowType
from temporalio.api.enums.v1 import CommandType, ParentClosePolicy, WorkflowIdReusePolicy, WorkflowTaskFailedCause
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.errors import NamespaceNotFound
from perdure.base.limits import Limits
from perdure.workflow.commands import BadCommand
from perdure.workflow.tasks import Timer, TimerKind
from tests.unit.workflow.bench import COMPLETED_ID, KEY, T0, Bench, RunCommands, command, seconds

BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES
BAD_ATTRIBUTES = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES
TOO_MANY = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED
ON = "StartChildWorkflowExecutionCommand"
SHOWN = "WorkflowId=child WorkflowType=flow Namespace=namespace"
LONG = "x" * 1001


def start_child(**changes: Any) -> Command:
    given: dict[str, Any] = {"workflow_id": "child", "workflow_type": WorkflowType(name="flow"), **changes}
    return command("START_CHILD_WORKFLOW_EXECUTION", StartChildWorkflowExecutionCommandAttributes(**given))


@pytest.mark.parametrize(
    ("bad", "cause", "message"),
    [
        (
            Command(command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION),
            BAD,
            f"StartChildWorkflowExecutionCommandAttributes is not set on {ON}.",
        ),
        (
            start_child(workflow_id=""),
            BAD,
            f"Required field WorkflowId is not set on {ON}. WorkflowType=flow Namespace=namespace",
        ),
        (
            start_child(workflow_type=None),
            BAD,
            f"Required field WorkflowType is not set on {ON}. WorkflowId=child Namespace=namespace",
        ),
        (
            start_child(workflow_id=LONG),
            BAD,
            (
                f"WorkflowId on {ON} exceeds length limit. WorkflowId={LONG} Length=1001 Limit=1000 WorkflowType=flow "
                "Namespace=namespace"
            ),
        ),
        (
            start_child(workflow_type=WorkflowType(name=LONG)),
            BAD,
            (
                f"WorkflowType on {ON} exceeds length limit. WorkflowId=child WorkflowType={LONG} Length=1001 "
                "Limit=1000 Namespace=namespace"
            ),
        ),
        (
            start_child(workflow_run_timeout=seconds(-1)),
            BAD,
            f"Invalid WorkflowRunTimeout on {ON}: negative duration. {SHOWN}",
        ),
        (
            start_child(retry_policy=RetryPolicy(backoff_coefficient=0.5)),
            BAD,
            f"invalid WorkflowRetryPolicy on {ON}: BackoffCoefficient cannot be less than 1 on retry policy.. {SHOWN}",
        ),
        (start_child(cron_schedule="never"), BAD, f"invalid CronSchedule on {ON}: invalid CronSchedule.. {SHOWN}"),
        (
            start_child(search_attributes=SearchAttributes(indexed_fields={"None": Payload(data=b"1")})),
            BAD_ATTRIBUTES,
            "Namespace namespace has no mapping defined for search attribute None",
        ),
        (
            start_child(search_attributes=SearchAttributes(indexed_fields={"RunId": Payload(data=b"1")})),
            BAD_ATTRIBUTES,
            "invalid SearchAttributes on StartChildWorkflowCommand: RunId attribute can't be set in SearchAttributes. "
            + SHOWN,
        ),
        (start_child(priority=Priority(priority_key=-1)), BAD, "priority key can't be negative"),
        (
            start_child(task_queue=TaskQueue(name="/_sys/queue")),
            BAD,
            (
                f"invalid TaskQueue on {ON}: task queue name cannot start with reserved prefix /_sys/. {SHOWN} "
                'TaskQueue=name:"/_sys/queue"'
            ),
        ),
        (
            start_child(task_queue=TaskQueue(name="other"), inherit_build_id=True),
            BAD,
            "StartChildWorkflowExecution with UseCompatibleVersion cannot run on different task queue.",
        ),
    ],
)
def test_commands_that_make_no_sense_fail_the_task(
    bad: Command, cause: WorkflowTaskFailedCause.ValueType, message: str
) -> None:
    with pytest.raises(BadCommand) as refused:
        Bench().command(bad)
    assert (refused.value.cause, refused.value.message, refused.value.terminate) == (cause, message, False)


def test_another_namespace_is_not_found_or_not_allowed() -> None:
    with pytest.raises(NamespaceNotFound):
        Bench().command(start_child(namespace="other"))


def test_a_payload_that_is_too_large_ends_the_workflow() -> None:
    bench = Bench(limits=Limits(blob_bytes_max=10, memo_bytes_max=10))
    large = Payload(data=b"x" * 20)
    for bad in (start_child(input=Payloads(payloads=[large])), start_child(memo=Memo(fields={"m": large}))):
        with pytest.raises(BadCommand) as refused:
            bench.command(bad)
        assert (refused.value.cause, refused.value.terminate) == (BAD, True)
        assert refused.value.message.endswith("exceeds size limit.")


def test_a_run_has_so_many_children_at_most() -> None:
    bench = Bench(limits=Limits(pending_children_max=1))
    bench.command(start_child())
    with pytest.raises(BadCommand) as refused:
        bench.command(start_child(workflow_id="other"))
    assert refused.value.cause == TOO_MANY
    wanted = "the number of pending child workflow executions, 1, has reached the per-workflow limit of 1"
    assert refused.value.message == wanted


def test_what_is_left_out_is_filled_in() -> None:
    bench = Bench()
    bench.command(start_child(memo=Memo(fields={"m": Payload(data=b"null")})))
    event = bench.last("START_CHILD_WORKFLOW_EXECUTION_INITIATED")
    assert (event.namespace, event.namespace_id, event.task_queue.name) == ("namespace", "ns", "queue")
    assert not event.HasField("workflow_execution_timeout")
    assert event.HasField("workflow_run_timeout")
    assert (event.workflow_run_timeout.seconds, event.workflow_task_timeout.seconds) == (0, 10)
    assert event.parent_close_policy == ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE
    assert event.workflow_id_reuse_policy == WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    assert event.workflow_task_completed_event_id == COMPLETED_ID
    assert not event.HasField("retry_policy")
    assert not event.HasField("memo")


def test_timeouts_are_cut_to_the_longer_ones() -> None:
    bench = Bench()
    times = {f"workflow_{name}_timeout": seconds(amount) for name, amount in (("execution", 50), ("task", 100))}
    bench.command(start_child(**times, workflow_run_timeout=seconds(200)))
    event = bench.last("START_CHILD_WORKFLOW_EXECUTION_INITIATED")
    assert event.workflow_execution_timeout.seconds == 50
    assert event.workflow_run_timeout.seconds == 50
    assert event.workflow_task_timeout.seconds == 50


def test_a_retry_policy_gets_its_defaults() -> None:
    bench = Bench()
    bench.command(start_child(retry_policy=RetryPolicy(maximum_attempts=2)))
    policy = bench.last("START_CHILD_WORKFLOW_EXECUTION_INITIATED").retry_policy
    assert (policy.initial_interval.seconds, policy.maximum_interval.seconds) == (1, 100)
    assert (policy.backoff_coefficient, policy.maximum_attempts) == (2, 2)


def test_a_child_is_an_errand_that_is_due_at_once_and_its_run_id_is_settled() -> None:
    bench, again = Bench(), Bench()
    for each in (bench, again):
        decision = each.decide(RunCommands((start_child(),)))
        (errand,) = [task for task in decision.added if isinstance(task, Timer)]
        assert errand.kind == TimerKind.CHILD_START
        assert (errand.key, errand.due_ns, errand.event_id) == (KEY, T0, COMPLETED_ID + 1)
        each.command(start_child(), start_child(workflow_id="other"))
    ids = [child.run_id for child in bench.run.facts.children.values()]
    assert ids == [child.run_id for child in again.run.facts.children.values()]
    assert len(set(ids)) == 2
