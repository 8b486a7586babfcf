"""The outstanding workflow task: scheduling it, waking a run that has something new, and starting it.

Other modules call `wake` after they added an event that a worker must see. Attempts after a failure are transient:
their Scheduled and Started events are written only when they are answered, so that a workflow that keeps failing does
not fill its history. Source: the reference's workflow task state machine.
"""

import math

import msgspec
from temporalio.api.enums.v1 import EventType, SuggestContinueAsNewReason
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS, to_timestamp
from perdure.workflow.draft import Draft
from perdure.workflow.flush import flush
from perdure.workflow.state import Run, WorkflowTask
from perdure.workflow.task_attributes import scheduled, started, task_queue

# From this attempt on each attempt gets more time, so that one that keeps timing out comes back ever less often.
_STRETCH_AFTER_ATTEMPT = 3
_STRETCH_INITIAL_NS = 5 * SECOND_NS
_STRETCH_MAX_NS = 600 * SECOND_NS
_SPECULATIVE_SCHEDULE_TO_START_NS = 5 * SECOND_NS


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
    if not run.is_open or run.workflow_task is not None:
        return
    if run.durable.paused:
        flush(draft)  # the task that would number what waits comes only when the run goes on
    elif not delayed:
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
        draft.add(scheduled(task_queue(run), timeout_ns, attempt))
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
            fair=draft.context.limits.is_fair(run.facts.task_queue, "Workflow"),
        ),
    )


def schedule_speculative(draft: Draft) -> None:
    """Schedule a workflow task that only carries updates: nothing is written, and it goes with the shard's owner.

    It has a time to be started in on any queue: what was lost on the way to matching is found then.
    """
    run, durable, now_ns = draft.run, draft.run.durable, draft.context.now_ns
    attempt = durable.workflow_task_attempt
    sticky = bool(durable.sticky_queue)
    task = WorkflowTask(
        scheduled_event_id=run.facts.next_event_id,
        scheduled_time_ns=now_ns,
        attempt=attempt,
        stamp=durable.workflow_task_stamp,
        queue=durable.sticky_queue or run.facts.task_queue,
        sticky=sticky,
        timeout_ns=start_to_close_ns(run.facts.task_timeout_ns, attempt),
        schedule_to_start_ns=(sticky and durable.sticky_timeout_ns) or _SPECULATIVE_SCHEDULE_TO_START_NS,
        original_scheduled_time_ns=now_ns,
        speculative=True,
        fair=draft.context.limits.is_fair(run.facts.task_queue, "Workflow"),
    )
    run.assign("speculative_task", task)


def end_task(draft: Draft) -> None:
    """Nothing is outstanding any more. Of a speculative task nothing remains; whoever wants its events writes them."""
    if draft.run.ephemeral.speculative_task is not None:
        draft.run.assign("speculative_task", None)
    else:
        draft.assign("workflow_task", None)


def start(draft: Draft, request_id: str, identity: str, worker_version: bytes = b"") -> WorkflowTask:
    """Start the scheduled workflow task; its Started event ends its history batch. Returns the task as it is now.

    `worker_version`: the encoded stamp of the worker, empty if it has none.
    """
    run, now_ns = draft.run, draft.context.now_ns
    task = run.workflow_task
    assert task is not None
    assert not task.started_event_id
    size = run.durable.history_bytes
    reasons = _suggest_continue(draft, size)
    if task.transient and task.scheduled_event_id != run.facts.next_event_id:
        # Events came after it was scheduled: no repetition any more, so it becomes an ordinary task, in history.
        set_attempt(draft, 1)
        scheduled_id = run.facts.next_event_id
        draft.add(scheduled(task_queue(run), task.timeout_ns, 1))
        task = msgspec.structs.replace(task, scheduled_event_id=scheduled_id, attempt=1, transient=False)
    task = msgspec.structs.replace(
        task,
        # Of an ordinary task other events may stand between Scheduled and Started; of a provisional one none can.
        started_event_id=run.facts.next_event_id + (task.transient or task.speculative),
        started_time_ns=now_ns,
        request_id=request_id,
        identity=identity,
        worker_version=worker_version,
        history_size_bytes=size,
        suggest_continue_as_new=bool(reasons),
        suggest_reasons=reasons,
    )
    if task.speculative:
        run.assign("speculative_task", task)
        return task
    if not task.transient:
        draft.add(started(task, identity))
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
    draft.add(scheduled(task_queue(run), task.timeout_ns, task.attempt), time_ns=task.scheduled_time_ns)
    task = msgspec.structs.replace(
        task, scheduled_event_id=scheduled_id, started_event_id=scheduled_id + 1, transient=False, speculative=False
    )
    draft.add(started(task, identity), time_ns=task.started_time_ns)
    draft.new_batch()
    return task


def tail(run: Run, identity: str = "") -> tuple[bytes, ...]:
    """The encoded Scheduled and Started events of a task that is not in history; empty for one that is.

    Empty too where events have taken its ids: it becomes an ordinary task when it is started.
    """
    task = run.workflow_task
    if task is None or not (task.transient or task.speculative) or not run.is_open:
        return ()
    if task.scheduled_event_id != run.facts.next_event_id:
        return ()
    first = HistoryEvent(
        event_id=task.scheduled_event_id,
        event_time=to_timestamp(task.scheduled_time_ns),
        event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        workflow_task_scheduled_event_attributes=scheduled(task_queue(run), task.timeout_ns, task.attempt),
    )
    if not task.started_event_id:
        return (first.SerializeToString(),)
    second = HistoryEvent(
        event_id=task.started_event_id,
        event_time=to_timestamp(task.started_time_ns),
        event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        workflow_task_started_event_attributes=started(task, identity),
    )
    return first.SerializeToString(), second.SerializeToString()


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


def _suggest_continue(draft: Draft, size: int) -> tuple[int, ...]:
    limits = draft.context.limits
    reasons = []
    if size >= limits.history_bytes_suggest_continue:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE)
    if draft.run.facts.next_event_id >= limits.history_events_suggest_continue:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS)
    run = draft.run
    if run.facts.updates or run.ephemeral.admitted_updates:
        updates = len(run.facts.updates) + len(run.ephemeral.admitted_updates)
        if updates >= math.ceil(limits.updates_max * limits.updates_suggest_continue_ratio) > 0:
            reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_UPDATES)
    return tuple(int(reason) for reason in reasons)
