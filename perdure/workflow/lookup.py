"""Finding the run that a request is for."""

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResourceExhaustedCause, WorkflowTaskFailedCause

from perdure.base.errors import NotFound, ResourceExhausted
from perdure.workflow.decide import Work
from perdure.workflow.draft import Draft
from perdure.workflow.requests import External
from perdure.workflow.state import Run

MISSING = "workflow not found for ID: {}"
MISSING_RUN = 'workflow execution not found for workflow ID "{}" and run ID "{}"'
COMPLETED = "workflow execution already completed"
OTHER_CHAIN = "workflow execution not found"
OTHER_PARENT = "workflow parent does not match"
_UNHANDLED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND


def find_run(work: Work, run_id: str) -> Run:
    """The run `run_id`, or the current one if that is "". Raises NotFound."""
    if not run_id:
        if work.current is None:
            raise NotFound(MISSING.format(work.chain.key.workflow_id))
        run_id = work.current.run_id
    run = work.chain.runs.get(run_id)
    if run is None:
        raise NotFound(MISSING_RUN.format(work.chain.key.workflow_id, run_id))
    return run


def open_draft(work: Work, run_id: str) -> Draft:
    """A draft of the run `run_id` ("" = current). Raises NotFound if there is none or it is closed."""
    run = find_run(work, run_id)
    check_open(run)
    return work.draft(run.run_id)


def check_open(run: Run) -> None:
    """Raises NotFound if the run is closed."""
    if not run.is_open:
        raise NotFound(COMPLETED)


def check_not_closing(run: Run) -> None:
    """Raises ResourceExhausted while a worker has a task after the run failed to close over events it had not seen: it
    will most likely try again, and a steady stream of more must not keep it from closing.
    """
    task = run.workflow_task
    if task is not None and task.started_event_id and run.durable.workflow_task_failure_cause == _UNHANDLED:
        raise ResourceExhausted(
            "workflow operation can not be applied because workflow is closing",
            ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
        )


def check_chain(run: Run, first_run_id: str) -> None:
    """Raises NotFound if the caller meant another chain of runs; `first_run_id` "" = any."""
    if first_run_id and run.facts.first_run_id != first_run_id:
        raise NotFound(OTHER_CHAIN)


def check_parent(run: Run, external: External | None) -> None:
    """Raises NotFound if the caller is another run that means its own child, and is not this run's parent."""
    if external is not None and external.child_only:
        parent = WorkflowExecution.FromString(run.facts.parent)
        if parent.workflow_id != external.workflow_id or parent.run_id not in (external.run_id, *external.before):
            raise NotFound(OTHER_PARENT)
