"""Activities: completion, failure, retries, heartbeats and cancellation."""

from __future__ import annotations

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.failure.v1 import message_pb2 as failures
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import cancel_activity, complete_workflow, schedule_activity
from tests.conformance.harness.payloads import duration, failure, header, payloads, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, WORKER, Session


@scenario()
async def activity_task_fields(s: Session) -> None:
    """What an activity task tells of its workflow, its command and its timeouts."""
    await s.start_quietly(workflow_run_timeout=duration(100))
    command = schedule_activity(
        s.queue,
        "act",
        input=payloads("a", "b"),
        header=header(h="x"),
        schedule_to_close_timeout=duration(50),
        schedule_to_start_timeout=duration(40),
        heartbeat_timeout=duration(30),
        retry_policy=retry_policy(attempts=2, maximum=3, coefficient=1.5, never=("Bad",)),
    )
    await s.advance(command)
    await s.poll_activity()
    await s.show_history(first=5)


@scenario()
async def activity_timeouts_filled_in(s: Session) -> None:
    """Timeouts that weren't given come from those that were, and none exceeds the run's."""
    await s.start_quietly(workflow_run_timeout=duration(100))
    await s.advance(
        schedule_activity(s.queue, "a", start_to_close_timeout=duration(5)),
        schedule_activity(s.queue, "b", schedule_to_close_timeout=duration(7)),
        schedule_activity(s.queue, "c", schedule_to_close_timeout=duration(500)),
        schedule_activity(s.queue, "d", start_to_close_timeout=duration(500)),
        schedule_activity(s.queue, "e", schedule_to_close_timeout=duration(5), start_to_close_timeout=duration(50)),
        schedule_activity(s.queue, "f", start_to_close_timeout=duration(5), heartbeat_timeout=duration(50)),
    )
    await s.show_history(first=5)


@scenario()
async def activity_fails(s: Session) -> None:
    """A failure that must not be retried reaches the workflow."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("broken", "Bad", non_retryable=True))
    await s.fail_activity(work.task_token)
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=6)


@scenario()
async def activity_retries(s: Session) -> None:
    """Attempts come after their backoff, with the last heartbeat; only the last attempt is an event."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(attempts=3)))
    work = await s.poll_activity()
    await s.heartbeat(work.task_token, "half")
    await s.fail_activity(work.task_token, failure("one", "Sometimes"))
    again = await s.poll_activity()
    await s.complete_activity(work.task_token)
    await s.fail_activity(again.task_token, failure("two"))
    await s.show_history(first=6)
    last = await s.poll_activity()
    await s.fail_activity(last.task_token, failure("three"))
    await s.show_history(first=6)


@scenario()
async def activity_succeeds_on_second_attempt(s: Session) -> None:
    """The Started event names the attempt and the failure before it."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy()))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("one", "Sometimes"))
    work = await s.take_activity(identity="other")
    await s.complete_activity(work.task_token)
    await s.show_history(first=6)


@scenario()
async def activity_failure_types_never_retried(s: Session) -> None:
    """The retry policy names types of failures that end it."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(never=("Bad",))))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("broken", "Bad"))
    await s.show_history(first=6)


@scenario()
async def activity_failures_of_other_kinds(s: Session) -> None:
    """Failures without application info: a server's own, a cancellation, none at all."""
    await s.start_quietly()
    policy = retry_policy(attempts=2, initial=100)
    await s.advance(*(schedule_activity(s.queue, name, retry_policy=policy) for name in "abcd"))
    works = {work.activity_id: work for work in [await s.take_activity() for _ in range(4)]}
    server = failures.ServerFailureInfo(non_retryable=True)
    await s.fail_activity(works["a"].task_token, failures.Failure(message="a", server_failure_info=server))
    cancelled = failures.CanceledFailureInfo(details=payloads("d"))
    await s.fail_activity(works["b"].task_token, failures.Failure(message="b", canceled_failure_info=cancelled))
    await s.fail_activity(works["c"].task_token, failures.Failure(message="c"))
    await s.fail_activity(works["d"].task_token, failure=None)
    await s.show_history(first=9)


@scenario()
async def activity_next_retry_delay(s: Session) -> None:
    """A failure may say itself when the next attempt comes."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(initial=100, attempts=3)))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("soon", next_retry_delay=0.1))
    work = await s.poll_activity()
    await s.fail_activity(work.task_token, failure("later", next_retry_delay=77))
    await s.describe()


@scenario()
async def activity_without_time_for_retry(s: Session) -> None:
    """No attempt is planned that would come after schedule-to-close."""
    await s.start_quietly()
    policy = retry_policy(initial=100)
    await s.advance(schedule_activity(s.queue, retry_policy=policy, schedule_to_close_timeout=duration(20)))
    work = await s.take_activity()
    await s.fail_activity(work.task_token, failure("one"))
    await s.show_history(first=6)


@scenario()
async def activity_heartbeat_cancel_requested(s: Session) -> None:
    """The worker learns of the cancellation by its heartbeat, and reports it with details."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "before")
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.heartbeat(work.task_token, "after")
    await s.call(
        ws.RespondActivityTaskCanceledRequest(
            namespace=NAMESPACE, task_token=work.task_token, identity=WORKER, details=payloads("stopped")
        )
    )
    await s.show_history(first=8)
    await s.heartbeat(work.task_token)


@scenario()
async def activity_cancelled_without_request(s: Session) -> None:
    """A worker cannot report a cancellation that nobody asked for."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    work = await s.take_activity()
    token = work.task_token
    await s.attempt(ws.RespondActivityTaskCanceledRequest(namespace=NAMESPACE, task_token=token, identity=WORKER))
    await s.describe()


@scenario()
async def activity_cancelled_before_start(s: Session) -> None:
    """An activity that no worker has fetched is cancelled at once."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, "a"), schedule_activity(s.queue, "b"))
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.show_history(first=7)
    await s.poll_activity()


@scenario()
async def activity_cancelled_in_backoff(s: Session) -> None:
    """An activity between two attempts is cancelled at once."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(initial=100)))
    work = await s.take_activity()
    await s.fail_activity(work.task_token)
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.show_history(first=8)


@scenario()
async def activity_scheduled_and_cancelled_at_once(s: Session) -> None:
    """Both commands in one completion."""
    await s.start_quietly()
    await s.complete(await s.take(), schedule_activity(s.queue), cancel_activity(5))
    await s.show_history(first=4)


@scenario()
async def activity_completes_though_cancel_requested(s: Session) -> None:
    """A worker may ignore the request and complete, or fail without retry."""
    await s.start_quietly()
    policy = retry_policy(initial=0.2)
    await s.advance(schedule_activity(s.queue, "a"), schedule_activity(s.queue, "b", retry_policy=policy))
    works = {work.activity_id: work for work in [await s.take_activity(), await s.take_activity()]}
    await s.signal("go")
    await s.advance(cancel_activity(5), cancel_activity(6))
    await s.complete_activity(works["a"].task_token)
    await s.fail_activity(works["b"].task_token)
    await s.show_history(first=10)


@scenario()
async def activity_after_close(s: Session) -> None:
    """An activity's worker finds nothing once the workflow is closed."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, "a"), schedule_activity(s.queue, "b"))
    works = {work.activity_id: work for work in [await s.take_activity(), await s.take_activity()]}
    await s.terminate()
    await s.heartbeat(works["a"].task_token)
    await s.complete_activity(works["a"].task_token)
    await s.fail_activity(works["b"].task_token)
    await s.show_history(first=5)


@scenario()
async def activity_schedule_to_start_timeout(s: Session) -> None:
    """Nobody fetches it in time; there is no retry of that."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, schedule_to_start_timeout=duration(1), retry_policy=retry_policy()))
    await s.wait_for_event(kinds.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await s.show_history(first=5)


@scenario()
async def activity_start_to_close_timeout(s: Session) -> None:
    """An attempt takes too long, and no other is allowed."""
    await s.start_quietly()
    policy = retry_policy(attempts=1)
    await s.advance(schedule_activity(s.queue, start_to_close_timeout=duration(1), retry_policy=policy))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "last words")
    await s.wait_for_event(kinds.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await s.complete_activity(work.task_token)
    await s.show_history(first=5)


@scenario()
async def activity_start_to_close_timeout_retried(s: Session) -> None:
    """An attempt takes too long, and the next one may begin."""
    await s.start_quietly()
    policy = retry_policy(attempts=2)
    await s.advance(schedule_activity(s.queue, start_to_close_timeout=duration(1), retry_policy=policy))
    await s.take_activity()
    work = await s.poll_activity()
    await s.complete_activity(work.task_token)
    await s.show_history(first=6)


@scenario()
async def activity_schedule_to_close_timeout(s: Session) -> None:
    """The whole takes too long, be it fetched or not."""
    await s.start_quietly()
    await s.advance(
        schedule_activity(s.queue, "started", schedule_to_close_timeout=duration(1), retry_policy=retry_policy())
    )
    await s.take_activity()
    await s.wait_for_event(kinds.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await s.advance(
        schedule_activity(s.queue, "waiting", schedule_to_close_timeout=duration(1), retry_policy=retry_policy())
    )
    await s.wait_for_event(kinds.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT, count=2)
    await s.show_history(first=5)


@scenario()
async def activity_heartbeat_timeout(s: Session) -> None:
    """A heartbeat is missed; the event has the details of the last one."""
    await s.start_quietly()
    policy = retry_policy(attempts=1)
    await s.advance(schedule_activity(s.queue, heartbeat_timeout=duration(1), retry_policy=policy))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "alive")
    await s.wait_for_event(kinds.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await s.heartbeat(work.task_token, "too late")
    await s.show_history(first=5)


@scenario()
async def activity_heartbeat_timeout_retried(s: Session) -> None:
    """After a missed heartbeat the next attempt gets the details of the last one."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, heartbeat_timeout=duration(1), retry_policy=retry_policy()))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "alive")
    await s.poll_activity()
    await s.describe()
