"""The end of a started or scheduled workflow task that was not completed: failed, timed out, or its events given up.

A task that was on a sticky queue is tried again as attempt 1 on the normal queue; others become transient attempts,
whose failures are not written. Refuses to know who tries next: callers schedule.
"""

from temporalio.api.enums.v1 import TimeoutType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowTaskFailedEventAttributes, WorkflowTaskTimedOutEventAttributes

from perdure.base.errors import NotFound
from perdure.workflow.cause_names import cause_name
from perdure.workflow.draft import Draft
from perdure.workflow.server_attributes import count_problem, note_problem
from perdure.workflow.state import Run, WorkflowTask
from perdure.workflow.tokens import TaskToken
from perdure.workflow.workflow_task import set_attempt

TASK_NOT_FOUND = "Workflow task not found."


def started_task(run: Run, token: TaskToken) -> WorkflowTask:
    """The started workflow task that `token` names. Raises NotFound for any but the current one."""
    task = run.workflow_task
    if (
        task is None
        or not run.is_open
        or not task.started_event_id
        or token.scheduled_event_id != task.scheduled_event_id
        or token.started_event_id not in (0, task.started_event_id)
        or token.started_time_ns not in (0, task.started_time_ns)
        or token.attempt != task.attempt
        or token.stamp != task.stamp
    ):
        raise NotFound(TASK_NOT_FOUND)
    return task


def fail(
    draft: Draft,
    cause: WorkflowTaskFailedCause.ValueType,
    failure: Failure | None = None,
    identity: str = "",
    binary_checksum: str = "",
) -> None:
    """The started workflow task failed. Only a first attempt's failure is written."""
    draft.settle_task(identity)
    task = draft.run.durable.workflow_task
    assert task is not None
    if not task.transient:
        draft.add(
            WorkflowTaskFailedEventAttributes(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                cause=cause,
                failure=failure,
                identity=identity,
                binary_checksum=binary_checksum,
            )
        )
        note_problem(draft, "Failed", cause_name(cause))
    _give_up(draft, cause, counts=True)
    if cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW:
        set_attempt(draft, 1)


def time_out(draft: Draft, timeout_type: TimeoutType.ValueType) -> None:
    """The workflow task timed out: after its start, or (sticky and speculative only) before it."""
    draft.settle_task()
    task = draft.run.durable.workflow_task
    assert task is not None
    unstarted = timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
    if unstarted or not task.transient:
        draft.add(
            WorkflowTaskTimedOutEventAttributes(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                timeout_type=timeout_type,
            )
        )
        note_problem(draft, "TimedOut", "ScheduleToStart" if unstarted else "StartToClose")
    _give_up(draft, 0, counts=not unstarted)


def clear_sticky(draft: Draft) -> None:
    """The worker that kept the run in its cache is given up."""
    if draft.run.durable.sticky_queue:
        keep_sticky(draft, "", 0)


def keep_sticky(draft: Draft, queue: str, timeout_ns: int) -> None:
    """The worker that has the run in its cache polls `queue`, "" = none has. It is no reason to write down a task that
    only carries updates: the next one goes there.
    """
    durable = draft.run.durable
    if durable.sticky_queue != queue:
        draft.assign("sticky_queue", queue, beside_task=True)
    if durable.sticky_timeout_ns != timeout_ns:
        draft.assign("sticky_timeout_ns", timeout_ns, beside_task=True)


def note_cause(draft: Draft, cause: int) -> None:
    """Remember why the newest workflow task failed; 0 = it did not."""
    if draft.run.durable.workflow_task_failure_cause != cause:
        draft.assign("workflow_task_failure_cause", cause)


def _give_up(draft: Draft, cause: int, *, counts: bool) -> None:
    durable = draft.run.durable
    if durable.sticky_queue:
        counts = False  # the normal queue gets its first try before the task counts as repeated
        clear_sticky(draft)
    set_attempt(draft, durable.workflow_task_attempt + 1 if counts else 1)
    note_cause(draft, cause)
    if counts:
        count_problem(draft)
    draft.assign("workflow_task", None)
