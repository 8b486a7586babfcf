"""Activities that begin again with their first attempt, in every state of it."""

from __future__ import annotations

from temporalio.api.activity.v1 import message_pb2 as activities
from temporalio.api.common.v1 import message_pb2 as common

from tests.conformance.harness.commands import schedule_activity, start_timer
from tests.conformance.harness.operating import (
    in_backoff,
    pause,
    reset,
    scheduled,
    show_pending,
    unpause,
    update,
)
from tests.conformance.harness.payloads import duration, failure, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def reset_scheduled(s: Session) -> None:
    """Scheduled anew, and given away once."""
    await scheduled(s)
    await reset(s)
    await show_pending(s, "reset")
    work = await s.poll_activity()
    await s.poll_activity(seconds=3)
    await s.complete_activity(work.task_token)
    await s.show_history(first=5)


@scenario()
async def reset_in_backoff(s: Session) -> None:
    """From the first attempt, at once, with what was heard."""
    await in_backoff(s)
    await reset(s)
    await show_pending(s, "reset")
    await s.poll_activity()


@scenario()
async def reset_in_backoff_with_heartbeat(s: Session) -> None:
    """What was heard is forgotten too."""
    await in_backoff(s)
    await reset(s, reset_heartbeat=True)
    await show_pending(s, "reset")
    await s.poll_activity()


@scenario()
async def reset_with_jitter(s: Session) -> None:
    """The first attempt waits for some of the jitter."""
    await in_backoff(s)
    await reset(s, jitter=duration(1.5))
    work = await s.poll_activity()
    await s.complete_activity(work.task_token)


@scenario()
async def reset_started(s: Session) -> None:
    """A first attempt goes on, and learns of the reset; what it says is forgotten with its end."""
    await scheduled(s, retry_policy=retry_policy(initial=0.01))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "one")
    await reset(s, reset_heartbeat=True)
    await show_pending(s, "reset")
    await s.heartbeat(work.task_token, "two")
    await s.fail_activity(work.task_token, failure("again"))
    again = await s.poll_activity()
    await s.heartbeat(again.task_token)
    await show_pending(s, "again")


@scenario()
async def reset_started_that_completes(s: Session) -> None:
    """A first attempt may complete after its reset."""
    await scheduled(s)
    work = await s.take_activity()
    await reset(s)
    await s.complete_activity(work.task_token)
    await s.show_history(first=5)


@scenario()
async def reset_started_second_attempt(s: Session) -> None:
    """The worker of a second attempt has a token of an attempt that isn't any more."""
    await scheduled(s, retry_policy=retry_policy(initial=0.01), start_to_close_timeout=duration(2))
    first = await s.take_activity()
    await s.fail_activity(first.task_token, failure("again"))
    second = await s.take_activity()
    await reset(s)
    await show_pending(s, "reset")
    await s.heartbeat(second.task_token)
    await s.fail_activity(second.task_token)
    await s.complete_activity(second.task_token)
    third = await s.poll_activity()
    await s.heartbeat(third.task_token)


@scenario()
async def reset_paused(s: Session) -> None:
    """A reset unpauses."""
    await in_backoff(s)
    await pause(s)
    await reset(s)
    await show_pending(s, "reset")
    await s.poll_activity()


@scenario()
async def reset_keeping_paused(s: Session) -> None:
    """It stays paused if asked for, and begins from the first attempt when unpaused."""
    await in_backoff(s)
    await pause(s, reason="wait")
    await reset(s, keep_paused=True, reset_heartbeat=True)
    await show_pending(s, "reset")
    await unpause(s)
    await show_pending(s, "unpaused")
    await s.poll_activity()


@scenario()
async def reset_paused_started(s: Session) -> None:
    """One that runs and was asked to pause: both are told, or only the reset."""
    await s.start_quietly()
    await s.advance(
        schedule_activity(s.queue, "kept"), schedule_activity(s.children, "freed"), start_timer(seconds=100)
    )
    kept = await s.take_activity()
    freed = await s.take_activity(task_queue=s.children)
    await pause(s, type="work")
    await reset(s, id="kept", keep_paused=True)
    await reset(s, id="freed")
    await show_pending(s, "reset")
    await s.heartbeat(kept.task_token)
    await s.heartbeat(freed.task_token)
    await s.fail_activity(kept.task_token)
    await show_pending(s, "one failed")


@scenario()
async def reset_many(s: Session) -> None:
    """By type, and all; with nothing pending, nothing is found."""
    await s.start_quietly()
    await reset(s, match_all=True)
    await s.advance(
        schedule_activity(s.queue, "a1", "one"),
        schedule_activity(s.queue, "b1", "two"),
        start_timer(seconds=100),
    )
    await pause(s, type="one")
    await pause(s, type="two")
    await reset(s, type="none")
    await reset(s, type="one")
    await show_pending(s, "one reset")
    await reset(s, match_all=True)
    await show_pending(s, "all reset")


@scenario()
async def reset_restoring_options(s: Session) -> None:
    """The options of its schedule are in force again."""
    await in_backoff(s)
    new = activities.ActivityOptions(
        heartbeat_timeout=duration(3),
        start_to_close_timeout=duration(7),
        retry_policy=retry_policy(initial=50, attempts=7),
        priority=common.Priority(priority_key=2),
    )
    await update(s, new, "heartbeat_timeout", "start_to_close_timeout", "retry_policy", "priority")
    await show_pending(s, "updated")
    await reset(s, restore_original_options=True)
    await show_pending(s, "restored")
    await s.poll_activity()


@scenario(
    differs="the reference takes the answer of a worker whose attempt failed long ago for that of the running one"
)
async def reset_and_an_answer_from_before(s: Session) -> None:
    """There are two first attempts: the token of the one that failed isn't the other's."""
    await scheduled(s, retry_policy=retry_policy(initial=100))
    first = await s.take_activity()
    await s.fail_activity(first.task_token, failure("again"))
    await reset(s)
    again = await s.take_activity()
    await s.heartbeat(first.task_token)
    await s.complete_activity(again.task_token)
    await s.complete_activity(first.task_token)
