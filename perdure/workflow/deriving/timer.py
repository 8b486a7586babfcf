"""The task that a pending user timer needs: to be woken when it is due."""

from collections.abc import Iterable

from perdure.base.slots import ChainKey
from perdure.workflow.outstanding import derives
from perdure.workflow.state import Run
from perdure.workflow.tasks import Task, Timer, TimerKind


@derives("timer")
def tasks_of_timer(run: Run, timer_id: str) -> Iterable[Task]:
    """One timer, unless the run is over before."""
    pending = run.facts.timers.get(timer_id)
    if pending is None or not run.is_open:
        return ()
    durable = run.durable
    if 0 < durable.run_expiration_ns < pending.due_ns:
        return ()
    key = ChainKey(durable.namespace_id, durable.workflow_id)
    return (Timer(pending.due_ns, key, durable.run_id, TimerKind.USER, pending.started_event_id),)
