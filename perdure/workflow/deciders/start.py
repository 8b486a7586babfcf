"""StartWorkflow: a new run, or the answer that there is one already.

A request id that started the current run, or the chain of runs it is in, gets the same answer again, also after the run
closed. Else the conflict policy decides while it runs, and the reuse policy after that. Messages and details are the
reference's: SDKs read them.

A client that is a worker too may ask for the first workflow task with the answer. The task is started in the same
decision; if the answer is lost it times out and is offered like any other.
"""

from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.history.v1 import (
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
)
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest, StartWorkflowExecutionResponse

from perdure.base.errors import FailedPrecondition, InvalidArgument, WorkflowAlreadyStarted
from perdure.workflow.close import SERVER_IDENTITY, close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.start_workflow_task import handed_out
from perdure.workflow.draft import Draft
from perdure.workflow.links import request_link, started_link
from perdure.workflow.new_run import create_run, is_eager, refuse_unknown
from perdure.workflow.requests import StartedEagerly, StartWorkflow
from perdure.workflow.state import RUNNING, CurrentRun, RequestRecord
from perdure.workflow.workflow_task import start as start_task
from perdure.workflow.workflow_task import wake

_RUNS = "Workflow execution is already running. WorkflowId: {}, RunId: {}."
_SUCCEEDED = (
    "Workflow execution already finished successfully. WorkflowId: {}, RunId: {}. "
    "Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
)
_FINISHED = (
    "Workflow execution already finished. WorkflowId: {}, RunId: {}. "
    "Workflow Id reuse policy: reject duplicate workflow Id."
)
_FAILED = frozenset(
    {
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    }
)
# Starts that attached themselves to one run: they are part of its state, which every checkpoint writes anew.
ATTACHED_MAX = 1_000
_Reuse = WorkflowIdReusePolicy
_Conflict = WorkflowIdConflictPolicy
# Looking an enum's value up by its name is slow.
_ALLOW_DUPLICATE = _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
_TERMINATE_IF_RUNNING = _Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
_FAIL = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL
_TERMINATE_EXISTING = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
_USE_EXISTING = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING


@decides(StartWorkflow)
def start(work: Work, request: StartWorkflow) -> StartWorkflowExecutionResponse | StartedEagerly:
    """Start a run, or find the one that this request id started, or attach to the one that runs."""
    start_request = request.request
    refuse_unknown(start_request)
    current = work.current
    if current is not None:
        if start_request.request_id == current.create_request_id:
            return _started_before(work, current, start_request)
        if start_request.request_id == current.chain_request_id:
            # The run that it made was followed by others. The reference has forgotten the start by then, and refuses
            # it, or terminates what it began.
            return _response(work, current, started=True, run_id=current.first_run_id)
        run = work.chain.runs.get(current.run_id)
        if run is not None and start_request.request_id in run.durable.request_ids:
            return _attached(work, current, start_request.request_id)
        if not make_room(work, current, start_request):
            return _use_existing(work, current, start_request)
    draft = create_run(work, start_request)
    wake(draft)
    assert work.current is not None
    response = _response(work, work.current, started=True)
    if not is_eager(start_request):
        return response
    start_task(draft, start_request.request_id, start_request.identity)
    return StartedEagerly(response, handed_out(draft.run, start_request.identity, partial=False))


def _started_before(
    work: Work, current: CurrentRun, request: StartWorkflowExecutionRequest
) -> StartWorkflowExecutionResponse | StartedEagerly:
    """The answer to a start that is repeated: with the first workflow task while that is the one it was given."""
    response = _response(work, current, started=True)
    run = work.chain.runs.get(current.run_id)
    if run is None or not run.is_open:
        return response
    response.status = run.shown_status  # type: ignore[assignment]  # a stored number
    if not is_eager(request):
        return response
    task = run.durable.workflow_task
    if task is None or task.attempt != 1 or not task.started_event_id or task.request_id != request.request_id:
        return response
    return StartedEagerly(response, handed_out(run, request.identity, partial=False))


def make_room(work: Work, current: CurrentRun, request: Any, run_id: str = "") -> bool:
    """Apply the policies of a start (any kind) to the current run. False: it is to be used instead of a new one.
    `run_id`: of the new one, where it is given.

    Raises WorkflowAlreadyStarted where the policies forbid a new run. Terminates the current run where they say so.
    """
    reuse, conflict = policies(request)
    if current.status == RUNNING:
        if conflict == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING:
            return False
        if conflict == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL:
            raise _already_started(work, current, _RUNS)
        _terminate(work, current, run_id or work.context.new_run_id())
    elif reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE:
        raise _already_started(work, current, _FINISHED)
    elif reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY and current.status not in _FAILED:
        raise _already_started(work, current, _SUCCEEDED)
    return True


def policies(request: Any) -> tuple[int, int]:
    """(reuse, conflict) of a start request, with defaults. Raises InvalidArgument for combinations that contradict."""
    reuse = request.workflow_id_reuse_policy or _ALLOW_DUPLICATE
    conflict = request.workflow_id_conflict_policy
    if reuse == _TERMINATE_IF_RUNNING:
        if conflict:
            raise InvalidArgument(
                f"Invalid WorkflowIDReusePolicy: {_Reuse.Name(reuse)} "
                "cannot be used together with a WorkflowIDConflictPolicy"
            )
        return _ALLOW_DUPLICATE, _TERMINATE_EXISTING
    if conflict == _TERMINATE_EXISTING and reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE:
        raise InvalidArgument(
            f"Invalid WorkflowIDReusePolicy: {_Reuse.Name(reuse)} cannot be used together with "
            f"WorkflowIdConflictPolicy {_Conflict.Name(conflict)}"
        )
    return reuse, conflict or (_FAIL if isinstance(request, StartWorkflowExecutionRequest) else _USE_EXISTING)


def _terminate(work: Work, current: CurrentRun, new_run_id: str) -> None:
    details = Payload(metadata={"encoding": b"json/plain"}, data=f'"terminated by new runID: {new_run_id}"'.encode())
    attributes = WorkflowExecutionTerminatedEventAttributes(
        reason="TerminateIfRunning WorkflowIdReusePolicy",
        details=Payloads(payloads=[details]),
        identity=SERVER_IDENTITY,
    )
    close_from_outside(work, work.draft(current.run_id), attributes)


def _already_started(work: Work, current: CurrentRun, message: str) -> WorkflowAlreadyStarted:
    return WorkflowAlreadyStarted(
        message.format(work.chain.key.workflow_id, current.run_id),
        start_request_id=current.create_request_id,
        run_id=current.run_id,
        first_execution_run_id=current.first_run_id,
    )


def _response(work: Work, current: CurrentRun, *, started: bool, run_id: str = "") -> StartWorkflowExecutionResponse:
    """The answer about the current run, or the run `run_id` of its chain."""
    run_id = run_id or current.run_id
    return StartWorkflowExecutionResponse(
        run_id=run_id,
        first_execution_run_id=current.first_run_id,
        started=started,
        status=current.status,  # type: ignore[arg-type]  # the enum's int is stored plain
        link=started_link(work.context.namespace.name, work.chain.key, run_id),
    )


def _use_existing(
    work: Work, current: CurrentRun, request: StartWorkflowExecutionRequest
) -> StartWorkflowExecutionResponse:
    """The run that is there, with what the start wants attached to it: its request id, its links, its callbacks."""
    if not request.HasField("on_conflict_options"):
        return _response(work, current, started=False)
    options = request.on_conflict_options
    request_id = request.request_id if options.attach_request_id else ""
    draft = work.draft(current.run_id)
    if request_id and len(draft.run.durable.request_ids) > ATTACHED_MAX:  # its own start is among them
        raise FailedPrecondition(f"no more than {ATTACHED_MAX} requests can be attached to a workflow")
    attributes = WorkflowExecutionOptionsUpdatedEventAttributes(attached_request_id=request_id)
    if options.attach_completion_callbacks:
        _check_callbacks(draft, len(request.completion_callbacks))
        attributes.attached_completion_callbacks.extend(request.completion_callbacks)
    links = request.links if options.attach_links else ()
    event = draft.add(attributes, links=links, worker_may_ignore=True)
    if not request_id:
        return _response(work, current, started=False)
    draft.put("request_ids", request_id, RequestRecord(event.event_type, event.event_id))
    return _attached(work, current, request_id)


def _check_callbacks(draft: Draft, more: int) -> None:
    attached, limit = len(draft.run.facts.callbacks), draft.context.limits.callbacks_max
    if attached + more > limit:
        raise FailedPrecondition(
            f"cannot attach more than {limit} callbacks to a workflow ({attached} callbacks already attached)"
        )


def _attached(work: Work, current: CurrentRun, request_id: str) -> StartWorkflowExecutionResponse:
    response = _response(work, current, started=False)
    event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
    link = request_link(work.context.namespace.name, work.chain.key, current.run_id, request_id, event_type)
    response.link.CopyFrom(link)
    return response
