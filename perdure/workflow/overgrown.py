"""Runs that outgrow the limits, whatever request made them.

Too much waits behind a started workflow task: the task fails, so that its worker sees it. A history too long or too
large, or a decision too large for one commit: the run is terminated, and the request is refused. Source: the
reference's context.
"""

from typing import Any

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes

from perdure.base.errors import InvalidArgument
from perdure.workflow.close import SERVER_IDENTITY, close_from_outside
from perdure.workflow.decide import Work, guards
from perdure.workflow.draft import Draft
from perdure.workflow.lost_task import fail
from perdure.workflow.requests import FireTimer
from perdure.workflow.workflow_task import wake

_TOO_MUCH_AT_ONCE = "Transaction size exceeds limit."
TOO_MANY_EVENTS = "Workflow history count exceeds limit."
_FORCE_CLOSE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND


@guards
def keep_within_limits(work: Work, request: Any) -> None:
    """Check every run that the decision changes and leaves open."""
    for run_id, draft in list(work.drafts.items()):
        if draft.deleted or not draft.changed or not draft.run.is_open:
            continue
        reason = _excess(draft)
        if not reason:
            _relieve(draft)
        elif run_id in work.chain.runs:
            terminate_overgrown(work, run_id, reason, _said(draft, reason))
            if isinstance(request, FireTimer):
                work.refusal = None
            return


def terminate_overgrown(work: Work, run_id: str, reason: str, said: str = "") -> None:
    """The run ends instead of what was asked, which is refused; `said`: with other words than the reason."""
    attributes = WorkflowExecutionTerminatedEventAttributes(reason=reason, identity=SERVER_IDENTITY)
    close_from_outside(work, work.restart(run_id), attributes)
    work.refusal = InvalidArgument(said or reason)


def _excess(draft: Draft) -> str:
    """Why the run has to end; "" if it doesn't."""
    limits, run = draft.context.limits, draft.run
    if run.durable.history_bytes > limits.history_bytes_max:
        return "Workflow history size exceeds limit."
    if run.facts.next_event_id - 1 > limits.history_events_max:
        return TOO_MANY_EVENTS
    if draft.event_bytes > limits.transaction_bytes_max:
        return _TOO_MUCH_AT_ONCE
    if draft.context.state_bytes.get(run.run_id, 0) > limits.state_bytes_max:
        return "Workflow mutable state size exceeds limit."
    return ""


def _said(draft: Draft, reason: str) -> str:
    if reason != _TOO_MUCH_AT_ONCE:
        return reason
    limit = draft.context.limits.transaction_bytes_max
    return f"transaction size of {draft.event_bytes} bytes exceeds limit of {limit} bytes"


def _relieve(draft: Draft) -> None:
    """Fail the started workflow task if more is buffered behind it than the limits allow; another is scheduled, unless
    the run is paused.
    """
    durable, limits = draft.run.durable, draft.context.limits
    if durable.workflow_task is None or not durable.workflow_task.started_event_id:  # never speculative: it changed
        return
    if len(durable.buffered) > limits.buffered_events_max or durable.buffered_bytes > limits.buffered_events_bytes_max:
        fail(draft, _FORCE_CLOSE, identity=SERVER_IDENTITY)
        wake(draft)
