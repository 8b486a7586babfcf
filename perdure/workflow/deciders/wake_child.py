"""WakeChild: what a child does once its parent has said what it knows of it.

Recorded: it begins. The parent closed without having recorded it: its parent close policy decides. The parent has no
such child, so that this one is a start that came too late: it ends.
"""

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.api.history.v1 import (
    WorkflowExecutionCancelRequestedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
)

from perdure.workflow.close import PARENT_CLOSED, SERVER_IDENTITY, close_from_outside
from perdure.workflow.decide import Work, decides
from perdure.workflow.requests import Claim, WakeChild
from perdure.workflow.workflow_task import wake

_STRAY = "the parent does not know this child"
_ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
_REQUEST_CANCEL = ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL


@decides(WakeChild)
def wake_child(work: Work, request: WakeChild) -> None:
    """Go on, or end; one that was woken before, or is over, is left alone."""
    run = work.chain.runs.get(request.run_id)
    if run is None or not run.is_open or run.durable.unclaimed is None:
        return
    draft = work.draft(request.run_id)
    policy = run.durable.unclaimed.parent_close_policy
    orphaned = request.claim == Claim.ORPHANED
    if request.claim == Claim.UNKNOWN or (orphaned and policy not in (_ABANDON, _REQUEST_CANCEL)):
        reason = PARENT_CLOSED if orphaned else _STRAY
        attributes = WorkflowExecutionTerminatedEventAttributes(reason=reason, identity=SERVER_IDENTITY)
        close_from_outside(work, draft, attributes)
        return
    draft.assign("unclaimed", None)
    if orphaned and policy == _REQUEST_CANCEL and not run.facts.cancel_requested:
        parent = WorkflowExecution.FromString(run.facts.parent)
        draft.add(
            WorkflowExecutionCancelRequestedEventAttributes(
                external_workflow_execution=parent, identity=SERVER_IDENTITY
            )
        )
    # A cancellation that came while it slept would have ended its delay.
    wake(draft, skip_delay=draft.run.facts.cancel_requested)
