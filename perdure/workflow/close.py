"""Closing a run: the one place where a terminal event is written.

What waits for an id is dropped with a close by command (the run's own last word), and numbered before a close from
outside. After it nothing is outstanding but the run's deletion and its row in lists; what was pending stays visible.
"""

from typing import Any

from google.protobuf.message import Message
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.errors import WorkflowNotReady
from perdure.workflow import flush
from perdure.workflow.decide import QueryReleased, Work
from perdure.workflow.draft import Draft
from perdure.workflow.lost_task import clear_sticky, fail
from perdure.workflow.state import Run
from perdure.workflow.workflow_task import end_task

SERVER_IDENTITY = "history-service"
PARENT_CLOSED = "by parent close policy"
NEVER_STARTED = "Workflow execution closed before WorkflowTaskStarted event"


def close(draft: Draft, attributes: Message, **fields: Any) -> HistoryEvent:
    """Write the terminal event with these attributes; `fields` are the event's own."""
    flush.drop(draft)
    event = draft.add(attributes, **fields)
    clear_sticky(draft)  # its worker may not have seen the newest events, and gets no task any more that shows them
    draft.assign("retention_ns", draft.context.namespace.retention_ns)
    show(draft)
    return event


def close_from_outside(work: Work, draft: Draft, attributes: Message, **fields: Any) -> None:
    """Terminate or time out: a started workflow task fails first, and what is buffered keeps its place in history."""
    interrupt(draft)
    flush.flush(draft)
    close(draft, attributes, **fields)
    release_queries(work, draft.run)


def interrupt(draft: Draft) -> None:
    """The run is about to be closed from outside: the worker that has its workflow task is too late, and of a task that
    is nowhere but in memory, and that nobody has, nothing is written.
    """
    task = draft.run.workflow_task
    if task is not None and task.speculative and not task.started_event_id:
        end_task(draft)
    elif task is not None and task.started_event_id:
        fail(draft, WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND, identity=SERVER_IDENTITY)


def release_queries(work: Work, run: Run) -> None:
    """No workflow task will answer what is buffered: it is dispatched directly, or fails if no worker knows the run."""
    for query_id in run.ephemeral.queries:
        error = None
        if not run.is_open and not run.facts.last_completed_started_event_id:
            error = WorkflowNotReady(NEVER_STARTED)
        work.notices.append(QueryReleased(run.run_id, query_id, error))
    if run.ephemeral.queries:
        run.assign("queries", {})


def show(draft: Draft) -> None:
    """Lists have to show the run anew."""
    draft.show()
