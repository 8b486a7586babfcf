"""What a pending child needs of the world: to be started, until its parent has recorded that it is."""

from collections.abc import Iterable

from perdure.base.slots import ChainKey
from perdure.workflow.outstanding import derives
from perdure.workflow.state import Run
from perdure.workflow.tasks import Task, Timer, TimerKind


@derives("child")
def tasks_of_child(run: Run, initiated_event_id: int) -> Iterable[Task]:
    """One errand, while the parent is open."""
    child = run.facts.children.get(initiated_event_id)
    if child is None or child.started or not run.is_open:
        return ()
    durable = run.durable
    key = ChainKey(durable.namespace_id, durable.workflow_id)
    return (Timer(child.initiated_time_ns, key, durable.run_id, TimerKind.CHILD_START, initiated_event_id),)
