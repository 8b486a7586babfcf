"""SignalWorkflow: an event that the workflow's code reads. A request id that was seen before changes nothing."""

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType, ResourceExhaustedCause, WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowExecutionSignaledEventAttributes
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionResponse

from perdure.base.errors import InvalidArgument, NotFound, ResourceExhausted
from perdure.workflow.context import Context
from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.links import request_link
from perdure.workflow.lookup import COMPLETED, find_run
from perdure.workflow.requests import SignalWorkflow
from perdure.workflow.state import Run
from perdure.workflow.workflow_task import wake

_CLOSING = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND


@decides(SignalWorkflow)
def signal(work: Work, request: SignalWorkflow) -> SignalWorkflowExecutionResponse:
    """Signal the open run."""
    signal_request = request.request
    run = find_run(work, signal_request.workflow_execution.run_id)
    if signal_request.request_id not in run.durable.signal_requests:
        if not run.is_open:
            raise NotFound(COMPLETED)
        check_signal(run, signal_request.input, work.context)
        draft = work.draft(run.run_id)
        attributes = WorkflowExecutionSignaledEventAttributes(
            signal_name=signal_request.signal_name,
            identity=signal_request.identity,
            request_id=signal_request.request_id,
        )
        if signal_request.HasField("input"):
            attributes.input.CopyFrom(signal_request.input)
        if signal_request.HasField("header"):
            attributes.header.CopyFrom(signal_request.header)
        add_signal(draft, attributes, links=signal_request.links)
        wake(draft)
    return SignalWorkflowExecutionResponse(
        link=request_link(
            work.context.namespace.name,
            work.chain.key,
            run.run_id,
            signal_request.request_id,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        )
    )


def check_signal(run: Run, payloads: Payloads, context: Context) -> None:
    """Raises InvalidArgument over a limit, ResourceExhausted while the workflow tries to close."""
    if payloads.ByteSize() > context.limits.blob_bytes_max:
        raise InvalidArgument("Blob data size exceeds limit.")
    if run.facts.signal_count >= context.limits.signals_max:
        raise InvalidArgument("exceeded workflow execution limit for signal events")
    task = run.durable.workflow_task
    if task is not None and task.started_event_id and run.durable.workflow_task_failure_cause == _CLOSING:
        # It closed once already over events it had not seen; a steady stream of signals must not keep it from closing.
        raise ResourceExhausted(
            "workflow operation can not be applied because workflow is closing",
            ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
        )


def add_signal(draft: Draft, attributes: WorkflowExecutionSignaledEventAttributes, links: object) -> None:
    """Write the event, and remember its request id."""
    if attributes.request_id:
        draft.put("signal_requests", attributes.request_id, True)
    draft.add(attributes, links=links)
