"""A timer is due: the entry it belongs to decides what happens.

Handlers are registered per kind beside the state they act on. A timer that the state does not derive any more, or that is not
due by the run's time, is obsolete and changes nothing.
"""

from collections.abc import Callable

from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import FireTimer
from perdure.workflow.tasks import Timer, TimerKind

FIRE: dict[TimerKind, Callable[[Work, Draft, Timer], None]] = {}


def fires(kind: TimerKind) -> Callable[[Callable[[Work, Draft, Timer], None]], Callable[[Work, Draft, Timer], None]]:
    """Registers what a due timer of this kind does to its run; only called while the run's state still derives the timer."""

    def register(handler: Callable[[Work, Draft, Timer], None]) -> Callable[[Work, Draft, Timer], None]:
        FIRE[kind] = handler
        return handler

    return register


@decides(FireTimer)
def fire_timer(work: Work, request: FireTimer) -> None:
    """Fire `request.timer` if the run still wants it and its time has come."""
    timer = request.timer
    run = work.chain.runs.get(timer.run_id)
    if run is None or timer.due_ns > work.context.now_ns or timer not in outstanding(run):
        return
    FIRE[timer.kind](work, work.draft(timer.run_id), timer)
