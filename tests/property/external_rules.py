"""Rules for signals and requests between workflows, added to the machine's list by importing this file."""

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest, SignalWorkflowExecutionRequest

from perdure.base.clock import SECOND_NS
from perdure.workflow.requests import External, PlanErrand, RecordExternal, RequestCancel, SignalWorkflow
from perdure.workflow.tasks import TimerKind
from tests.property.rules import Draw, completion_command, rule
from tests.transcripts.scenarios import command
from tests.transcripts.stage import T0, Stage

_KINDS = (TimerKind.EXTERNAL_SIGNAL, TimerKind.EXTERNAL_CANCEL)


@completion_command
def signals_another(stage: Stage, draw: Draw) -> Command:
    target = WorkflowExecution(workflow_id=draw.of(["wf", "other"]))
    return command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", execution=target, signal_name="hello")


@completion_command
def cancels_another(stage: Stage, draw: Draw) -> Command:
    return command("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION", workflow_id=draw.of(["wf", "other"]))


@rule
def errands_are_answered(stage: Stage, draw: Draw) -> None:
    for errand in stage.errands():
        if errand.kind in _KINDS and draw.of([True, False]):
            assert stage.decide(PlanErrand(errand)).reply is not None
            outcome = RecordExternal(errand, draw.of([0, 1]), "default")
            stage.do(outcome)
            assert stage.decide(outcome).record is None


@rule
def others_signal(stage: Stage, draw: Draw) -> None:
    initiated = draw.of(_initiated(stage))
    request = SignalWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf"), signal_name="hello", request_id=f"other-{initiated}"
    )
    stage.decide(SignalWorkflow(request, _other(initiated)))
    _check_once(stage)


@rule
def others_cancel(stage: Stage, draw: Draw) -> None:
    initiated = draw.of(_initiated(stage))
    request = RequestCancelWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf"), request_id=f"other-{initiated}"
    )
    stage.decide(RequestCancel(request, _other(initiated)))
    _check_once(stage)


def _check_once(stage: Stage) -> None:
    """No run took what another one took, unless one that may have taken it was deleted; a reset run has it from its
    base.
    """
    if len(stage.histories) > len(stage.chain.runs) or any(
        run.durable.base_run_id for run in stage.chain.runs.values()
    ):
        return
    events = [event for history in stage.histories.values() for event in history]
    taken = [sent for event in events if (sent := _sent(event))]
    assert len(taken) == len(set(taken))


def _sent(event: HistoryEvent) -> tuple[str, str | int] | None:
    signalled = event.workflow_execution_signaled_event_attributes
    if signalled.request_id.startswith("other"):
        return "signal", signalled.request_id
    initiated = event.workflow_execution_cancel_requested_event_attributes.external_initiated_event_id
    return ("cancel", initiated) if initiated else None


def _initiated(stage: Stage) -> list[int]:
    """The ids of what other workflows have initiated by now: one every ten seconds."""
    return list(range(1, 2 + (stage.now_ns - T0) // (10 * SECOND_NS)))[:3]


def _other(initiated: int) -> External:
    return External("other", "other-run", initiated, initiated_time_ns=T0 + 10 * (initiated - 1) * SECOND_NS)
