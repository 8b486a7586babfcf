"""DeleteRun, and the end of a closed run's retention: the run goes, with its history.

A run that has errands yet goes when they are done (decision 0011): its retention is none, and is not over before. So
an open one is terminated first, and what waits for it is told as after any other close. Source:
`service/history/api/deleteworkflow`.
"""

from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes

from perdure.base.errors import Unavailable
from perdure.workflow.close import SERVER_IDENTITY, close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.draft import Draft
from perdure.workflow.lookup import find_run
from perdure.workflow.outstanding import tasks_of
from perdure.workflow.requests import DeleteRun
from perdure.workflow.state import Run
from perdure.workflow.tasks import ERRANDS, Timer, TimerKind

_REASON = "Delete workflow execution"


@decides(DeleteRun)
def delete_run(work: Work, request: DeleteRun) -> None:
    """Delete a closed run now; end an open one, so that what waits for it is told, and let it go after that."""
    run = find_run(work, request.run_id)
    draft = work.draft(run.run_id)
    if run.is_open:
        attributes = WorkflowExecutionTerminatedEventAttributes(reason=_REASON, identity=SERVER_IDENTITY)
        close_from_outside(work, draft, attributes)
    elif not _has_errands(run):
        _delete(work, draft)
        return
    draft.assign("retention_ns", 0)


@fires(TimerKind.RETENTION)
def retention_over(work: Work, draft: Draft, timer: Timer) -> None:
    """The namespace keeps closed runs no longer. Raises Unavailable while the run has errands: to be fired again."""
    if _has_errands(draft.run):
        raise Unavailable("The run has errands yet.")
    _delete(work, draft)


def _has_errands(run: Run) -> bool:
    return any(isinstance(task, Timer) and task.kind in ERRANDS for task in tasks_of(run, ("run", None)))


def _delete(work: Work, draft: Draft) -> None:
    draft.delete()
    if work.current is not None and work.current.run_id == draft.run.run_id:
        work.current = None
