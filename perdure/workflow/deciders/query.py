"""BeginQuery, AbandonQuery: how a query can be answered now.

Directly, by any worker, only if no event waits to be seen by the workflow's code; else it waits for the workflow task
that is outstanding and is answered with it, so that a query sees everything that was acknowledged before it. Source:
the reference's query handler.
"""

from temporalio.api.enums.v1 import QueryRejectCondition, ResourceExhaustedCause, WorkflowExecutionStatus

from perdure.base.errors import ResourceExhausted, WorkflowNotReady
from perdure.workflow.close import NEVER_STARTED
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import find_run
from perdure.workflow.requests import AbandonQuery, BeginQuery, QueryPlan
from perdure.workflow.state import BufferedQuery, Run
from perdure.workflow.workflow_task import awaits_first_task

_COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
_PAUSED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
_FAILING_ATTEMPT = 3


@decides(BeginQuery)
def begin_query(work: Work, request: BeginQuery) -> QueryPlan:
    """Reject, dispatch or buffer the query."""
    run = find_run(work, request.run_id)
    rejected = _rejection(run, request.reject_condition)
    if rejected:
        return QueryPlan(run.run_id, rejected_status=rejected)
    _check_ready(run, request.deadline_ns)
    facts, durable = run.facts, run.durable
    if facts.last_completed_started_event_id and (not run.is_open or run.workflow_task is None):
        return QueryPlan(
            run.run_id,
            task_queue=facts.task_queue,
            sticky_queue=durable.sticky_queue,
            sticky_timeout_ns=durable.sticky_timeout_ns,
        )
    if len(run.ephemeral.queries) >= work.context.limits.buffered_queries_max:
        raise ResourceExhausted(
            "consistent query buffer is full, this may be caused by too many queries and workflow not able to process "
            "query fast enough",
            ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
        )
    query = BufferedQuery(request.query_id, request.query.SerializeToString())
    work.draft(run.run_id).run.put("queries", request.query_id, query)
    return QueryPlan(run.run_id, buffered=True)


@decides(AbandonQuery)
def abandon_query(work: Work, request: AbandonQuery) -> None:
    """Nobody waits for the buffered query any more. Raises NotFound."""
    run = find_run(work, request.run_id)
    if request.query_id in run.ephemeral.queries:
        work.draft(run.run_id).run.drop("queries", request.query_id)


def _rejection(run: Run, condition: int) -> int:
    """The status that the query is rejected with; 0 = it is not."""
    status = run.facts.status
    if not run.is_open and (
        condition == QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_OPEN
        or (condition == QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY and status != _COMPLETED)
    ):
        return status
    return _PAUSED if run.is_open and run.durable.paused else 0


def _check_ready(run: Run, deadline_ns: int) -> None:
    """Raises WorkflowNotReady where no worker could answer before the caller gives up."""
    if not run.is_open and not run.facts.last_completed_started_event_id:
        raise WorkflowNotReady(NEVER_STARTED)
    if run.is_open and awaits_first_task(run) and deadline_ns < run.durable.execution_time_ns:
        raise WorkflowNotReady("Workflow task is not scheduled yet.")
    if run.durable.workflow_task_attempt >= _FAILING_ATTEMPT:
        raise WorkflowNotReady("Unable to query workflow due to Workflow Task in failed state.")
