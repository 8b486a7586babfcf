"""What the Scheduled and Started events of a workflow task say: functions of the run and the task alone.

The task may have its events in history, or only show them to its worker (transient, speculative); they are the same
then. Refuses to know when they are written.
"""

from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.history.v1 import WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import to_duration
from perdure.workflow.state import Run, WorkflowTask

_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY


def task_queue(run: Run) -> TaskQueue:
    """The queue that the run's next workflow task goes to: the sticky one if a worker asked for it."""
    if run.durable.sticky_queue:
        return TaskQueue(
            name=run.durable.sticky_queue,
            kind=_STICKY,
            normal_name=run.facts.task_queue,
        )
    return TaskQueue(name=run.facts.task_queue, kind=_NORMAL)


def scheduled(queue: TaskQueue, timeout_ns: int, attempt: int) -> WorkflowTaskScheduledEventAttributes:
    """The attributes of the Scheduled event. `timeout_ns`: start to close."""
    return WorkflowTaskScheduledEventAttributes(
        task_queue=queue, start_to_close_timeout=to_duration(timeout_ns), attempt=attempt
    )


def started(task: WorkflowTask, identity: str) -> WorkflowTaskStartedEventAttributes:
    """The attributes of the Started event of a task that is started."""
    attributes = WorkflowTaskStartedEventAttributes(
        scheduled_event_id=task.scheduled_event_id,
        identity=identity,
        request_id=task.request_id,
        suggest_continue_as_new=task.suggest_continue_as_new,
        suggest_continue_as_new_reasons=task.suggest_reasons,  # type: ignore[arg-type]  # plain ints
        history_size_bytes=task.history_size_bytes,
    )
    if task.worker_version:
        attributes.worker_version.ParseFromString(task.worker_version)
    return attributes
