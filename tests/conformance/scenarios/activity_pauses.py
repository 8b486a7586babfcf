"""Pausing activities and letting them go on, in every state of an attempt."""

from __future__ import annotations

from temporalio.api.activity.v1 import message_pb2 as activities
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import cancel_activity, complete_workflow, schedule_activity, start_timer
from tests.conformance.harness.operating import (
    TIMED_OUT,
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
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until


@scenario()
async def pause_scheduled(s: Session) -> None:
    """A paused activity is given to nobody, until it is unpaused."""
    await scheduled(s)
    await pause(s, reason="stop it", request_id="r1")
    await show_pending(s, "paused")
    await s.poll_activity(seconds=3)
    await unpause(s)
    await show_pending(s, "unpaused")
    work = await s.poll_activity()
    await s.complete_activity(work.task_token)
    await s.show_history(first=5)


@scenario()
async def pause_activity_started(s: Session) -> None:
    """One that runs learns it with a heartbeat, and may complete."""
    await scheduled(s)
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "one")
    await pause(s, reason="stop it")
    await show_pending(s, "pause requested")
    await s.heartbeat(work.task_token, "two")
    await s.complete_activity(work.task_token)
    await s.show_history(first=5)


@scenario(differs="in the reference the run is listed as paused for ever")
async def paused_activity_that_completes(s: Session) -> None:
    """What is over isn't paused any more: search attributes don't say so."""
    await scheduled(s)
    work = await s.take_activity()
    await pause(s)
    await s.complete_activity(work.task_token)
    await show_pending(s, "completed")


@scenario()
async def pause_started_that_fails(s: Session) -> None:
    """One that fails while paused is tried again when it is unpaused, whatever its policy's maximum."""
    await scheduled(s, retry_policy=retry_policy(initial=100, attempts=1))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "one")
    await pause(s)
    await s.fail_activity(work.task_token, failure("again"))
    await show_pending(s, "failed while paused")
    await unpause(s)
    await show_pending(s, "unpaused")
    again = await s.poll_activity()
    await s.fail_activity(again.task_token, failure("again"))
    await s.show_history(first=5)


@scenario()
async def pause_started_that_fails_for_good(s: Session) -> None:
    """A failure that is never retried ends a paused activity too."""
    await scheduled(s)
    work = await s.take_activity()
    await pause(s)
    await s.fail_activity(work.task_token, failure("never", non_retryable=True))
    await s.show_history(first=5)


@scenario()
async def pause_in_backoff(s: Session) -> None:
    """Unpausing ends the backoff."""
    await in_backoff(s)
    await pause(s, reason="wait")
    await show_pending(s, "paused")
    await unpause(s)
    await show_pending(s, "unpaused")
    await s.poll_activity()


@scenario()
async def pause_activity_twice(s: Session) -> None:
    """The same request id again is the same pause; another one is refused."""
    await scheduled(s)
    await pause(s, request_id="r1", reason="first")
    await pause(s, request_id="r1", reason="second")
    await pause(s, request_id="r2")
    await pause(s)
    await show_pending(s, "paused")


@scenario()
async def pause_activity_twice_without_request_id(s: Session) -> None:
    """No request id equals no request id."""
    await scheduled(s)
    await pause(s)
    await pause(s)


@scenario()
async def pause_by_type(s: Session) -> None:
    """All of a type, and only those; search attributes name the types."""
    await s.start_quietly()
    await s.advance(
        schedule_activity(s.queue, "a1", "one"),
        schedule_activity(s.queue, "a2", "one"),
        schedule_activity(s.queue, "b1", "two"),
        start_timer(seconds=100),
    )
    await pause(s, type="one", reason="all of it")
    await show_pending(s, "paused")
    await pause(s, type="one")
    await pause(s, type="none")
    await unpause(s, type="one")
    await show_pending(s, "unpaused")
    await unpause(s, type="none")


@scenario()
async def pause_by_type_refused_in_part(s: Session) -> None:
    """One of the type is paused already: nothing happens to the other."""
    await s.start_quietly()
    await s.advance(
        schedule_activity(s.queue, "a1", "one"),
        schedule_activity(s.queue, "a2", "one"),
        start_timer(seconds=100),
    )
    await pause(s, id="a1", request_id="r1")
    await pause(s, type="one", request_id="r2")
    await pause(s, type="one", request_id="r1")
    await show_pending(s, "paused")


@scenario()
async def pause_and_cancel(s: Session) -> None:
    """A paused activity that nobody has is cancelled at once; one that runs is asked to."""
    await s.start_quietly()
    await s.advance(
        schedule_activity(s.queue, "started"),
        schedule_activity(s.children, "waiting"),
        start_timer(seconds=100),
    )
    work = await s.take_activity()
    await pause(s, id="started")
    await pause(s, id="waiting")
    await s.signal("go")
    await s.advance(cancel_activity(5), cancel_activity(6))
    await show_pending(s, "cancel requested")
    await s.heartbeat(work.task_token)
    await s.show_history(first=8)


@scenario()
async def pause_cancel_requested(s: Session) -> None:
    """One whose cancellation was requested can be paused, unpaused and reset."""
    await scheduled(s)
    work = await s.take_activity()
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await pause(s)
    await show_pending(s, "paused")
    await unpause(s)
    await reset(s)
    await show_pending(s, "reset")
    await s.heartbeat(work.task_token)


@scenario()
async def paused_activity_does_not_time_out(s: Session) -> None:
    """No deadline passes while it is paused; they all do when it is unpaused."""
    await scheduled(s, start_to_close_timeout=duration(1), retry_policy=retry_policy(attempts=1))
    work = await s.take_activity()
    await pause(s)
    await s.poll_activity(seconds=3)
    await s.heartbeat(work.task_token)
    await unpause(s)
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def paused_activity_past_schedule_to_close(s: Session) -> None:
    """The deadline of all attempts is not moved by a pause."""
    await scheduled(s, schedule_to_close_timeout=duration(1), retry_policy=retry_policy(initial=0.2))
    await pause(s)
    await s.poll_activity(seconds=3)
    await show_pending(s, "late")
    await unpause(s)
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def paused_in_lists(s: Session) -> None:
    """Lists find runs by what is paused in them."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, kind="work"), start_timer(seconds=100))
    await pause(s)
    workflow = s.unique("wf")

    def search(value: str) -> ws.ListWorkflowExecutionsRequest:
        query = f"WorkflowId = '{workflow}' AND TemporalPauseInfo = '{value}'"
        return ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, query=query)

    async def listed() -> bool:
        reply: ws.ListWorkflowExecutionsResponse = await s.quiet(search("property:activityType=work"))
        return bool(reply.executions)

    async def gone() -> bool:
        return not await listed()

    await until("the paused run", listed)
    reply: ws.ListWorkflowExecutionsResponse = await s.quiet(search("property:activityType=work"))
    s.show("listed", reply.executions[0].search_attributes)
    await unpause(s)
    await until("the unpaused run", gone)
    by_id = ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, query=f"WorkflowId = '{workflow}'")
    reply = await s.quiet(by_id)
    s.show("listed", reply.executions[0].search_attributes)


@scenario()
async def paused_when_the_run_closes(s: Session) -> None:
    """A closed run keeps what its search attributes said, and its activities can't be touched."""
    await scheduled(s)
    await pause(s)
    await s.signal("go")
    await s.advance(complete_workflow())
    await show_pending(s, "closed")
    await pause(s)
    await unpause(s)
    await reset(s)
    await update(s, activities.ActivityOptions(heartbeat_timeout=duration(2)), "heartbeat_timeout")


@scenario(differs="the reference changes the activities of closed runs, if options are restored")
async def restoring_when_the_run_is_closed(s: Session) -> None:
    """A closed run's activities can't be touched."""
    await scheduled(s)
    await s.signal("go")
    await s.advance(complete_workflow())
    await update(s, restore_original=True)


@scenario()
async def unpause_not_paused(s: Session) -> None:
    """Nothing happens."""
    await scheduled(s)
    await unpause(s)
    await show_pending(s, "scheduled")
    await s.poll_activity()
    await unpause(s, reset_attempts=True, reset_heartbeat=True)
    await show_pending(s, "started")


@scenario()
async def unpause_all(s: Session) -> None:
    """All that are paused go on."""
    await s.start_quietly()
    await unpause(s, unpause_all=True)
    await s.advance(
        schedule_activity(s.queue, "a1", "one"),
        schedule_activity(s.queue, "b1", "two"),
        schedule_activity(s.queue, "c1", "three"),
        start_timer(seconds=100),
    )
    await pause(s, type="one")
    await pause(s, type="two")
    await unpause(s, unpause_all=True)
    await show_pending(s, "unpaused")


@scenario()
async def unpause_resetting(s: Session) -> None:
    """Attempts and heartbeats from the beginning, if asked for."""
    await in_backoff(s)
    await pause(s)
    await unpause(s, reset_attempts=True, reset_heartbeat=True)
    await show_pending(s, "unpaused")
    await s.poll_activity()


@scenario()
async def unpause_with_jitter(s: Session) -> None:
    """The next attempt waits for some of the jitter."""
    await scheduled(s)
    await pause(s)
    await unpause(s, jitter=duration(1.5))
    await s.poll_activity()


@scenario()
async def unpause_started(s: Session) -> None:
    """One that runs goes on; its worker isn't told to pause any more."""
    await scheduled(s)
    work = await s.take_activity()
    await pause(s)
    await unpause(s, reset_heartbeat=True)
    await show_pending(s, "unpaused")
    await s.heartbeat(work.task_token)
    await s.complete_activity(work.task_token)


@scenario()
async def unpause_started_resetting_attempts(s: Session) -> None:
    """The worker of the second attempt has a token of an attempt that isn't any more."""
    await scheduled(s, retry_policy=retry_policy(initial=0.01))
    first = await s.take_activity()
    await s.fail_activity(first.task_token, failure("again"))
    second = await s.take_activity()
    await pause(s)
    await unpause(s, reset_attempts=True)
    await show_pending(s, "unpaused")
    await s.heartbeat(second.task_token)
    await s.complete_activity(second.task_token)
