"""Look: where a run stands, for history reads and long polls. Changes nothing."""

from perdure.workflow.branches import spans
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import find_run
from perdure.workflow.requests import Look, Seen
from perdure.workflow.workflow_task import tail


@decides(Look)
def look(work: Work, request: Look) -> Seen:
    """What a reader of the run's history has to know."""
    run = find_run(work, request.run_id)
    facts, durable = run.facts, run.durable
    return Seen(
        run_id=durable.run_id,
        first_run_id=facts.first_run_id,
        next_event_id=facts.next_event_id,
        last_first_event_id=facts.last_first_event_id,
        is_open=run.is_open,
        status=facts.status,
        close_event_id=facts.close_event_id,
        segments=spans(run.durable.segments),
        previous_started_event_id=facts.last_completed_started_event_id,
        workflow_type=facts.workflow_type,
        task_queue=facts.task_queue,
        sticky_queue=durable.sticky_queue,
        sticky_timeout_ns=durable.sticky_timeout_ns,
        tail=tail(run),
        is_paused=durable.paused and run.is_open,
    )
