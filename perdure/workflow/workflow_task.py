"""The outstanding workflow task: scheduling it, waking a run that has something new, and starting it.

Other modules call `wake` after they added an event that a worker must see. Attempts after a failure are transient:
their Scheduled and Started events are written only when they are answered, so that a workflow that keeps failing does
not fill its history. Source: the reference's workflow task state machine.
"""

import msgspec
from temporalio.api.enums.v1 import EventType, SuggestContinueAsNewReason, TaskQueueKind
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import SECOND_NS, to_duration, to_timestamp
from perdure.workflow.draft import Draft
from perdure.workflow.flush import flush
from perdure.workflow.state import Run, WorkflowTask

_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
# From this attempt on each attempt gets more time, so that one that keeps timing out comes back ever less often.
_STRETCH_AFTER_ATTEMPT = 3
_STRETCH_INITIAL_NS = 5 * SECOND_NS
_STRETCH_MAX_NS = 600 * SECOND_NS


def wake(draft: Draft, *, skip_delay: bool = False) -> None:
    """Schedule a workflow task unless one is outstanding, the run is closed or paused, its first task is delayed, or it
    is a child that its parent has not woken.

    `skip_delay`: a delayed first task begins now (cancellation, signal-with-start). While the commands of a completion
    are at work the wish is only noted.
    """
    run = draft.run
    if draft.holding:
        draft.woken = True
        return
    if run.durable.unclaimed is not None:
        return
    delayed = awaits_first_task(run) and not skip_delay
    if run.is_open and run.durable.workflow_task is None and not run.durable.paused and not delayed:
        schedule(draft)


def awaits_first_task(run: Run) -> bool:
    """True while the run's first workflow task is delayed (start delay, cron, retry)."""
    return run.durable.execution_time_ns > run.facts.start_time_ns and not run.facts.first_task_scheduled


def schedule(draft: Draft, *, original_time_ns: int = 0) -> None:
    """Schedule a workflow task on the sticky queue if there is one; what is buffered is numbered first.

    `original_time_ns`: when the first of a row of heartbeats was scheduled; 0 = this is no heartbeat.
    """
    run, durable, now_ns = draft.run, draft.run.durable, draft.context.now_ns
    if flush(draft):
        set_attempt(draft, 1)  # the worker has something new to see: no longer a repetition
    attempt = durable.workflow_task_attempt
    timeout_ns = start_to_close_ns(run.facts.task_timeout_ns, attempt)
    scheduled_id = run.facts.next_event_id
    if attempt == 1:
        draft.add(_scheduled(task_queue(run), timeout_ns, attempt))
    draft.assign(
        "workflow_task",
        WorkflowTask(
            scheduled_event_id=scheduled_id,
            scheduled_time_ns=now_ns,
            attempt=attempt,
            stamp=durable.workflow_task_stamp,
            queue=durable.sticky_queue or run.facts.task_queue,
            sticky=bool(durable.sticky_queue),
            timeout_ns=timeout_ns,
            schedule_to_start_ns=durable.sticky_timeout_ns if durable.sticky_queue else 0,
            original_scheduled_time_ns=original_time_ns or now_ns,
            transient=attempt > 1,
        ),
    )


def start(draft: Draft, request_id: str, identity: str, worker_version: bytes = b"") -> WorkflowTask:
    """Start the scheduled workflow task; its Started event ends its history batch. Returns the task as it is now.

    `worker_version`: the encoded stamp of the worker, empty if it has none.
    """
    run, now_ns = draft.run, draft.context.now_ns
    task = run.durable.workflow_task
    assert task is not None
    assert not task.started_event_id
    size = run.durable.history_bytes
    reasons = _suggest_continue(draft, size)
    if task.transient and task.scheduled_event_id != run.facts.next_event_id:
        # Events came after it was scheduled: no repetition any more, so it becomes an ordinary task, in history.
        set_attempt(draft, 1)
        scheduled_id = run.facts.next_event_id
        draft.add(_scheduled(task_queue(run), task.timeout_ns, 1))
        task = msgspec.structs.replace(task, scheduled_event_id=scheduled_id, attempt=1, transient=False)
    task = msgspec.structs.replace(
        task,
        # Of an ordinary task other events may stand between Scheduled and Started; of a provisional one none can.
        started_event_id=run.facts.next_event_id + task.transient,
        started_time_ns=now_ns,
        request_id=request_id,
        identity=identity,
        worker_version=worker_version,
        history_size_bytes=size,
        suggest_continue_as_new=bool(reasons),
        suggest_reasons=reasons,
    )
    if not task.transient:
        draft.add(_started(task, identity))
        draft.new_batch()
    draft.assign("workflow_task", task)
    return task


def write_provisional(draft: Draft, task: WorkflowTask, identity: str, worker_version: bytes = b"") -> WorkflowTask:
    """Write the Scheduled and Started events of a task whose ids were provisional; returns it with its final ids.

    `worker_version`: the encoded stamp of the worker that answers it.
    """
    run = draft.run
    task = msgspec.structs.replace(task, worker_version=worker_version)
    scheduled_id = run.facts.next_event_id
    draft.add(_scheduled(task_queue(run), task.timeout_ns, task.attempt), time_ns=task.scheduled_time_ns)
    task = msgspec.structs.replace(
        task, scheduled_event_id=scheduled_id, started_event_id=scheduled_id + 1, transient=False, speculative=False
    )
    draft.add(_started(task, identity), time_ns=task.started_time_ns)
    draft.new_batch()
    return task


def tail(run: Run, identity: str = "") -> tuple[bytes, ...]:
    """The encoded Scheduled and Started events of a task that is not in history; empty for one that is.

    Empty too where events have taken its ids: it becomes an ordinary task when it is started.
    """
    task = run.durable.workflow_task
    if task is None or not (task.transient or task.speculative) or not run.is_open:
        return ()
    if task.scheduled_event_id != run.facts.next_event_id:
        return ()
    scheduled = HistoryEvent(
        event_id=task.scheduled_event_id,
        event_time=to_timestamp(task.scheduled_time_ns),
        event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        workflow_task_scheduled_event_attributes=_scheduled(task_queue(run), task.timeout_ns, task.attempt),
    )
    if not task.started_event_id:
        return (scheduled.SerializeToString(),)
    started = HistoryEvent(
        event_id=task.started_event_id,
        event_time=to_timestamp(task.started_time_ns),
        event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        workflow_task_started_event_attributes=_started(task, identity),
    )
    return scheduled.SerializeToString(), started.SerializeToString()


def task_queue(run: Run) -> TaskQueue:
    """The queue that the run's next workflow task goes to: the sticky one if a worker asked for it."""
    if run.durable.sticky_queue:
        return TaskQueue(
            name=run.durable.sticky_queue,
            kind=_STICKY,
            normal_name=run.facts.task_queue,
        )
    return TaskQueue(name=run.facts.task_queue, kind=_NORMAL)


def set_attempt(draft: Draft, attempt: int) -> None:
    """The attempt that the next workflow task will be."""
    if draft.run.durable.workflow_task_attempt != attempt:
        draft.assign("workflow_task_attempt", attempt)


def start_to_close_ns(timeout_ns: int, attempt: int) -> int:
    """The time an attempt gets: the workflow's own, and from the fourth attempt on more with each."""
    if attempt <= _STRETCH_AFTER_ATTEMPT:
        return timeout_ns
    doublings = min(attempt - _STRETCH_AFTER_ATTEMPT - 1, 20)
    return timeout_ns + min(_STRETCH_INITIAL_NS << doublings, _STRETCH_MAX_NS)


def _scheduled(queue: TaskQueue, timeout_ns: int, attempt: int) -> WorkflowTaskScheduledEventAttributes:
    return WorkflowTaskScheduledEventAttributes(
        task_queue=queue, start_to_close_timeout=to_duration(timeout_ns), attempt=attempt
    )


def _started(task: WorkflowTask, identity: str) -> WorkflowTaskStartedEventAttributes:
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


def _suggest_continue(draft: Draft, size: int) -> tuple[int, ...]:
    limits = draft.context.limits
    reasons = []
    if size >= limits.history_bytes_suggest_continue:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE)
    if draft.run.facts.next_event_id >= limits.history_events_suggest_continue:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS)
    return tuple(int(reason) for reason in reasons)
