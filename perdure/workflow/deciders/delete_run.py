"""DeleteRun, and the end of a closed run's retention: the run goes, with its history.

A run that has errands yet goes when they are done (decision 0011): its retention is none, and is not over before. So
an open one is terminated first, and what waits for it is told as after any other close. Source:
`service/history/api/deleteworkflow`.
"""

from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes

from perdure.workflow.branches import release
from perdure.workflow.close import SERVER_IDENTITY, close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.deriving.run import last_errands
from perdure.workflow.draft import Draft
from perdure.workflow.lookup import find_run
from perdure.workflow.requests import DeleteRun
from perdure.workflow.tasks import Timer, TimerKind

_REASON = "Delete workflow execution"


@decides(DeleteRun)
def delete_run(work: Work, request: DeleteRun) -> None:
    """Delete a closed run now; end an open one, so that what waits for it is told, and let it go after that."""
    run = find_run(work, request.run_id)
    draft = work.draft(run.run_id)
    if run.is_open:
        attributes = WorkflowExecutionTerminatedEventAttributes(reason=_REASON, identity=SERVER_IDENTITY)
        close_from_outside(work, draft, attributes)
    elif not last_errands(run):
        _delete(work, draft)
        return
    draft.assign("retention_ns", 0)


@fires(TimerKind.RETENTION)
def retention_over(work: Work, draft: Draft, timer: Timer) -> None:
    """The namespace keeps closed runs no longer. While the run has errands, its state does not derive the timer."""
    _delete(work, draft)


def _delete(work: Work, draft: Draft) -> None:
    draft.delete(release(work, draft.run))
    if work.current is not None and work.current.run_id == draft.run.run_id:
        work.current = None
