"""Workflows with a retry policy: which ends are tried again, when, and what the next attempt knows."""

from __future__ import annotations

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds

from tests.conformance.harness.commands import (
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    start_timer,
)
from tests.conformance.harness.payloads import (
    duration,
    failure,
    header,
    memo,
    payloads,
    retry_policy,
    search_attributes,
)
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session
from tests.conformance.scenarios.continue_as_new import THROTTLED


@scenario()
async def retried_run(s: Session) -> None:
    """A failure closes the run and begins the next; a completion ends it."""
    run_id = await s.start_quietly(retry_policy=retry_policy(initial=4), input=payloads("in"))
    await s.advance(fail_workflow("first"))
    await s.show_history(run_id=run_id, first=4)
    await s.describe()
    await s.show_history()
    await s.advance(complete_workflow())
    await s.show_history(first=2)
    await s.describe(run_id=run_id)


@scenario()
async def retried_run_keeps(s: Session) -> None:
    """Header, memo, search attributes, timeouts: all of them."""
    await s.start_quietly(
        workflow_execution_timeout=duration(500),
        workflow_run_timeout=duration(400),
        workflow_task_timeout=duration(7),
        retry_policy=retry_policy(initial=25),
        header=header(h="1"),
        memo=memo(m="2"),
        search_attributes=search_attributes(CustomKeywordField="k"),
        priority=common.Priority(priority_key=2),
    )
    await s.advance(fail_workflow("first"))
    await s.show_history()
    await s.describe()


@scenario()
async def retries_back_off(s: Session) -> None:
    """The interval grows up to its maximum."""
    await s.start_quietly(retry_policy=retry_policy(initial=1, coefficient=1.5, maximum=2))
    for attempt in range(3):
        await s.advance(fail_workflow(f"attempt {attempt}"))
        started = (await s.events())[0].workflow_execution_started_event_attributes
        s.show(f"attempt {started.attempt}", started.first_workflow_task_backoff)


@scenario()
async def retries_are_used_up(s: Session) -> None:
    """The last attempt's failure stays."""
    first = await s.start_quietly(retry_policy=retry_policy(initial=1, attempts=2))
    await s.advance(fail_workflow("first"))
    await s.advance(fail_workflow("second"))
    await s.show_history(run_id=first, first=4)
    await s.show_history()


@scenario()
async def retry_of_single_attempt(s: Session) -> None:
    """One attempt at most."""
    await s.start_quietly(retry_policy=retry_policy(attempts=1))
    await s.advance(fail_workflow())
    await s.show_history(first=4)


@scenario()
async def retry_never_for_type(s: Session) -> None:
    """A failure type that is not to be retried."""
    await s.start_quietly(retry_policy=retry_policy(never=("fatal",)))
    await s.advance(fail_workflow(failure=failure("no", "fatal")))
    await s.show_history(first=4)


@scenario()
async def retry_never_for_failure(s: Session) -> None:
    """A failure that says of itself that it is not to be retried."""
    await s.start_quietly(retry_policy=retry_policy())
    await s.advance(fail_workflow(failure=failure("no", non_retryable=True)))
    await s.show_history(first=4)


@scenario()
async def retry_delay_of_failure(s: Session) -> None:
    """A failure that names the time of the next attempt."""
    await s.start_quietly(retry_policy=retry_policy(initial=10))
    await s.advance(fail_workflow(failure=failure("soon", next_retry_delay=1.5)))
    await s.take()
    await s.show_history()


@scenario()
async def retry_without_time(s: Session) -> None:
    """No attempt begins after the execution's end."""
    await s.start_quietly(workflow_execution_timeout=duration(25), retry_policy=retry_policy(initial=30))
    await s.advance(fail_workflow())
    await s.show_history(first=4)


@scenario()
async def retry_after_run_timeout(s: Session) -> None:
    """A run that times out is retried."""
    policy = retry_policy(initial=1, attempts=2)
    run_id = await s.start_quietly(workflow_run_timeout=duration(2), retry_policy=policy)
    await s.closed(run_id=run_id)
    await s.show_history(run_id=run_id)
    await s.closed()
    await s.show_history()


@scenario()
async def retry_not_after_execution_timeout(s: Session) -> None:
    """An execution that times out is not."""
    run_id = await s.start_quietly(workflow_execution_timeout=duration(1), retry_policy=retry_policy(initial=1))
    await s.closed(run_id=run_id)
    await s.show_history(run_id=run_id)


@scenario()
async def retry_not_after_terminate(s: Session) -> None:
    """A terminated run stays terminated."""
    await s.start_quietly(retry_policy=retry_policy())
    await s.terminate()
    await s.show_history(first=2)


@scenario()
async def retry_not_after_cancel(s: Session) -> None:
    """A cancelled one stays cancelled."""
    await s.start_quietly(retry_policy=retry_policy())
    await s.request_cancel()
    await s.advance(cancel_workflow())
    await s.show_history(first=2)


@scenario()
async def retry_signalled_in_backoff(s: Session) -> None:
    """A signal in the time between doesn't wake the next attempt; a request to cancel does."""
    await s.start_quietly(retry_policy=retry_policy(initial=25))
    await s.advance(fail_workflow())
    await s.signal("early")
    await s.show_history()
    await s.request_cancel()
    await s.take()
    await s.show_history(first=2)


@scenario()
async def retry_terminated_in_backoff(s: Session) -> None:
    """The next attempt can be terminated before it begins."""
    await s.start_quietly(retry_policy=retry_policy(initial=25))
    await s.advance(fail_workflow())
    await s.terminate()
    await s.show_history(first=2)
    await s.describe()


@scenario()
async def retry_of_start_delayed(s: Session) -> None:
    """The delay of a start is the first attempt's only."""
    await s.start_quietly(workflow_start_delay=duration(1), retry_policy=retry_policy(initial=25))
    await s.advance(fail_workflow())
    await s.show_history()


@scenario(rules=THROTTLED)
async def retry_then_continue_as_new(s: Session) -> None:
    """A continuation begins its attempts anew, and keeps the policy only if it is told to."""
    await s.start_quietly(retry_policy=retry_policy(initial=1))
    await s.advance(fail_workflow())
    task = await s.take()
    anew = continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue)
    await s.quiet(s.completion(task, anew))
    await s.advance(fail_workflow())
    await s.show_history()


@scenario(rules=THROTTLED)
async def retry_of_continuation(s: Session) -> None:
    """A continuation with a policy of its own."""
    await s.start_quietly()
    anew = continue_as_new(
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        retry_policy=retry_policy(initial=0.5, attempts=2),
        input=payloads("next"),
    )
    await s.advance(anew)
    await s.advance(fail_workflow("once"))
    await s.advance(fail_workflow("twice"))
    await s.show_history()


@scenario()
async def retry_over_buffered_signal(s: Session) -> None:
    """A failure is refused while a signal waits."""
    await s.start_quietly(retry_policy=retry_policy(initial=0.5))
    task = await s.take()
    await s.signal("late")
    await s.complete(task, fail_workflow())
    await s.show_history(first=3)


@scenario()
async def retried_run_and_start(s: Session) -> None:
    """A start while the next attempt waits."""
    await s.start(retry_policy=retry_policy(initial=25))
    await s.advance(fail_workflow())
    await s.attempt(s.start_request(request_id=s.unique("other")))


@scenario(differs="the reference has forgotten the start that began the chain, and refuses its repetition")
async def retried_run_and_repeated_start(s: Session) -> None:
    """The start comes again while the next attempt waits."""
    await s.start(retry_policy=retry_policy(initial=25))
    await s.advance(fail_workflow())
    await s.attempt(s.start_request())


@scenario()
async def retry_drops_timers(s: Session) -> None:
    """Timers of the failed attempt don't fire in the next one."""
    await s.start_quietly(retry_policy=retry_policy(initial=1))
    await s.advance(start_timer("old", 2), start_timer("older", 2.5))
    await s.signal("wake")
    await s.advance(fail_workflow())
    await s.advance(start_timer("new", 3))
    await s.wait_for_event(kinds.EVENT_TYPE_TIMER_FIRED)
    await s.show_history(first=2)
