"""AdmitUpdate: an update waits in memory for a workflow task that carries it to a worker.

One of the same id is the same update: it changes nothing, and is answered with what became of it. Where no workflow
task is outstanding a speculative one is scheduled, of which no trace remains if the workflow rejects the update.
Source: the reference's updater (`service/history/api/updateworkflow`).
"""

from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

from perdure.base.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, WorkflowNotReady
from perdure.base.limits import Limits
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import COMPLETED, check_chain, check_not_closing, find_run
from perdure.workflow.state import AdmittedUpdate, Run
from perdure.workflow.update_requests import AdmitUpdate, UpdateSeen
from perdure.workflow.updates import ADMITTED, check_aborted, in_flight, seen, total
from perdure.workflow.workflow_task import schedule_speculative

_CONCURRENT = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
_FAILING_ATTEMPT = 3
# What the reference adds to the bytes of a request that it keeps: the name of its type, and a length.
_ENVELOPE_BYTES = 56


@decides(AdmitUpdate)
def admit_update(work: Work, request: AdmitUpdate) -> UpdateSeen:
    """Admit the update to the run that the request names."""
    return admit(work, find_run(work, request.request.workflow_execution.run_id), request.request)


def admit(work: Work, run: Run, asked: UpdateWorkflowExecutionRequest) -> UpdateSeen:
    """Admit the update to `run`, as it is in the draft if there is one. Raises NotFound, FailedPrecondition,
    WorkflowNotReady, ResourceExhausted, InvalidArgument.
    """
    check_chain(run, asked.first_execution_run_id)
    update_id = asked.request.meta.update_id
    known = seen(run, update_id)
    if not run.is_open:
        if known is None:
            check_aborted(run, update_id)
            raise NotFound(COMPLETED)
        return known
    _check_ready(run)
    if known is not None:
        return known
    body = asked.request.SerializeToString()
    _check_limits(run, update_id, len(body), work.context.limits)
    if asked.request.completion_callbacks and not asked.request.request_id:
        raise InvalidArgument("invalid *update.Request: request_id is required when completion_callbacks are set")
    draft = work.draft(run.run_id)
    draft.note("admitted_updates", update_id, AdmittedUpdate(update_id, body))
    if draft.run.workflow_task is None and draft.run.durable.unclaimed is None:
        schedule_speculative(draft)
    return UpdateSeen(run.run_id, ADMITTED)


def _check_ready(run: Run) -> None:
    """Raises Refused where no worker would come to see the update."""
    if run.durable.paused:
        raise FailedPrecondition("Workflow is paused. Cannot update the workflow.")
    if run.durable.workflow_task_attempt >= _FAILING_ATTEMPT:
        raise WorkflowNotReady("Unable to perform workflow execution update due to Workflow Task in failed state.")
    check_not_closing(run)


def _check_limits(run: Run, update_id: str, size: int, limits: Limits) -> None:
    """Raises ResourceExhausted, FailedPrecondition. `size`: of the new request, in bytes."""
    waiting = list(in_flight(run))
    if 0 < limits.updates_in_flight_max <= len(waiting):
        raise ResourceExhausted(
            f"limit on number of concurrent in-flight updates has been reached ({limits.updates_in_flight_max})",
            _CONCURRENT,
        )
    check_total(run, limits)
    held = sum(len(update.request) + _ENVELOPE_BYTES for update in run.ephemeral.admitted_updates.values())
    names = sum(2 * len(each.encode()) for each in (*waiting, update_id))
    if 0 < limits.updates_in_flight_bytes_max <= held + names + size:
        raise ResourceExhausted(
            "limit on total payload size of in-flight updates has been reached "
            f"({limits.updates_in_flight_bytes_max} bytes)",
            _CONCURRENT,
        )


def check_total(run: Run, limits: Limits) -> None:
    """Raises FailedPrecondition where the run has had as many updates as it may."""
    if 0 < limits.updates_max <= total(run):
        raise FailedPrecondition(
            "The limit on the total number of distinct updates in this workflow has been reached "
            f"({limits.updates_max}). Make sure any duplicate updates share an Update ID so the server can "
            "deduplicate them, and consider rejecting updates that you aren't going to process. You can also "
            "Continue-as-New to avoid this; we recommend you check Continue-as-New Suggested in your Workflow."
        )
