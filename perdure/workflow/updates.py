"""Updates of a run: where each stands, and what its caller is told when it moves.

Admitted ones are in `Ephemeral.admitted_updates`, accepted and completed ones in `Facts.updates` (decision 0015); one
that a reset carried over was admitted by an event. Refuses to know who waits. Source: the reference's update registry.
"""

from collections.abc import Iterable, Iterator

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Outcome, Rejection
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.errors import NotFound, PerdureError, Unavailable, WorkflowNotReady
from perdure.base.limits import Limits
from perdure.workflow.branches import spans
from perdure.workflow.decide import UpdateMoved, Work
from perdure.workflow.state import AdmittedUpdate, Run, Update, WorkflowTask
from perdure.workflow.update_requests import UpdateSeen

ADMITTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


_RETURNED_MAX = 10
_REQUEST_URL = "type.googleapis.com/temporal.api.update.v1.Request"


def _failure(message: str, failure_type: str) -> Failure:
    info = ApplicationFailureInfo(type=failure_type, non_retryable=True)
    return Failure(message=message, source="Server", application_failure_info=info)


NOT_PROCESSED = _failure(
    "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by "
    "the worker.",
    "UnprocessedUpdate",
)
ABORTED = "workflow update was aborted"
ABORTED_BY_CLOSE = "workflow update was aborted by closing workflow"
TASK_FAILED = "Unable to perform workflow execution update due to unexpected workflow task failure."
CLOSED_BEFORE = _failure(
    "Workflow Update failed because the Workflow completed before the Update completed.",
    "AcceptedUpdateCompletedWorkflow",
)


def seen(run: Run, update_id: str) -> UpdateSeen | None:
    """How far the update is; None if the run knows none of that id, or knows it no more."""
    update = run.facts.updates.get(update_id)
    if update is not None and update.completed_event_id:
        segments = spans(run.durable.segments)
        return UpdateSeen(run.run_id, COMPLETED, update.completed_event_id, segments)
    if update is not None and update.accepted_event_id:
        if run.is_open:
            return UpdateSeen(run.run_id, ACCEPTED)
        return UpdateSeen(run.run_id, COMPLETED, failure=CLOSED_BEFORE.SerializeToString())
    if run.is_open and (update_id in run.ephemeral.admitted_updates or _is_admitted(run, update_id, update)):
        return UpdateSeen(run.run_id, ADMITTED)
    return None


def check_aborted(run: Run, update_id: str) -> None:
    """Raises NotFound for an update that no worker had accepted when its run closed, as long as that is in memory."""
    if update_id in run.ephemeral.aborted_updates:
        raise NotFound(ABORTED_BY_CLOSE)


def _is_admitted(run: Run, update_id: str, update: Update | None) -> bool:
    """A reset carried it over, and no worker has answered it yet: whoever completed the task that showed it, asked for
    no more time, and did not accept it has rejected it.
    """
    if update is None or update.accepted_event_id or update.completed_event_id:
        return False
    shown = update.admitted_event_id <= run.facts.last_completed_started_event_id
    return not shown or update_id in run.durable.unanswered_updates


def in_flight(run: Run) -> Iterator[str]:
    """The ids of the updates that are admitted or accepted, and not completed."""
    yield from run.ephemeral.admitted_updates
    for update_id in run.facts.open_updates:
        update = run.facts.updates[update_id]
        if update.accepted_event_id or _is_admitted(run, update_id, update):
            yield update_id


def total(run: Run) -> int:
    """How many updates count against the limit of a run: all but those that were rejected."""
    return len(run.ephemeral.admitted_updates) + len(run.facts.updates)


def message_id(update_id: str) -> str:
    """The id of the message that carries an update to a worker."""
    return f"{update_id}/request"


def send(run: Run, *, again: bool) -> tuple[AdmittedUpdate, ...]:
    """The updates that the workflow task which begins now carries, in order of admission. `again`: also those that a
    former task carried, whose worker did not answer.
    """
    if not run.ephemeral.admitted_updates:
        return ()
    carried = tuple(update for update in run.ephemeral.admitted_updates.values() if again or not update.sent)
    for update in carried:
        if not update.sent:
            run.put("admitted_updates", update.update_id, msgspec.structs.replace(update, sent=True))
    return carried


def unsend(work: Work, run: Run) -> None:
    """The started task that carried updates is gone: they are as if it had never been, but that no update goes to
    workers for ever who can't answer: its callers are told in the end.
    """
    for update in tuple(run.ephemeral.admitted_updates.values()):
        if update.sent and update.returned + 1 >= _RETURNED_MAX:
            _refuse_failed(work, run, update)
        elif update.sent:
            back = msgspec.structs.replace(update, sent=False, returned=update.returned + 1)
            run.put("admitted_updates", update.update_id, back)


def message(update: AdmittedUpdate, task: WorkflowTask) -> bytes:
    """The temporal.api.protocol.v1.Message, encoded, that carries the update with the started task."""
    return Message(
        id=message_id(update.update_id),
        protocol_instance_id=update.update_id,
        event_id=task.started_event_id - 1,
        body=AnyMessage(type_url=_REQUEST_URL, value=update.request),
    ).SerializeToString()


def has_unsent(run: Run) -> bool:
    """True where an update waits that no workflow task has carried."""
    return any(not update.sent for update in run.ephemeral.admitted_updates.values())


def tell(work: Work, run_id: str, update_id: str, stage: int, *, outcome: Outcome | None = None) -> None:
    """Whoever waits for the update is to know. What was to be told of it before in the same decision is replaced: a
    caller hears of the last stage only.
    """
    encoded = b"" if outcome is None else outcome.SerializeToString()
    _notify(work, UpdateMoved(run_id, update_id, stage, encoded))


def refuse(work: Work, run_id: str, update_id: str, error: PerdureError) -> None:
    """The update is gone; whoever waits for it gets `error`, unless it has its outcome by this same decision."""
    if (run_id, update_id) not in work.moved:
        _notify(work, UpdateMoved(run_id, update_id, ADMITTED, error=error))


def reject(work: Work, run: Run, update_id: str, failure: Failure) -> None:
    """The workflow does not want the update: nothing of it remains."""
    run.drop("admitted_updates", update_id)
    tell(work, run.run_id, update_id, COMPLETED, outcome=Outcome(failure=failure))


def may_discard(run: Run, answer: RespondWorkflowTaskCompletedRequest, limits: Limits) -> bool:
    """True if nothing of the speculative task that `answer` completes has to be written: it did nothing but reject, and
    what it showed of history may be shown again.
    """
    if answer.commands or answer.force_create_new_workflow_task:
        return False
    shown = run.facts.next_event_id - run.facts.last_completed_started_event_id - 2
    again = limits.discarded_events_max if answer.capabilities.discard_speculative_workflow_task_with_events else 0
    return shown <= again and all(message.body.Is(Rejection.DESCRIPTOR) for message in answer.messages)


def reject_unprocessed(work: Work, run: Run, carried_over: Iterable[str]) -> None:
    """A worker completed the task that carried them and said nothing of them: it does not know updates.

    `carried_over`: the ids of such that a reset brought, and that the task showed.
    """
    for update in tuple(run.ephemeral.admitted_updates.values()):
        if update.sent:
            reject(work, run, update.update_id, NOT_PROCESSED)
    for update_id in carried_over:
        reject(work, run, update_id, NOT_PROCESSED)


def carried_over(run: Run) -> tuple[str, ...]:
    """The ids of the updates that a reset brought and no worker has answered yet."""
    if not run.facts.open_updates:
        return ()
    return tuple(each for each in run.facts.open_updates if _is_admitted(run, each, run.facts.updates[each]))


def refuse_sent(work: Work, run: Run) -> None:
    """The completion of the task that carried them was a bad one: whoever waits for them is told, and nothing sends
    them again. What no worker has seen waits for the next attempt.
    """
    for update in tuple(run.ephemeral.admitted_updates.values()):
        if update.sent:
            _refuse_failed(work, run, update)


def abort(work: Work, run: Run, update_id: str, *, continues: bool) -> None:
    """The run closed: an accepted update fails, one that was only admitted is refused, or is to be asked of the run
    that goes on in its place, if it `continues`. A completed one has its outcome.
    """
    update = run.facts.updates.get(update_id)
    if update is not None and update.completed_event_id:
        return
    if update is not None and update.accepted_event_id:
        tell(work, run.run_id, update_id, COMPLETED, outcome=Outcome(failure=CLOSED_BEFORE))
        return
    run.drop("admitted_updates", update_id)
    error = Unavailable(ABORTED) if continues else NotFound(ABORTED_BY_CLOSE)
    if not continues:
        run.assign("aborted_updates", (*run.ephemeral.aborted_updates, update_id))
    refuse(work, run.run_id, update_id, error)


def abort_all(work: Work, run: Run, *, continues: bool) -> None:
    """The run closed."""
    for update_id in (*run.ephemeral.admitted_updates, *run.facts.open_updates):
        abort(work, run, update_id, continues=continues)


def _refuse_failed(work: Work, run: Run, update: AdmittedUpdate) -> None:
    run.drop("admitted_updates", update.update_id)
    refuse(work, run.run_id, update.update_id, WorkflowNotReady(TASK_FAILED))


def _notify(work: Work, moved: UpdateMoved) -> None:
    place = work.moved.setdefault((moved.run_id, moved.update_id), len(work.notices))
    work.notices[place : place + 1] = [moved]
