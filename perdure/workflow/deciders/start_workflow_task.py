"""StartWorkflowTask: matching found a poller for an offered workflow task.

Idempotent by matching's request id: a repeated call gets the same answer, whatever the offer says. Everything else that
does not fit the state any more is NotFound: the reference is obsolete, and matching drops it.
"""

from temporalio.api.common.v1 import WorkerVersionCapabilities, WorkerVersionStamp

from perdure.base.errors import NotFound
from perdure.workflow.branches import spans
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import check_open, find_run
from perdure.workflow.lost_task import TASK_NOT_FOUND, clear_sticky
from perdure.workflow.requests import StartWorkflowTask, WorkflowTaskStarted
from perdure.workflow.state import AdmittedUpdate, Run, WorkflowTask
from perdure.workflow.updates import message, send
from perdure.workflow.workflow_task import start, tail


@decides(StartWorkflowTask)
def start_workflow_task(work: Work, request: StartWorkflowTask) -> WorkflowTaskStarted:
    """Start the task that the offer refers to, for this poller."""
    run = find_run(work, request.offer.run_id)
    check_open(run)
    task = run.workflow_task
    if task is not None and task.started_event_id and task.request_id == request.request_id:
        carried = tuple(update for update in run.ephemeral.admitted_updates.values() if update.sent)
        return handed_out(run, request.identity, carried, partial=bool(run.durable.sticky_queue))
    _check(request, task)
    sticky_queue = run.durable.sticky_queue
    if not sticky_queue and request.sticky_poll:
        raise NotFound("rejecting sticky poller because workflow has moved to normal queue")
    draft = work.draft(run.run_id)
    if sticky_queue != request.poll_queue:
        # Dispatched on the normal queue since nobody polls the sticky one: whoever has it in cache is given up.
        clear_sticky(draft)
    start(draft, request.request_id, request.identity, _stamp(request.capabilities))
    send_queries(draft.run)
    carried = send(draft.run, again=True)
    return handed_out(draft.run, request.identity, carried, partial=bool(draft.run.durable.sticky_queue))


def send_queries(run: Run) -> None:
    """The task that begins now carries the queries that wait, and none that come later: it may not show what was
    acknowledged before those.
    """
    run.assign("queries_sent", tuple(run.ephemeral.queries))


def handed_out(
    run: Run, identity: str, carried: tuple[AdmittedUpdate, ...] = (), *, partial: bool
) -> WorkflowTaskStarted:
    """What a worker gets with the started task. `carried`: the updates that go with it. `partial`: the worker knows the
    history up to its previous task.
    """
    task = run.workflow_task
    assert task is not None
    facts = run.facts
    return WorkflowTaskStarted(
        run_id=run.run_id,
        workflow_type=facts.workflow_type,
        task=task,
        previous_started_event_id=facts.last_completed_started_event_id,
        next_event_id=facts.next_event_id,
        segments=spans(run.durable.segments),
        tail=tail(run, identity),
        partial=partial,
        queries={
            query_id: query.query
            for query_id, query in run.ephemeral.queries.items()
            if query_id in run.ephemeral.queries_sent
        },
        normal_queue=facts.task_queue,
        messages=tuple(message(update, task) for update in carried),
    )


def _stamp(capabilities: WorkerVersionCapabilities | None) -> bytes:
    """The encoded version of a worker that says which build it is; empty for others, and for deployments."""
    if capabilities is None or not capabilities.build_id:
        return b""
    if capabilities.use_versioning and capabilities.deployment_series_name:
        return b""
    stamp = WorkerVersionStamp(build_id=capabilities.build_id, use_versioning=capabilities.use_versioning)
    return stamp.SerializeToString()


def _check(request: StartWorkflowTask, task: WorkflowTask | None) -> None:
    offer = request.offer
    if (
        task is None
        or offer.scheduled_event_id != task.scheduled_event_id
        or offer.attempt != task.attempt
        or offer.stamp != task.stamp
    ):
        raise NotFound(TASK_NOT_FOUND)
    if task.started_event_id:
        raise NotFound("Workflow task already started.")
