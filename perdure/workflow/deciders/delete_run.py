"""DeleteRun, and the end of a closed run's retention: the run goes, with its history."""

from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes

from perdure.workflow.close import close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.draft import Draft
from perdure.workflow.lookup import find_run
from perdure.workflow.requests import DeleteRun
from perdure.workflow.tasks import Timer, TimerKind


@decides(DeleteRun)
def delete_run(work: Work, request: DeleteRun) -> None:
    """Delete the run; an open one is terminated first, so that what waits for it is told."""
    run = find_run(work, request.run_id)
    draft = work.draft(run.run_id)
    if run.is_open:
        close_from_outside(work, draft, WorkflowExecutionTerminatedEventAttributes(reason="Delete workflow execution"))
    _delete(work, draft)


@fires(TimerKind.RETENTION)
def retention_over(work: Work, draft: Draft, timer: Timer) -> None:
    """The namespace keeps closed runs no longer."""
    _delete(work, draft)


def _delete(work: Work, draft: Draft) -> None:
    draft.delete()
    if work.current is not None and work.current.run_id == draft.run.run_id:
        work.current = None
