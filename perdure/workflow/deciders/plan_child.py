"""The plans of the errands between a parent and its children: what the history role has to know to run one."""

import msgspec
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ParentClosePolicy

from perdure.base.slots import ChainKey
from perdure.workflow.branches import spans
from perdure.workflow.deciders.plan_errand import plans
from perdure.workflow.state import PendingChild, Run
from perdure.workflow.tasks import Timer, TimerKind

Segments = tuple[tuple[str, int, int], ...]
_ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON


class ChildStart(msgspec.Struct, frozen=True):
    """A child to start. The rest of it is in its Initiated event, somewhere in `segments`. `priority`: the parent's."""

    child: PendingChild
    segments: Segments
    root: WorkflowExecution
    priority: bytes


class ParentReport(msgspec.Struct, frozen=True):
    """What a child asks or tells its parent. `close_event_id` 0 = it is open. `is_claimed`: the parent has recorded
    that it started.
    """

    parent: ChainKey
    parent_run_id: str
    initiated_event_id: int
    first_run_id: str
    segments: Segments
    close_event_id: int
    is_claimed: bool


class ChildrenClose(msgspec.Struct, frozen=True):
    """Children to end. `before`: the runs that their parent was reset from; some are those'."""

    children: tuple[PendingChild, ...]
    before: tuple[str, ...] = ()


@plans(TimerKind.CHILD_START)
def child_start(run: Run, timer: Timer) -> ChildStart:
    """The pending child, and what it inherits."""
    root = WorkflowExecution.FromString(run.facts.root)
    if not root.workflow_id:
        root = WorkflowExecution(workflow_id=run.durable.workflow_id, run_id=run.run_id)
    child = run.facts.children[timer.event_id]
    return ChildStart(child, spans(run.durable.segments), root, run.facts.priority)


@plans(TimerKind.CHILD_UNCLAIMED)
@plans(TimerKind.PARENT_REPORT)
def parent_report(run: Run, timer: Timer) -> ParentReport:
    """The parent, and what it knows this child by."""
    facts = run.facts
    parent = WorkflowExecution.FromString(facts.parent)
    return ParentReport(
        ChainKey(facts.parent_namespace_id, parent.workflow_id),
        parent.run_id,
        facts.parent_initiated_event_id,
        facts.first_run_id,
        spans(run.durable.segments),
        facts.close_event_id,
        run.durable.unclaimed is None,
    )


@plans(TimerKind.CHILDREN_CLOSE)
def children_close(run: Run, timer: Timer) -> ChildrenClose:
    """The children that may not outlive the run unasked."""
    children = tuple(child for child in run.facts.children.values() if child.parent_close_policy != _ABANDON)
    return ChildrenClose(children, run.writers)
