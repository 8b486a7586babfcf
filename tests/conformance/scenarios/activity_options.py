"""Changing the options of pending activities, and restoring those of their schedule."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import message_pb2 as activities
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue

from tests.conformance.harness.commands import schedule_activity, start_timer
from tests.conformance.harness.operating import (
    TIMED_OUT,
    in_backoff,
    pause,
    scheduled,
    show_pending,
    unpause,
    update,
)
from tests.conformance.harness.payloads import duration, failure, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def update_scheduled(s: Session) -> None:
    """The queue of one that waits for a worker: only the new queue's workers get it."""
    await scheduled(s)
    await update(s, activities.ActivityOptions(task_queue=s.children), "task_queue.name")
    await show_pending(s, "updated")
    await s.poll_activity(seconds=3)
    work = await s.poll_activity(task_queue=s.children)
    await s.complete_activity(work.task_token)
    await s.show_history(first=5)


@scenario()
async def update_every_option(s: Session) -> None:
    """Each path of the mask, alone."""
    await scheduled(s, schedule_to_close_timeout=duration(60))
    options = activities.ActivityOptions(
        task_queue=s.children,
        schedule_to_close_timeout=duration(50),
        schedule_to_start_timeout=duration(40),
        start_to_close_timeout=duration(30),
        heartbeat_timeout=duration(20),
        retry_policy=common.RetryPolicy(
            initial_interval=duration(2),
            backoff_coefficient=3,
            maximum_interval=duration(9),
            maximum_attempts=4,
            non_retryable_error_types=["Never"],
        ),
        priority=common.Priority(priority_key=1, fairness_key="k", fairness_weight=2),
        start_delay=duration(5),
    )
    for path in (
        "task_queue.name",
        "scheduleToCloseTimeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "heartbeat_timeout",
        "retry_policy.maximum_interval",
        "retry_policy.initial_interval",
        "retry_policy.backoff_coefficient",
        "retryPolicy.maximumAttempts",
        "retry_policy",
        "priority.priority_key",
        "priority.fairness_key",
        "priority.fairness_weight",
        "priority",
        "start_delay",
        "task_queue",
        "unknown",
        "",
    ):
        await update(s, options, path)
    await show_pending(s, "updated")


@scenario(differs="the reference tells workers the timeouts of the schedule, so that they heartbeat too late")
async def updated_timeouts_at_the_worker(s: Session) -> None:
    """A worker is told the timeouts that are in force."""
    await scheduled(s)
    options = activities.ActivityOptions(heartbeat_timeout=duration(2), start_to_close_timeout=duration(9))
    await update(s, options, "heartbeat_timeout", "start_to_close_timeout")
    await s.poll_activity()


@scenario()
async def update_in_backoff(s: Session) -> None:
    """The backoff is reckoned anew: shortened, it ends."""
    await in_backoff(s)
    options = activities.ActivityOptions(retry_policy=common.RetryPolicy(initial_interval=duration(50)))
    await update(s, options, "retry_policy.initial_interval")
    await show_pending(s, "updated")
    options = activities.ActivityOptions(retry_policy=common.RetryPolicy(initial_interval=duration(0.1)))
    await update(s, options, "retry_policy.initial_interval")
    await s.poll_activity()


@scenario()
async def update_started(s: Session) -> None:
    """Timeouts of the attempt that runs change with it; its worker isn't told."""
    await scheduled(s, start_to_close_timeout=duration(60), retry_policy=retry_policy(attempts=1))
    work = await s.take_activity()
    await update(s, activities.ActivityOptions(start_to_close_timeout=duration(1)), "start_to_close_timeout")
    await s.heartbeat(work.task_token)
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def update_maximum_attempts(s: Session) -> None:
    """The policy in force when the attempt fails counts."""
    await scheduled(s, retry_policy=retry_policy(initial=100, attempts=5))
    work = await s.take_activity()
    options = activities.ActivityOptions(retry_policy=common.RetryPolicy(maximum_attempts=1))
    await update(s, options, "retry_policy.maximum_attempts")
    await s.fail_activity(work.task_token)
    await s.show_history(first=5)


@scenario()
async def update_keeps_types_never_retried(s: Session) -> None:
    """A new policy doesn't change which failures are final."""
    await scheduled(s, retry_policy=retry_policy(initial=100, never=("Never",)))
    work = await s.take_activity()
    await update(s, activities.ActivityOptions(retry_policy=retry_policy(initial=50)), "retry_policy")
    await s.fail_activity(work.task_token, failure("no", "Never"))
    await s.show_history(first=5)


@scenario()
async def update_paused(s: Session) -> None:
    """A paused activity takes new options, and stays paused."""
    await scheduled(s)
    await pause(s)
    await update(s, activities.ActivityOptions(heartbeat_timeout=duration(3)), "heartbeat_timeout")
    await show_pending(s, "updated")
    await s.poll_activity(seconds=3)
    await unpause(s)
    await s.take_activity()


@scenario()
async def update_many(s: Session) -> None:
    """By type, and all; the options of one of them are answered."""
    await s.start_quietly()
    options = activities.ActivityOptions(heartbeat_timeout=duration(3))
    await update(s, options, "heartbeat_timeout", match_all=True)
    await s.advance(
        schedule_activity(s.queue, "a1", "one"),
        schedule_activity(s.queue, "b1", "two"),
        start_timer(seconds=100),
    )
    await update(s, options, "heartbeat_timeout", type="one")
    await update(s, options, "heartbeat_timeout", type="none")
    await show_pending(s, "one updated")
    await update(s, options, "heartbeat_timeout", match_all=True)
    await show_pending(s, "all updated")


@scenario()
async def update_restoring(s: Session) -> None:
    """The options of its schedule, all of them."""
    await scheduled(s, priority=common.Priority(priority_key=4))
    options = activities.ActivityOptions(
        task_queue=s.children, heartbeat_timeout=duration(3), priority=common.Priority(priority_key=2)
    )
    await update(s, options, "task_queue.name", "heartbeat_timeout", "priority")
    await update(s, restore_original=True)
    await show_pending(s, "restored")
    await update(s, options, "heartbeat_timeout", restore_original=True)
    await update(s, options, restore_original=True)
    await update(s, restore_original=True, update_mask=FieldMask())
    await s.poll_activity()


@scenario()
async def update_schedule_to_close(s: Session) -> None:
    """The other timeouts are kept within the new one."""
    await scheduled(s, schedule_to_close_timeout=duration(60), start_to_close_timeout=duration(30))
    options = activities.ActivityOptions(schedule_to_close_timeout=duration(20))
    await update(s, options, "schedule_to_close_timeout")
    await show_pending(s, "updated")
    await update(s, activities.ActivityOptions(), "schedule_to_close_timeout", "start_to_close_timeout")


@scenario(differs="the reference gives up retries at the deadline that the schedule had, whatever it is now")
async def updated_deadline_of_retries(s: Session) -> None:
    """The deadline of all attempts moves with schedule-to-close."""
    await scheduled(s, schedule_to_close_timeout=duration(3), retry_policy=retry_policy(initial=100))
    options = activities.ActivityOptions(schedule_to_close_timeout=duration(1000), start_to_close_timeout=duration(30))
    await update(s, options, "schedule_to_close_timeout", "start_to_close_timeout")
    work = await s.take_activity()
    await s.poll_activity(seconds=5)
    await s.fail_activity(work.task_token)
    await show_pending(s, "failed")


@scenario(differs="the reference takes the interval after the next attempt, and forgets that the delay was asked for")
async def update_in_backoff_of_another_option(s: Session) -> None:
    """The backoff stays as it is: nothing was said about it."""
    await in_backoff(s, coefficient=3.0)
    await update(s, activities.ActivityOptions(heartbeat_timeout=duration(2)), "heartbeat_timeout")
    await show_pending(s, "updated")


@scenario()
async def update_refused(s: Session) -> None:
    """Bad values, parents that are missing, masks that are."""
    await scheduled(s)
    for options, *paths in (
        (None, "heartbeat_timeout"),
        (activities.ActivityOptions(),),
        (activities.ActivityOptions(heartbeat_timeout=duration(-1)), "heartbeat_timeout"),
        (activities.ActivityOptions(schedule_to_start_timeout=duration(-1)), "schedule_to_start_timeout"),
        (activities.ActivityOptions(start_to_close_timeout=duration(-1)), "start_to_close_timeout"),
        (activities.ActivityOptions(schedule_to_close_timeout=duration(-1)), "schedule_to_close_timeout"),
        (activities.ActivityOptions(), "start_to_close_timeout"),
        (activities.ActivityOptions(), "task_queue.name"),
        (activities.ActivityOptions(task_queue=taskqueue.TaskQueue(name="")), "task_queue.name"),
        (activities.ActivityOptions(task_queue=taskqueue.TaskQueue(name="/_sys/queue")), "task_queue.name"),
        (activities.ActivityOptions(task_queue=taskqueue.TaskQueue(name="q" * 1001)), "task_queue.name"),
        (activities.ActivityOptions(), "retry_policy"),
        (activities.ActivityOptions(), "retry_policy.initial_interval"),
        (activities.ActivityOptions(), "priority.priority_key"),
        (activities.ActivityOptions(), "priority"),
        (activities.ActivityOptions(priority=common.Priority(priority_key=-1)), "heartbeat_timeout"),
        (activities.ActivityOptions(priority=common.Priority(priority_key=9)), "priority"),
        (activities.ActivityOptions(priority=common.Priority(fairness_key="k" * 65)), "priority"),
        (
            activities.ActivityOptions(retry_policy=common.RetryPolicy(backoff_coefficient=0.5)),
            "retry_policy.backoff_coefficient",
        ),
        (
            activities.ActivityOptions(retry_policy=common.RetryPolicy(maximum_attempts=-1)),
            "retry_policy.maximum_attempts",
        ),
        (
            activities.ActivityOptions(retry_policy=common.RetryPolicy(maximum_interval=duration(0.1))),
            "retry_policy.maximum_interval",
        ),
        (
            activities.ActivityOptions(retry_policy=common.RetryPolicy(initial_interval=duration(-1))),
            "retry_policy.initial_interval",
        ),
        (activities.ActivityOptions(retry_policy=common.RetryPolicy(backoff_coefficient=0.5)), "retry_policy"),
    ):
        await update(s, options, *paths)
    await show_pending(s, "afterwards")
