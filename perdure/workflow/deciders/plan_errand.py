"""PlanErrand: what an errand has to do elsewhere, read from the state of the run that wants it.

An errand is work at another workflow id: start a child, signal another workflow, tell the parent. The history role
asks for its plan, does it with requests that are idempotent at their target (ids are derived from the initiating
event), and brings the outcome back as a request to this run, whose new state does not want the errand any more.
"""

from collections.abc import Callable
from typing import Any

from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import wanting
from perdure.workflow.requests import PlanErrand
from perdure.workflow.state import Run
from perdure.workflow.tasks import Timer, TimerKind

Planner = Callable[[Run, Timer], Any]
PLANS: dict[TimerKind, Planner] = {}


def plans(kind: TimerKind) -> Callable[[Planner], Planner]:
    """Registers `(run, timer) -> plan` of an errand; only called while the run's state derives it."""

    def register(planner: Planner) -> Planner:
        PLANS[kind] = planner
        return planner

    return register


@decides(PlanErrand)
def plan_errand(work: Work, request: PlanErrand) -> Any:
    """The plan, or None if the errand is obsolete."""
    timer = request.timer
    run = wanting(work, timer)
    if run is None:
        return None
    return PLANS[timer.kind](run, timer)
