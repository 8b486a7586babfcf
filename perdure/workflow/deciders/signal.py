"""SignalWorkflow: an event that the workflow's code reads. A request id that was seen before changes nothing."""

from typing import Any

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import WorkflowExecutionSignaledEventAttributes
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionResponse

from perdure.base.errors import InvalidArgument
from perdure.workflow.context import Context
from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.links import request_link
from perdure.workflow.lookup import check_not_closing, check_open, check_parent, find_run
from perdure.workflow.requests import EarlierRun, SignalWorkflow
from perdure.workflow.state import RequestRecord, Run
from perdure.workflow.taken_before import taken_before
from perdure.workflow.workflow_task import wake

_SIGNALED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


@decides(SignalWorkflow)
def signal(work: Work, request: SignalWorkflow) -> SignalWorkflowExecutionResponse | EarlierRun:
    """Signal the open run."""
    asked, external = request.request, request.external
    run_id, request_id = asked.workflow_execution.run_id, asked.request_id
    run = find_run(work, run_id)
    taken: bool | EarlierRun = request_id in run.durable.signal_requests
    if external is not None and not run_id:
        taken = taken_before(work, run, external, lambda each: request_id in each.durable.signal_requests)
    if isinstance(taken, EarlierRun):
        return taken
    if not taken:
        _signal(work, run, request)
    return SignalWorkflowExecutionResponse(
        link=request_link(
            work.context.namespace.name,
            work.chain.key,
            run.run_id,
            request_id,
            _SIGNALED,
        )
    )


def _signal(work: Work, run: Run, request: SignalWorkflow) -> None:
    asked, external = request.request, request.external
    check_open(run)
    check_signal(run, asked.input, work.context)
    check_parent(run, external)
    fields: dict[str, Any] = {}
    if external is not None:
        fields["external_workflow_execution"] = WorkflowExecution(
            workflow_id=external.workflow_id, run_id=external.run_id
        )
    attributes = WorkflowExecutionSignaledEventAttributes(
        signal_name=asked.signal_name, identity=asked.identity, request_id=asked.request_id, **fields
    )
    if asked.HasField("input"):
        attributes.input.CopyFrom(asked.input)
    if asked.HasField("header"):
        attributes.header.CopyFrom(asked.header)
    draft = work.draft(run.run_id)
    add_signal(draft, attributes, links=asked.links)
    wake(draft)


def check_signal(run: Run, payloads: Payloads, context: Context) -> None:
    """Raises InvalidArgument over a limit, ResourceExhausted while the workflow tries to close."""
    if payloads.ByteSize() > context.limits.blob_bytes_max:
        raise InvalidArgument("Blob data size exceeds limit.")
    if run.facts.signal_count >= context.limits.signals_max:
        raise InvalidArgument("exceeded workflow execution limit for signal events")
    check_not_closing(run)


def add_signal(draft: Draft, attributes: WorkflowExecutionSignaledEventAttributes, links: object) -> None:
    """Write the event, and remember its request id."""
    request_id = attributes.request_id
    if request_id:
        draft.put("signal_requests", request_id, True)
    event = draft.add(attributes, links=links)
    known = draft.run.durable.request_ids.get(request_id)
    if known is not None and event.event_id:
        # One request with two events, a signal with start: it names the second, as when a flush numbers the signal.
        draft.put("request_ids", request_id, RequestRecord(known.event_type, event.event_id))
