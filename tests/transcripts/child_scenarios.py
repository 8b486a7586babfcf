"""Transcripts of both ends of a child: what a parent records, and what a run does that is one."""

from collections.abc import Callable

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    EventType,
    ParentClosePolicy,
    StartChildWorkflowExecutionFailedCause,
    WorkflowIdReusePolicy,
)
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionCompletedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.workflow.new_run import Origin, Parent
from perdure.workflow.requests import (
    Claim,
    ErrandDone,
    PlanErrand,
    RecordChildClosed,
    RecordChildNotStarted,
    RecordChildStarted,
    StartChild,
    WakeChild,
)
from tests.transcripts.scenarios import command, done, scenario, signal, start, terminate
from tests.transcripts.stage import Stage

Note = Callable[[str], None]

_TAKEN = StartChildWorkflowExecutionFailedCause.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS
_COMPLETED = HistoryEvent(
    event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(),
)


def _with_children(stage: Stage, *workflow_ids: str) -> str:
    """A run that has asked for children; its id."""
    stage.do(start())
    stage.poll()
    kind = WorkflowType(name="flow")
    stage.complete(
        *(command("START_CHILD_WORKFLOW_EXECUTION", workflow_id=each, workflow_type=kind) for each in workflow_ids)
    )
    return stage.run.run_id


def _child() -> StartChild:
    """The start of this workflow by another one."""
    request = StartWorkflowExecutionRequest(
        workflow_id="wf",
        workflow_type=WorkflowType(name="flow"),
        task_queue=TaskQueue(name="queue"),
        request_id="parent-run:5:0",
        workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
    )
    parent = Parent("ns", "default", "parent", "parent-run", 5)
    root = WorkflowExecution(workflow_id="parent", run_id="parent-run")
    origin = Origin(run_id="child-run", parent=parent, root=root)
    return StartChild(request, origin, ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE)


@scenario
def children(stage: Stage, note: Note) -> None:
    """Three children: one that ends, one that can't be started, one that is left behind."""
    run_id = _with_children(stage, "one", "taken", "left")
    one, taken, left = stage.run.facts.children.values()
    note("what its errands have to do")
    for errand in stage.errands():
        stage.decide(PlanErrand(errand))
    note("the first is started, and ends; each report comes twice")
    started = RecordChildStarted(run_id, one.initiated_event_id, one.run_id)
    last = WorkflowExecution(workflow_id="one", run_id="next-run")
    closed = RecordChildClosed(run_id, one.initiated_event_id, last, one.run_id, _COMPLETED)
    for request in (started, started, closed, closed):
        stage.decide(request)
    note("the second can't be started, the third can")
    stage.decide(RecordChildNotStarted(run_id, taken.initiated_event_id, _TAKEN))
    stage.decide(RecordChildStarted(run_id, left.initiated_event_id, left.run_id))
    note("it closes, and its parent close policies are applied")
    stage.poll()
    stage.complete(done())
    (errand,) = stage.errands()
    stage.decide(PlanErrand(errand))
    stage.decide(ErrandDone(errand))


@scenario
def a_child_that_ends_while_a_task_is_started(stage: Stage, note: Note) -> None:
    """Its start and its end wait for their ids together."""
    stage.do(start())
    stage.poll()
    child = command("START_CHILD_WORKFLOW_EXECUTION", workflow_id="one", workflow_type=WorkflowType(name="flow"))
    stage.complete(child, force_create_new_workflow_task=True, return_new_workflow_task=True)
    (one,) = stage.run.facts.children.values()
    last = WorkflowExecution(workflow_id="one", run_id=one.run_id)
    stage.decide(RecordChildStarted(stage.run.run_id, one.initiated_event_id, one.run_id))
    stage.decide(signal())
    stage.decide(RecordChildClosed(stage.run.run_id, one.initiated_event_id, last, one.run_id, _COMPLETED))
    note("the task is answered")
    stage.complete()


@scenario
def being_a_child(stage: Stage, note: Note) -> None:
    """It sleeps until it is woken, whatever it is told, and tells its parent how it ended."""
    stage.decide(_child())
    note("the start comes again, then a signal")
    stage.decide(_child())
    stage.decide(signal())
    note("it is woken, twice")
    stage.decide(WakeChild("child-run", Claim.STARTED))
    stage.decide(WakeChild("child-run", Claim.STARTED))
    stage.poll()
    stage.complete(done())
    note("its parent is told")
    (errand,) = stage.errands()
    stage.decide(PlanErrand(errand))
    stage.decide(ErrandDone(errand))


@scenario
def being_an_orphan(stage: Stage, note: Note) -> None:
    """Its parent closed before it recorded that its child had started."""
    stage.decide(_child())
    stage.advance(2)
    (errand,) = stage.errands()
    stage.decide(PlanErrand(errand))
    stage.decide(WakeChild("child-run", Claim.ORPHANED))


@scenario
def a_child_ends_in_its_sleep(stage: Stage, note: Note) -> None:
    """Its parent is told that it started, and how it ended."""
    stage.decide(_child())
    stage.decide(terminate())
    (errand,) = stage.errands()
    stage.decide(PlanErrand(errand))
