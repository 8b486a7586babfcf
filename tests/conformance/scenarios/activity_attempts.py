"""What an activity's attempts leave to the next one, and to the workflow at last."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import message_pb2 as failures
from temporalio.api.sdk.v1 import user_metadata_pb2 as sdk
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_activity,
    complete_workflow,
    record_marker,
    schedule_activity,
    start_timer,
)
from tests.conformance.harness.operating import TIMED_OUT, scheduled, show_pending
from tests.conformance.harness.payloads import duration, failure, header, payload, payloads, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, WORKER, Session


@scenario()
async def heartbeats_keep_an_activity(s: Session) -> None:
    """The heartbeat's deadline is reckoned from the last one."""
    await scheduled(
        s,
        heartbeat_timeout=duration(4),
        start_to_close_timeout=duration(100),
        retry_policy=retry_policy(attempts=1),
    )
    work = await s.take_activity()
    for round_ in ("one", "two", "three"):
        await s.poll_activity(seconds=3)
        await s.heartbeat(work.task_token, round_)
    await s.wait_for_event(TIMED_OUT)
    await s.heartbeat(work.task_token, "late")
    await s.show_history(first=5)


@scenario()
async def heartbeat_of_a_timed_out_attempt(s: Session) -> None:
    """The next attempt has the last details; the one before can't say any more."""
    await scheduled(s, heartbeat_timeout=duration(1), retry_policy=retry_policy(initial=0.1, attempts=2))
    first = await s.take_activity()
    await s.heartbeat(first.task_token, "half")
    second = await s.poll_activity()
    await s.heartbeat(first.task_token, "late")
    await s.complete_activity(first.task_token)
    await s.complete_activity(second.task_token)
    await s.show_history(first=5)


@scenario()
async def heartbeat_without_details(s: Session) -> None:
    """An empty heartbeat takes the details of the one before away."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "half")
    await s.heartbeat(work.task_token)
    await show_pending(s, "heard")
    await s.fail_activity(work.task_token)
    await s.poll_activity()


@scenario()
async def heartbeat_with_the_failure(s: Session) -> None:
    """A worker that fails says what it did last."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "half")
    await s.fail_activity(work.task_token, last_heartbeat_details=payloads("nearly"), identity="another")
    again = await s.poll_activity()
    await s.fail_activity(again.task_token, failure("never", non_retryable=True))
    await s.show_history(first=5)


@scenario()
async def heartbeat_by_id_between_attempts(s: Session) -> None:
    """Nobody has the activity: nobody can say anything about it, but that it is complete."""
    await scheduled(s, retry_policy=retry_policy(initial=100))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("again"))
    by_id: dict[str, Any] = {"namespace": NAMESPACE, "workflow_id": s.unique("wf"), "activity_id": "act"}
    await s.attempt(ws.RecordActivityTaskHeartbeatByIdRequest(**by_id, identity=CLIENT))
    await s.attempt(ws.RespondActivityTaskFailedByIdRequest(**by_id, identity=CLIENT, failure=failure("x")))
    await s.attempt(ws.RespondActivityTaskCanceledByIdRequest(**by_id, identity=CLIENT))
    await s.attempt(ws.RespondActivityTaskCompletedByIdRequest(**by_id, identity=CLIENT, result=payloads("out")))
    await s.show_history(first=5)


@scenario()
async def backoff_grows_to_its_maximum(s: Session) -> None:
    """Each interval is the coefficient times the one before, and none is longer than the maximum."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1, coefficient=3, maximum=0.5))
    for number in range(1, 5):
        work = await s.take_activity()
        await s.fail_activity(work.task_token, failure(f"attempt {number}"))
    work = await s.poll_activity()
    await show_pending(s, "fifth")


@scenario()
async def backoff_that_is_shown(s: Session) -> None:
    """The second interval, while it lasts."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1, coefficient=400, maximum=30))
    work = await s.take_activity()
    await s.fail_activity(work.task_token)
    work = await s.take_activity()
    await s.fail_activity(work.task_token)
    await show_pending(s, "waiting")


@scenario()
async def delay_that_is_asked_for(s: Session) -> None:
    """It stands for the interval, over the maximum too; the next failure's goes by the policy."""
    await scheduled(s, retry_policy=retry_policy(initial=50, maximum=60))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("soon", next_retry_delay=0.1))
    work = await s.poll_activity()
    await s.fail_activity(work.task_token, failure("late", next_retry_delay=500))
    await show_pending(s, "waiting")


@scenario()
async def delay_of_nothing(s: Session) -> None:
    """No time at all is a delay too: it is none that can be kept."""
    await scheduled(s, retry_policy=retry_policy(initial=50, maximum=60))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("now", next_retry_delay=0))
    await s.show_history(first=5)


@scenario()
async def delay_beyond_the_deadline(s: Session) -> None:
    """The activity fails at once, if the next attempt would come after schedule-to-close."""
    await scheduled(s, schedule_to_close_timeout=duration(20), retry_policy=retry_policy(initial=1))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("late", next_retry_delay=500))
    await s.show_history(first=5)


@scenario()
async def delay_in_the_cause(s: Session) -> None:
    """Only the failure itself asks, not its cause."""
    await scheduled(s, retry_policy=retry_policy(initial=50))
    work = await s.take_activity()
    outer = failure("outer")
    outer.cause.CopyFrom(failure("inner", next_retry_delay=500))
    await s.fail_activity(work.task_token, outer)
    await show_pending(s, "waiting")


@scenario()
async def timeouts_that_are_never_retried(s: Session) -> None:
    """A policy can name timeouts among the failures that are final."""
    policy = retry_policy(initial=0.1, never=("TemporalTimeout:StartToClose", "Other"))
    await scheduled(s, start_to_close_timeout=duration(1), retry_policy=policy)
    await s.take_activity()
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def timeouts_of_the_other_kind_are_retried(s: Session) -> None:
    """The one that is named is no other."""
    policy = retry_policy(initial=0.1, attempts=2, never=("TemporalTimeout:Heartbeat",))
    await scheduled(s, start_to_close_timeout=duration(1), retry_policy=policy)
    await s.take_activity()
    await s.take_activity()
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def deadline_across_attempts(s: Session) -> None:
    """Schedule-to-close passes while the second attempt runs: the first one's failure is the cause."""
    await scheduled(s, schedule_to_close_timeout=duration(2), retry_policy=retry_policy(initial=0.1))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "half")
    await s.fail_activity(work.task_token, failure("the first", "Sometimes"))
    await s.take_activity()
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def deadline_in_backoff(s: Session) -> None:
    """Schedule-to-start of the second attempt begins when it is due."""
    await scheduled(
        s,
        schedule_to_start_timeout=duration(1),
        retry_policy=retry_policy(initial=1),
        start_to_close_timeout=duration(5),
    )
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("the first", "Sometimes"))
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def failure_that_is_cut(s: Session) -> None:
    """What is kept of a large failure is small; the last one is told in full."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1, attempts=2))
    work = await s.take_activity()
    large = failures.Failure(
        message="m" * 3000,
        source="test",
        stack_trace="s" * 3000,
        application_failure_info=failures.ApplicationFailureInfo(type="Large", details=payloads("d" * 3000)),
        cause=failure("inner" * 300),
    )
    await s.fail_activity(work.task_token, large)
    again = await s.take_activity()
    await show_pending(s, "again")
    await s.fail_activity(again.task_token, large)
    await s.show_history(first=5)


@scenario()
async def failure_after_cancellation(s: Session) -> None:
    """An activity that shall end isn't tried again."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1))
    work = await s.take_activity()
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.heartbeat(work.task_token, "half")
    await s.fail_activity(work.task_token, failure("again"))
    await s.show_history(first=12)


@scenario()
async def timeout_after_cancellation(s: Session) -> None:
    """Nor after a timeout."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1), start_to_close_timeout=duration(2))
    await s.take_activity()
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.wait_for_event(TIMED_OUT)
    await s.show_history(first=12)


@scenario()
async def cancellation_twice(s: Session) -> None:
    """A second request of one activity fails its task."""
    await scheduled(s)
    await s.take_activity()
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.signal("again")
    task = await s.take()
    await s.complete(task, cancel_activity(5))


@scenario()
async def id_used_again(s: Session) -> None:
    """The id of an activity that is over is free."""
    await scheduled(s)
    work = await s.take_activity()
    await s.complete_activity(work.task_token)
    await s.advance(schedule_activity(s.queue, kind="other"))
    await s.complete_activity(work.task_token)
    await s.poll_activity()
    await show_pending(s, "again")


@scenario()
async def attempts_have_what_was_scheduled(s: Session) -> None:
    """Input, header, priority and summary; each attempt gets them."""
    await s.start_quietly(priority=common.Priority(priority_key=4, fairness_key="flow"))
    work = schedule_activity(
        s.queue,
        input=payloads("in"),
        header=header(h="x"),
        priority=common.Priority(priority_key=2),
        retry_policy=retry_policy(initial=0.1),
    )
    work.user_metadata.CopyFrom(sdk.UserMetadata(summary=payload("what it does")))
    await s.advance(work, start_timer(seconds=100))
    first = await s.poll_activity()
    await s.fail_activity(first.task_token)
    second = await s.poll_activity()
    await s.complete_activity(second.task_token)
    await s.show_history(first=5)


@scenario()
async def retry_while_a_task_is_started(s: Session) -> None:
    """Attempts come and go without an event; the end waits for the task."""
    await scheduled(s, retry_policy=retry_policy(initial=0.1))
    work = await s.take_activity()
    await s.signal("go")
    task = await s.take()
    await s.fail_activity(work.task_token, failure("again"))
    work = await s.take_activity()
    await s.complete_activity(work.task_token)
    await s.complete(task)
    await s.show_history(first=7)


@scenario()
async def local_activity_markers(s: Session) -> None:
    """Local activities are markers: results, failures and headers are kept as they come."""
    await s.start_quietly()
    data = {"data": payloads('{"seq": 1}'), "result": payloads("out")}
    broken = {"data": payloads('{"seq": 2}')}
    await s.advance(
        record_marker("core_local_activity", details=data),
        record_marker("core_local_activity", details=broken, failure=failure("broken", "Local"), header=header(h="x")),
        complete_workflow(),
    )
    await s.show_history(first=5)


@scenario()
async def eager_activities_beside_others(s: Session) -> None:
    """The worker gets those that it asked for with the answer; the others are offered."""
    await s.start_quietly()
    task = await s.take()

    def eager(name: str, wanted: bool) -> command.Command:
        return schedule_activity(s.queue, name, request_eager_execution=wanted)

    commands = [eager(f"eager{n}", True) for n in range(5)]
    reply = await s.complete(task, *commands, eager("offered", False), start_timer(seconds=100))
    await s.poll_activity()
    if reply is not None and reply.activity_tasks:
        await s.complete_activity(reply.activity_tasks[0].task_token)
        await s.fail_activity(reply.activity_tasks[1].task_token)
    await show_pending(s, "afterwards")


@scenario()
async def eager_activities_that_are_cancelled(s: Session) -> None:
    """One that the same task cancels never begins."""
    await s.start_quietly()
    task = await s.take()
    await s.complete(task, schedule_activity(s.queue, request_eager_execution=True), cancel_activity(5))
    await s.show_history(first=5)


@scenario()
async def answers_after_a_timeout(s: Session) -> None:
    """Whoever comes late finds nothing."""
    await scheduled(s, start_to_close_timeout=duration(1), retry_policy=retry_policy(attempts=1))
    work = await s.take_activity()
    await s.wait_for_event(EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    token: dict[str, Any] = {"namespace": NAMESPACE, "task_token": work.task_token, "identity": WORKER}
    await s.heartbeat(work.task_token)
    await s.complete_activity(work.task_token)
    await s.fail_activity(work.task_token)
    await s.attempt(ws.RespondActivityTaskCanceledRequest(**token))
