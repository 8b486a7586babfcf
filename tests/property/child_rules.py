"""Rules for children, added to the machine's list by importing this file: the chain has them, and is one itself."""

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.workflow.new_run import Origin, Parent
from perdure.workflow.requests import (
    Claim,
    EarlierRun,
    ErrandDone,
    PlanErrand,
    RecordChildClosed,
    RecordChildNotStarted,
    RecordChildStarted,
    StartChild,
    WakeChild,
)
from perdure.workflow.state import PendingChild, Run
from perdure.workflow.tasks import TimerKind
from tests.property.rules import Draw, completion_command, rule
from tests.transcripts.scenarios import command
from tests.transcripts.stage import Stage

_LAST = (TimerKind.PARENT_REPORT, TimerKind.CHILDREN_CLOSE)
_ENDS = (
    HistoryEvent(
        event_type=2,  # type: ignore[arg-type]  # plain ints
        workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(),
    ),
    HistoryEvent(
        event_type=3,  # type: ignore[arg-type]  # plain ints
        workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(),
    ),
    HistoryEvent(
        event_type=27,  # type: ignore[arg-type]  # plain ints
        workflow_execution_terminated_event_attributes=WorkflowExecutionTerminatedEventAttributes(),
    ),
)


@completion_command
def starts_a_child(stage: Stage, draw: Draw) -> Command:
    return command(
        "START_CHILD_WORKFLOW_EXECUTION",
        workflow_id=draw.of(["child", "wf"]),
        workflow_type=WorkflowType(name="flow"),
        parent_close_policy=draw.of([0, 1, 2, 3]),
    )


def _children(stage: Stage) -> list[tuple[str, PendingChild]]:
    """(run, its pending child) of every run."""
    return [(run_id, child) for run_id, run in stage.chain.runs.items() for child in run.facts.children.values()]


def _heirs(stage: Stage, run_id: str, child: PendingChild) -> list[Run]:
    """The run and those that it was reset to, one after the other, as far as they have the child."""
    found = []
    while run_id in stage.chain.runs:
        run = stage.chain.runs[run_id]
        known = run.facts.children.get(child.initiated_event_id)
        if known is not None and known.run_id == child.run_id:
            found.append(run)
        run_id = run.durable.reset_run_id
    return found


@rule
def children_are_started(stage: Stage, draw: Draw) -> None:
    for run_id, child in _children(stage):
        if draw.of([True, False]):
            request = RecordChildStarted(run_id, child.initiated_event_id, child.run_id)
            claim = stage.do(request)
            if isinstance(claim, EarlierRun):
                continue  # to a run that was deleted
            is_recorded = child.started or any(run.is_open for run in _heirs(stage, run_id, child))
            assert claim == (Claim.STARTED if is_recorded else Claim.ORPHANED)
            again = stage.decide(request)
            assert (again.reply, again.record) == (claim, None)


@rule
def children_are_not_started(stage: Stage, draw: Draw) -> None:
    for run_id, child in _children(stage):
        if draw.of([True, False, False]):
            request = RecordChildNotStarted(run_id, child.initiated_event_id, 1)
            stage.do(request)
            assert stage.decide(request).record is None


@rule
def children_end(stage: Stage, draw: Draw) -> None:
    for run_id, child in _children(stage):
        if draw.of([True, False]):
            last = WorkflowExecution(workflow_id=child.workflow_id, run_id=draw.of([child.run_id, "next"]))
            request = RecordChildClosed(run_id, child.initiated_event_id, last, child.run_id, draw.of([*_ENDS]))
            stage.do(request)
            assert stage.decide(request).record is None


@rule
def starts_as_a_child(stage: Stage, draw: Draw) -> None:
    number = draw.of([1, 2, 3])
    request = StartWorkflowExecutionRequest(
        workflow_id="wf",
        workflow_type=WorkflowType(name="flow"),
        task_queue=TaskQueue(name="queue"),
        request_id=f"parent:{number}:0",
        workflow_id_reuse_policy=draw.of([0, 2, 3, 4]),  # type: ignore[arg-type]  # plain ints
    )
    root = WorkflowExecution(workflow_id="root", run_id="root-run")
    origin = Origin(run_id=f"child-{number}", parent=Parent("ns", "default", "parent", "parent-run", number), root=root)
    started = StartChild(request, origin, draw.of([1, 2, 3]))
    if origin.run_id in stage.histories and origin.run_id not in stage.chain.runs:
        return  # it was deleted: by then its parent knows its end, and starts it no more
    if stage.decide(started).refusal is None:
        assert stage.decide(started).record is None


@rule
def is_woken(stage: Stage, draw: Draw) -> None:
    for run_id, run in list(stage.chain.runs.items()):
        if run.durable.unclaimed is None or not run.is_open:
            continue
        assert not [offer for offer in stage.offers() if offer.run_id == run_id], "a child works before it is woken"
        if draw.of([True, False]):
            request = WakeChild(run_id, draw.of([*(4 * [Claim.STARTED]), Claim.ORPHANED, Claim.UNKNOWN]))
            stage.do(request)
            assert stage.decide(request).record is None


@rule
def last_errands_are_done(stage: Stage, draw: Draw) -> None:
    for errand in stage.errands():
        if errand.kind in _LAST and draw.of([True, False]):
            assert stage.decide(PlanErrand(errand)).reply is not None
            stage.do(ErrandDone(errand))
            assert errand not in stage.errands()
            assert stage.decide(ErrandDone(errand)).record is None
