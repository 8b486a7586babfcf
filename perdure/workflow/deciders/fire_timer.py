"""A timer is due: the entry it belongs to decides what happens.

Handlers are registered per kind beside the state they act on. A timer that the state does not derive any more is
obsolete and changes nothing; one that is not due by the run's time is refused, to be fired again.
"""

from collections.abc import Callable

from perdure.base.errors import Unavailable
from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.outstanding import tasks_of, volatile
from perdure.workflow.requests import FireTimer
from perdure.workflow.state import Run
from perdure.workflow.tasks import ERRANDS, Task, Timer, TimerKind

FIRE: dict[TimerKind, Callable[[Work, Draft, Timer], None]] = {}

_RUN = frozenset(
    {
        TimerKind.RUN_TIMEOUT,
        TimerKind.EXECUTION_TIMEOUT,
        TimerKind.RETENTION,
        TimerKind.WORKFLOW_TASK_BACKOFF,
        TimerKind.FAST_FORWARD,
    }
)
_WORKFLOW_TASK = frozenset({TimerKind.WORKFLOW_TASK_SCHEDULE_TO_START, TimerKind.WORKFLOW_TASK_START_TO_CLOSE})
_ACTIVITY = frozenset(
    {
        TimerKind.ACTIVITY_SCHEDULE_TO_START,
        TimerKind.ACTIVITY_SCHEDULE_TO_CLOSE,
        TimerKind.ACTIVITY_START_TO_CLOSE,
        TimerKind.ACTIVITY_HEARTBEAT,
        TimerKind.ACTIVITY_RETRY,
    }
)
# The entity that derives an errand; those of an entry are keyed by its initiated event's id, those of a run by None.
ENTITY_OF_ERRAND = {
    TimerKind.CHILD_START: "child",
    TimerKind.CHILD_UNCLAIMED: "run",
    TimerKind.EXTERNAL_SIGNAL: "external_signal",
    TimerKind.EXTERNAL_CANCEL: "external_cancel",
    TimerKind.PARENT_REPORT: "run",
    TimerKind.CHILDREN_CLOSE: "run",
    TimerKind.CALLBACK: "callback",
}


def fires(kind: TimerKind) -> Callable[[Callable[[Work, Draft, Timer], None]], Callable[[Work, Draft, Timer], None]]:
    """Registers what a due timer of this kind does to its run; only called while the run's state still derives the
    timer.
    """

    def register(handler: Callable[[Work, Draft, Timer], None]) -> Callable[[Work, Draft, Timer], None]:
        FIRE[kind] = handler
        return handler

    return register


def wanted(run: Run, timer: Timer) -> set[Task]:
    """The tasks of the entity that `timer` would belong to."""
    if timer.kind in ERRANDS:
        return tasks_of(run, (ENTITY_OF_ERRAND[timer.kind], timer.event_id or None))
    if timer.kind in _RUN:
        return tasks_of(run, ("run", None))
    if timer.kind in _WORKFLOW_TASK:
        return tasks_of(run, ("workflow_task", None)) | volatile(run)
    if timer.kind in _ACTIVITY:
        return tasks_of(run, ("activity", timer.event_id))
    for timer_id, pending in run.facts.timers.items():
        if pending.started_event_id == timer.event_id:
            return tasks_of(run, ("timer", timer_id))
    return set()


def wanting(work: Work, timer: Timer) -> Run | None:
    """The run of `timer`, if it still wants it."""
    run = work.chain.runs.get(timer.run_id)
    return run if run is not None and timer in wanted(run, timer) else None


@decides(FireTimer)
def fire_timer(work: Work, request: FireTimer) -> None:
    """Fire `request.timer` if the run still wants it. Raises Unavailable if its time has not come."""
    timer = request.timer
    run = wanting(work, timer)
    if run is None:
        return
    if timer.due_ns > work.context.now_ns:
        raise Unavailable("The timer is not due yet.")
    FIRE[timer.kind](work, work.draft(timer.run_id), timer)
