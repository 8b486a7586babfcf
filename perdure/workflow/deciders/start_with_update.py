"""StartWithUpdate: a workflow is started, or used if it runs, and an update admitted to it; both or neither.

What is known of the update comes first: a completed one is the answer, whatever became of its workflow; one that its
running workflow knows is attached to, whatever the policies say. A start that is repeated finds what it began. One
decision does both, so nobody can come between. Source: the reference's handler of the call
(`service/history/api/multioperation`).
"""

from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionResponse

from perdure.base.errors import NotFound, OperationAborted, OperationsFailed, PerdureError
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.admit_update import admit
from perdure.workflow.deciders.start import policies, start
from perdure.workflow.links import started_link
from perdure.workflow.lookup import COMPLETED
from perdure.workflow.requests import StartWorkflow
from perdure.workflow.state import CurrentRun, Run
from perdure.workflow.update_requests import StartedWithUpdate, StartWithUpdate, UpdateSeen
from perdure.workflow.updates import seen

_USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING


@decides(StartWithUpdate)
def start_with_update(work: Work, request: StartWithUpdate) -> StartedWithUpdate:
    """Find the update, or admit it to the run that there is, or to a new one. Raises OperationsFailed."""
    asked = request.update
    current = work.current
    run = work.chain.runs.get(current.run_id) if current is not None else None
    if current is not None and run is not None:
        known = seen(run, asked.request.meta.update_id)
        if known is not None and known.completed_event_id:
            # As in the reference, nothing is said of links.
            response = StartWorkflowExecutionResponse(
                run_id=run.run_id,
                status=current.status,  # type: ignore[arg-type]  # a stored number
            )
            return StartedWithUpdate(response, known)
        repeated = _is_repeated(current, run, request.start.request_id)
        if run.is_open and (repeated or known is not None or policies(request.start)[1] == _USE_EXISTING):
            return StartedWithUpdate(_used(work, current), _admitted(work, run, request))
        if repeated:
            # The reference calls it unavailable for ever.
            raise OperationsFailed([OperationAborted(), NotFound(COMPLETED)])
    try:
        started = start(work, StartWorkflow(request.start))
    except PerdureError as error:
        raise OperationsFailed([error, OperationAborted()]) from error
    assert isinstance(started, StartWorkflowExecutionResponse)
    return StartedWithUpdate(started, _admitted(work, work.draft(started.run_id).run, request))


def _is_repeated(current: CurrentRun, run: Run, request_id: str) -> bool:
    """Whether the start was made before, and the current run, or the chain that it is in, came of it."""
    return request_id in (current.create_request_id, current.chain_request_id) or request_id in run.durable.request_ids


def _admitted(work: Work, run: Run, request: StartWithUpdate) -> UpdateSeen:
    try:
        return admit(work, run, request.update)
    except PerdureError as error:
        raise OperationsFailed([OperationAborted(), error]) from error


def _used(work: Work, current: CurrentRun) -> StartWorkflowExecutionResponse:
    """The start's part of the answer where nothing was started."""
    return StartWorkflowExecutionResponse(
        run_id=current.run_id,
        status=current.status,  # type: ignore[arg-type]  # a stored number
        link=started_link(work.context.namespace.name, work.chain.key, current.run_id),
    )
