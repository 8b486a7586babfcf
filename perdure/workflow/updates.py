"""Updates of a run: where each stands, and what its caller is told when it moves.

Admitted ones are in `Ephemeral.admitted_updates`, accepted and completed ones in `Facts.updates` (decision 0015); one
that a reset carried over was admitted by an event. Refuses to know who waits. Source: the reference's update registry.
"""

from collections.abc import Iterator

from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.update.v1 import Outcome

from perdure.base.errors import PerdureError
from perdure.workflow.decide import UpdateMoved, Work
from perdure.workflow.requests import UpdateSeen
from perdure.workflow.state import Run, Update

ADMITTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def _failure(message: str, failure_type: str) -> Failure:
    info = ApplicationFailureInfo(type=failure_type, non_retryable=True)
    return Failure(message=message, source="Server", application_failure_info=info)


NOT_PROCESSED = _failure(
    "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by "
    "the worker.",
    "UnprocessedUpdate",
)
CLOSED_BEFORE = _failure(
    "Workflow Update failed because the Workflow completed before the Update completed.",
    "AcceptedUpdateCompletedWorkflow",
)


def seen(run: Run, update_id: str) -> UpdateSeen | None:
    """How far the update is; None if the run knows none of that id, or knows it no more."""
    update = run.facts.updates.get(update_id)
    if update is not None and update.completed_event_id:
        segments = tuple((segment.branch, segment.first, segment.end) for segment in run.durable.segments)
        return UpdateSeen(run.run_id, COMPLETED, update.completed_event_id, segments)
    if update is not None and update.accepted_event_id:
        if run.is_open:
            return UpdateSeen(run.run_id, ACCEPTED)
        return UpdateSeen(run.run_id, COMPLETED, failure=CLOSED_BEFORE.SerializeToString())
    if run.is_open and (update_id in run.ephemeral.admitted_updates or _is_admitted(run, update)):
        return UpdateSeen(run.run_id, ADMITTED)
    return None


def _is_admitted(run: Run, update: Update | None) -> bool:
    """A reset carried it over, and no worker has seen it yet: whoever has and did not accept it has rejected it."""
    return (
        update is not None
        and not update.accepted_event_id
        and update.admitted_event_id > run.facts.last_completed_started_event_id
    )


def in_flight(run: Run) -> Iterator[str]:
    """The ids of the updates that are admitted or accepted, and not completed."""
    yield from run.ephemeral.admitted_updates
    for update_id, update in run.facts.updates.items():
        if not update.completed_event_id and (update.accepted_event_id or _is_admitted(run, update)):
            yield update_id


def total(run: Run) -> int:
    """How many updates count against the limit of a run: all but those that were rejected."""
    return len(run.ephemeral.admitted_updates) + len(run.facts.updates)


def tell(work: Work, run_id: str, update_id: str, stage: int, *, outcome: Outcome | None = None) -> None:
    """Whoever waits for the update is to know. What was to be told of it before in the same decision is replaced: a
    caller hears of the last stage only.
    """
    encoded = b"" if outcome is None else outcome.SerializeToString()
    _notify(work, UpdateMoved(run_id, update_id, stage, encoded))


def refuse(work: Work, run_id: str, update_id: str, error: PerdureError) -> None:
    """The update is gone; whoever waits for it gets `error`."""
    _notify(work, UpdateMoved(run_id, update_id, ADMITTED, error=error))


def reject(work: Work, run: Run, update_id: str, failure: Failure) -> None:
    """The workflow does not want the update: nothing of it remains."""
    run.drop("admitted_updates", update_id)
    tell(work, run.run_id, update_id, COMPLETED, outcome=Outcome(failure=failure))


def _notify(work: Work, moved: UpdateMoved) -> None:
    for index, notice in enumerate(work.notices):
        if type(notice) is UpdateMoved and (notice.run_id, notice.update_id) == (moved.run_id, moved.update_id):
            work.notices[index] = moved
            return
    work.notices.append(moved)
