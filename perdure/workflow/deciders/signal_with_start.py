"""SignalWithStart: signal the run that is open, or start one that has the signal before its first task."""

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import WorkflowExecutionSignaledEventAttributes
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
)

from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.signal import add_signal, check_signal
from perdure.workflow.deciders.start import make_room
from perdure.workflow.links import request_link
from perdure.workflow.new_run import create_run, refuse_unknown
from perdure.workflow.requests import SignalWithStart
from perdure.workflow.state import RUNNING, CurrentRun
from perdure.workflow.workflow_task import wake

_SIGNAL_FIELDS = frozenset({"signal_name", "signal_input", "control"})
_COPIED = tuple(
    field.name
    for field in SignalWithStartWorkflowExecutionRequest.DESCRIPTOR.fields
    if field.name in StartWorkflowExecutionRequest.DESCRIPTOR.fields_by_name
)


@decides(SignalWithStart)
def signal_with_start(work: Work, request: SignalWithStart) -> SignalWithStartWorkflowExecutionResponse:
    """Signal the current run, or a new one."""
    both = request.request
    refuse_unknown(both, _SIGNAL_FIELDS)
    current = work.current
    if current is not None and both.request_id and both.request_id == current.chain_request_id:
        # The run that it began and signalled was followed by others: a repeated call must not end them.
        return _response(work, current, both.request_id, started=False, run_id=current.first_run_id)
    if current is not None and _did_it(work, current, both.request_id):
        return _response(work, current, both.request_id, started=False)
    if current is not None and not make_room(work, current, both):
        _signal_current(work, current, both)
        return _response(work, current, both.request_id, started=False)
    draft = create_run(work, _start_part(both))
    check_signal(draft.run, both.signal_input, work.context)
    add_signal(draft, _signaled(both), links=both.links)
    wake(draft)
    assert work.current is not None
    return _response(work, work.current, both.request_id, started=True)


def _did_it(work: Work, current: CurrentRun, request_id: str) -> bool:
    """Whether an earlier call with this request id made the current run, and signalled it: a repeated call must not
    terminate what the first one began, whatever its policies say.
    """
    if request_id != current.create_request_id:
        return False
    run = work.chain.runs.get(current.run_id)
    return current.status != RUNNING or (run is not None and request_id in run.durable.signal_requests)


def _signal_current(work: Work, current: CurrentRun, both: SignalWithStartWorkflowExecutionRequest) -> None:
    run = work.chain.runs[current.run_id]
    check_signal(run, both.signal_input, work.context)
    if both.request_id in run.durable.signal_requests:
        return
    draft = work.draft(current.run_id)
    add_signal(draft, _signaled(both), links=both.links)
    wake(draft, skip_delay=True)


def _signaled(both: SignalWithStartWorkflowExecutionRequest) -> WorkflowExecutionSignaledEventAttributes:
    attributes = WorkflowExecutionSignaledEventAttributes(
        signal_name=both.signal_name, identity=both.identity, request_id=both.request_id
    )
    if both.HasField("signal_input"):
        attributes.input.CopyFrom(both.signal_input)
    if both.HasField("header"):
        attributes.header.CopyFrom(both.header)
    return attributes


def _start_part(both: SignalWithStartWorkflowExecutionRequest) -> StartWorkflowExecutionRequest:
    given: dict[str, Any] = {field.name: value for field, value in both.ListFields() if field.name in _COPIED}
    return StartWorkflowExecutionRequest(**given)


def _response(
    work: Work, current: CurrentRun, request_id: str, *, started: bool, run_id: str = ""
) -> SignalWithStartWorkflowExecutionResponse:
    """The answer about the current run, or the run `run_id` of its chain."""
    run_id = run_id or current.run_id
    return SignalWithStartWorkflowExecutionResponse(
        run_id=run_id,
        first_execution_run_id=current.first_run_id,
        started=started,
        signal_link=request_link(
            work.context.namespace.name,
            work.chain.key,
            run_id,
            request_id,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        ),
    )
