"""Events that arrive while a workflow task is started: held back, reordered, and a close that must not pass them."""

from __future__ import annotations

from temporalio.api.enums.v1 import event_type_pb2 as kinds

from tests.conformance.harness.commands import (
    cancel_timer,
    cancel_workflow,
    complete_workflow,
    fail_workflow,
    record_marker,
    schedule_activity,
    start_timer,
)
from tests.conformance.harness.payloads import failure
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def buffered_events_are_reordered(s: Session) -> None:
    """Completions of activities come after signals, in whatever order they arrived."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, "a"), schedule_activity(s.queue, "b"))
    works = {work.activity_id: work for work in [await s.take_activity(), await s.take_activity()]}
    await s.signal("wake")
    task = await s.take()
    await s.complete_activity(works["a"].task_token, "first")
    await s.signal("one")
    await s.fail_activity(works["b"].task_token, failure("no", non_retryable=True))
    await s.request_cancel()
    await s.signal("two")
    s.note("held back")
    await s.show_history(first=7)
    await s.describe()
    await s.complete_activity(works["a"].task_token)
    await s.complete(task, record_marker())
    await s.show_history(first=7)


@scenario()
async def complete_over_buffered_events(s: Session) -> None:
    """A close is refused while events are held back; the next attempt sees them."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("late")
    await s.complete(task, complete_workflow())
    await s.show_history(first=2)
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=4)


@scenario()
async def fail_over_buffered_events(s: Session) -> None:
    """So are failure and cancellation."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("late")
    await s.complete(task, record_marker(), fail_workflow())
    await s.show_history(first=2)
    task = await s.take()
    await s.request_cancel()
    await s.complete(task, cancel_workflow())
    await s.show_history(first=4)


@scenario()
async def buffered_timer_is_cancelled(s: Session) -> None:
    """A timer that fired during the task can still be cancelled by it, as if it hadn't."""
    await s.start_quietly()
    await s.advance(start_timer("short", 1), start_timer("other", 1))
    await s.signal("go")
    task = await s.take()
    await s.start_quietly("clock")
    await s.quiet(s.completion(await s.take(), start_timer("past", 2)))
    await s.wait_for_event(kinds.EVENT_TYPE_TIMER_FIRED, "clock")
    await s.complete(task, cancel_timer("short"))
    await s.show_history(first=5)


@scenario()
async def terminate_over_buffered_activity(s: Session) -> None:
    """A termination writes what was held back."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    work = await s.take_activity()
    await s.signal("wake")
    await s.take()
    await s.complete_activity(work.task_token)
    await s.terminate()
    await s.show_history(first=5)


@scenario()
async def failed_task_with_buffered_events(s: Session) -> None:
    """A failed task writes what was held back before the next attempt."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("held")
    await s.fail_task(task)
    await s.show_history(first=2)
    task = await s.poll()
    await s.signal("held again")
    await s.fail_task(task)
    await s.show_history(first=4)


@scenario()
async def only_buffered_signal_makes_new_task(s: Session) -> None:
    """After a completion without commands, the held back signal brings the next task."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("a", request_id=s.unique("a"))
    await s.signal("a", request_id=s.unique("a"))
    await s.signal("b")
    await s.complete(task)
    await s.show_history(first=3)
    await s.describe()
