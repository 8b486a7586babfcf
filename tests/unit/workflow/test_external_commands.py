"""What a workflow does to signal other workflows and to ask them to cancel, and what it learns of it."""

from typing import Any

import pytest
from temporalio.api.command.v1 import (
    Command,
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
)
from temporalio.api.common.v1 import Header, Payload, WorkflowExecution
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause

from perdure.base.errors import NamespaceNotFound
from perdure.base.limits import Limits
from perdure.workflow.commands import BadCommand
from perdure.workflow.commands.target_namespace import refuse_other, target_namespace_id
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import PlanErrand, RecordExternal
from perdure.workflow.state import PendingChild
from perdure.workflow.tasks import Timer, TimerKind
from tests.unit.workflow.bench import COMPLETED_ID, KEY, T0, Bench, command, payloads
from tests.unit.workflow.test_start_child import start_child

BAD_SIGNAL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
BAD_CANCEL = (
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
)
SIGNALS = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_SIGNALS_LIMIT_EXCEEDED
CANCELS = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED
RUN = "01234567-89ab-4cde-8f01-23456789abcd"
LONG = "w" * 1001
SHOWN = "RunId= SignalName=hello"
SIGNAL = "SignalExternalWorkflowExecutionCommand"
CANCEL = "RequestCancelExternalWorkflowExecutionCommand"


def signal(workflow_id: str = "target", run_id: str = "", name: str = "hello", **more: Any) -> Command:
    attributes = SignalExternalWorkflowExecutionCommandAttributes(
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id), signal_name=name, **more
    )
    return command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", attributes)


def cancel(workflow_id: str = "target", run_id: str = "", **more: Any) -> Command:
    attributes = RequestCancelExternalWorkflowExecutionCommandAttributes(workflow_id=workflow_id, run_id=run_id, **more)
    return command("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION", attributes)


def without_target() -> Command:
    attributes = SignalExternalWorkflowExecutionCommandAttributes(signal_name="hello")
    return command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", attributes)


@pytest.mark.parametrize(
    ("bad", "cause", "message"),
    [
        (
            Command(command_type=CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION),
            BAD_SIGNAL,
            f"SignalExternalWorkflowExecutionCommandAttributes is not set on {SIGNAL}.",
        ),
        (without_target(), BAD_SIGNAL, f"Execution is not set on {SIGNAL}."),
        (signal(""), BAD_SIGNAL, f"WorkflowId is not set on {SIGNAL}. Namespace= RunId= SignalName=hello"),
        (
            signal(LONG),
            BAD_SIGNAL,
            f"WorkflowId on {SIGNAL} exceeds length limit. WorkflowId={LONG} Length=1001 Limit=1000 Namespace= {SHOWN}",
        ),
        (
            signal(run_id="no-run"),
            BAD_SIGNAL,
            f"Invalid RunId set on {SIGNAL}. WorkflowId=target Namespace= RunId=no-run SignalName=hello",
        ),
        (
            signal(name="", namespace="namespace"),
            BAD_SIGNAL,
            f"SignalName is not set on {SIGNAL}. WorkflowId=target Namespace=namespace RunId=",
        ),
        (
            Command(command_type=CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION),
            BAD_CANCEL,
            f"RequestCancelExternalWorkflowExecutionCommandAttributes is not set on {CANCEL}.",
        ),
        (cancel("", RUN), BAD_CANCEL, f"WorkflowId is not set on {CANCEL}. Namespace= RunId={RUN}"),
        (
            cancel(LONG),
            BAD_CANCEL,
            f"WorkflowId on {CANCEL} exceeds length limit. WorkflowId={LONG} Length=1001 Limit=1000 RunId= Namespace=",
        ),
        (
            cancel(run_id="no-run"),
            BAD_CANCEL,
            f"Invalid RunId set on {CANCEL}. WorkflowId=target RunId=no-run Namespace=",
        ),
    ],
)
def test_commands_that_make_no_sense_fail_the_task(
    bad: Command, cause: WorkflowTaskFailedCause.ValueType, message: str
) -> None:
    with pytest.raises(BadCommand) as raised:
        Bench().command(bad)
    assert (raised.value.cause, raised.value.message, raised.value.terminate) == (cause, message, False)


@pytest.mark.parametrize(
    ("limits", "commands", "cause", "message"),
    [
        (
            Limits(pending_signals_max=1),
            [signal(), signal()],
            SIGNALS,
            "the number of pending signals to external workflows, 1, has reached the per-workflow limit of 1",
        ),
        (
            Limits(pending_cancel_requests_max=1),
            [cancel(), cancel()],
            CANCELS,
            "the number of pending requests to cancel external workflows, 1, has reached the per-workflow limit of 1",
        ),
        (
            Limits(blob_bytes_max=10),
            [signal(input=payloads("eleven bytes"))],
            BAD_SIGNAL,
            "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit.",
        ),
    ],
)
def test_there_are_limits(
    limits: Limits, commands: list[Command], cause: WorkflowTaskFailedCause.ValueType, message: str
) -> None:
    with pytest.raises(BadCommand) as raised:
        Bench(limits=limits).command(*commands)
    assert (raised.value.cause, raised.value.message) == (cause, message)
    assert raised.value.terminate == message.startswith("Signal")


def test_a_child_can_not_be_cancelled_by_the_task_that_starts_it() -> None:
    bench = Bench()
    bench.run.put("children", COMPLETED_ID - 1, PendingChild(COMPLETED_ID - 1, "ns", "child-3", "T"))
    bench.command(cancel("child-3"))
    with pytest.raises(BadCommand) as raised:
        bench.command(start_child(workflow_id="child-5"), cancel("child-5"))
    assert raised.value.message == (
        "Start and RequestCancel for child workflow is not allowed in same workflow task. WorkflowId=child-5 RunId= "
        "Namespace="
    )


def test_a_command_may_name_its_own_namespace_and_no_other() -> None:
    context = Context(0, bytes(16), 1, NamespaceView("ns", "own", 0), Limits(), namespace_ids={"other": "other-id"})
    assert target_namespace_id(context, "") == target_namespace_id(context, "own") == "ns"
    refuse_other(context, "ns", BAD_SIGNAL)
    with pytest.raises(BadCommand, match="cross namespace commands are not allowed"):
        refuse_other(context, target_namespace_id(context, "other"), BAD_SIGNAL)
    with pytest.raises(NamespaceNotFound, match="Namespace unknown is not found"):
        target_namespace_id(context, "unknown")


@pytest.mark.parametrize("bad", [signal(namespace="unknown"), cancel(namespace="unknown")])
def test_an_unknown_namespace_refuses_the_completion_as_a_whole(bad: Command) -> None:
    bench = Bench()
    with pytest.raises(NamespaceNotFound):
        bench.command(cancel(), bad)
    assert bench.names() == []


def errands(bench: Bench) -> list[Timer]:
    kinds = (TimerKind.EXTERNAL_SIGNAL, TimerKind.EXTERNAL_CANCEL)
    found = [task for task in outstanding(bench.run) if isinstance(task, Timer) and task.kind in kinds]
    return sorted(found, key=lambda timer: timer.event_id)


def test_what_is_initiated_is_pending_and_an_errand_that_is_due_at_once() -> None:
    bench = Bench()
    header = Header(fields={"k": Payload(data=b"v")})
    bench.command(
        signal(run_id=RUN, input=payloads("x"), header=header, control="c", child_workflow_only=True),
        cancel(control="c", reason="enough", namespace="namespace"),
    )
    signalled = bench.last("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED")
    assert (signalled.workflow_task_completed_event_id, signalled.namespace) == (COMPLETED_ID, "")
    assert (signalled.namespace_id, signalled.control, signalled.child_workflow_only) == ("ns", "c", True)
    assert signalled.workflow_execution == WorkflowExecution(workflow_id="target", run_id=RUN)
    assert (signalled.signal_name, signalled.input, signalled.header) == ("hello", payloads("x"), header)
    asked = bench.last("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED")
    assert (asked.namespace, asked.namespace_id, asked.reason, asked.control) == ("namespace", "ns", "enough", "c")
    assert asked.workflow_execution == WorkflowExecution(workflow_id="target")
    assert not asked.child_workflow_only
    assert errands(bench) == [
        Timer(T0, KEY, "run", TimerKind.EXTERNAL_SIGNAL, 5),
        Timer(T0, KEY, "run", TimerKind.EXTERNAL_CANCEL, 6),
    ]


def test_each_initiation_has_a_request_id_of_its_own_for_ever() -> None:
    bench = Bench()
    bench.command(signal(), signal(), cancel())
    plans = [bench.do(PlanErrand(errand)) for errand in errands(bench)]
    assert len({plan.request_id for plan in plans}) == 3
    assert plans == [bench.do(PlanErrand(errand)) for errand in errands(bench.after(100))]
    assert [plan.pending.initiated_event_id for plan in plans] == [5, 6, 7]


@pytest.mark.parametrize(
    ("sent", "cause", "event", "control"),
    [
        (signal(run_id=RUN), 0, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", "c"),
        (signal(run_id=RUN), 1, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", "c"),
        (cancel(run_id=RUN), 0, "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED", None),
        (cancel(run_id=RUN), 1, "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", ""),
    ],
)
def test_the_outcome_is_recorded_once_and_wakes_the_workflow(
    sent: Command, cause: int, event: str, control: str | None
) -> None:
    bench = Bench()
    bench.command(sent)
    (errand,) = errands(bench)
    bench.do(RecordExternal(errand, cause, "namespace", "c"))
    recorded = bench.last(event)
    assert (recorded.initiated_event_id, recorded.namespace, recorded.namespace_id) == (5, "namespace", "ns")
    assert recorded.workflow_execution == WorkflowExecution(workflow_id="target", run_id=RUN)
    assert getattr(recorded, "cause", 0) == cause
    assert getattr(recorded, "control", None) == control
    assert bench.run.durable.workflow_task is not None
    assert errands(bench) == []
    assert bench.do(PlanErrand(errand)) is None
    assert bench.decide(RecordExternal(errand, cause, "namespace", "c")).record is None


@pytest.mark.parametrize("sent", [signal(), cancel()])
def test_an_outcome_during_a_task_waits_for_its_id_and_is_not_recorded_again(sent: Command) -> None:
    bench = Bench()
    bench.command(sent)
    bench.task_is_started()
    (errand,) = errands(bench)
    bench.do(RecordExternal(errand, 0, "namespace"))
    assert len(bench.run.durable.buffered) == 1
    assert errands(bench) == []
    assert bench.decide(RecordExternal(errand, 1, "namespace")).record is None


def test_a_run_that_closed_wants_nothing_sent_any_more() -> None:
    bench = Bench()
    bench.command(signal(), Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION, **done()))
    assert "WORKFLOW_EXECUTION_COMPLETED" in bench.names()
    assert errands(bench) == []
    late = Timer(T0, KEY, "run", TimerKind.EXTERNAL_SIGNAL, 5)
    assert bench.do(PlanErrand(late)) is None
    assert bench.decide(RecordExternal(late, 0, "namespace")).record is None


def done() -> Any:
    return {"complete_workflow_execution_command_attributes": {}}
