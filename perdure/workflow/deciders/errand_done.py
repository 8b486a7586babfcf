"""ErrandDone: a closed run owes no more of this kind to others."""

from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import wanted
from perdure.workflow.requests import ErrandDone
from perdure.workflow.tasks import TimerKind

_FIELDS = {TimerKind.PARENT_REPORT: "parent_told", TimerKind.CHILDREN_CLOSE: "children_closed"}


@decides(ErrandDone)
def errand_done(work: Work, request: ErrandDone) -> None:
    """Note it, once."""
    run = work.chain.runs.get(request.timer.run_id)
    if run is not None and request.timer in wanted(run, request.timer):
        work.draft(run.run_id).assign(_FIELDS[request.timer.kind], True)
