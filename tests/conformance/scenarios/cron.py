"""Workflows with a cron schedule: when runs begin, and what each end leaves to the next."""

from __future__ import annotations

from temporalio.api.common.v1 import message_pb2 as common

from tests.conformance.harness.commands import (
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
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
from tests.conformance.harness.render import Rule
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session

# A schedule counts whole seconds of the day, or from the moment of the start.
BACKOFF = (
    Rule("WorkflowExecutionStartedEventAttributes.first_workflow_task_backoff", "up to the next time, if any"),
    Rule("WorkflowExecutionContinuedAsNewEventAttributes.backoff_start_interval", "up to the next time, if any"),
)


@scenario(rules=BACKOFF)
async def cron_run_completes(s: Session) -> None:
    """A completed run is followed by the next, which has its result."""
    run_id = await s.start_quietly(cron_schedule="@every 4s", input=payloads("in"))
    await s.show_history()
    await s.describe()
    await s.advance(complete_workflow("result"))
    await s.show_history(run_id=run_id, first=2)
    await s.show_history()
    await s.describe()
    await s.describe(run_id=run_id)


@scenario(rules=BACKOFF)
async def cron_run_fails(s: Session) -> None:
    """So is a failed one; the result of the last completed one is handed on."""
    run_id = await s.start_quietly(cron_schedule="@every 1s")
    await s.advance(complete_workflow("result"))
    await s.advance(fail_workflow("no"))
    await s.advance(complete_workflow("another"))
    third = await s.take()
    await s.show_history()
    started = third.history.events[0].workflow_execution_started_event_attributes
    await s.show_history(run_id=started.continued_execution_run_id)
    await s.show_history(run_id=run_id, first=5)


@scenario(rules=BACKOFF)
async def cron_failing_run(s: Session) -> None:
    """The close event of a failed run."""
    run_id = await s.start_quietly(cron_schedule="@every 1s")
    await s.advance(fail_workflow(failure=failure("no", non_retryable=True)))
    await s.take()
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()


@scenario(rules=BACKOFF)
async def cron_with_retries(s: Session) -> None:
    """A run is tried again before the next time comes; then attempts begin anew."""
    run_id = await s.start_quietly(cron_schedule="@every 4s", retry_policy=retry_policy(initial=1, attempts=2))
    await s.advance(fail_workflow("first"))
    await s.advance(fail_workflow("second"))
    third = await s.take()
    await s.show_history(run_id=run_id, first=5)
    started = third.history.events[0].workflow_execution_started_event_attributes
    await s.show_history(run_id=started.continued_execution_run_id)
    await s.show_history()


@scenario(rules=BACKOFF)
async def cron_keeps(s: Session) -> None:
    """Header, memo, search attributes, timeouts."""
    await s.start_quietly(
        cron_schedule="@every 4s",
        workflow_execution_timeout=duration(500),
        workflow_run_timeout=duration(400),
        workflow_task_timeout=duration(7),
        header=header(h="1"),
        memo=memo(m="2"),
        search_attributes=search_attributes(CustomKeywordField="k"),
    )
    await s.advance(complete_workflow())
    await s.show_history()
    await s.describe()


@scenario(rules=BACKOFF)
async def cron_cancelled(s: Session) -> None:
    """A cancelled run is the last one."""
    await s.start_quietly(cron_schedule="@every 1s")
    task = await s.take()
    await s.request_cancel()
    await s.complete(task)
    await s.advance(cancel_workflow())
    await s.show_history()


@scenario(rules=BACKOFF)
async def cron_cancel_requested_before_run(s: Session) -> None:
    """A request in the time before the run doesn't wait for it; a signal does."""
    await s.start_quietly(cron_schedule="@every 25s")
    await s.signal("early")
    await s.show_history(first=2)
    await s.request_cancel()
    await s.take()
    await s.show_history(first=2)


@scenario(rules=BACKOFF)
async def cron_terminated(s: Session) -> None:
    """A terminated run is the last one."""
    await s.start_quietly(cron_schedule="@every 4s")
    await s.advance(complete_workflow())
    await s.terminate()
    await s.show_history()
    await s.describe()


@scenario(rules=BACKOFF)
async def cron_run_times_out(s: Session) -> None:
    """A run that times out is followed by the next."""
    run_id = await s.start_quietly(cron_schedule="@every 4s", workflow_run_timeout=duration(1))
    await s.closed(run_id=run_id)
    await s.show_history(run_id=run_id)
    await s.show_history()


@scenario(rules=BACKOFF)
async def cron_execution_times_out(s: Session) -> None:
    """The schedule ends with the execution's time."""
    await s.start_quietly(cron_schedule="@every 2s", workflow_execution_timeout=duration(6))
    await s.advance(complete_workflow())
    await s.closed()
    await s.show_history()


@scenario(rules=BACKOFF)
async def cron_no_time_for_next_run(s: Session) -> None:
    """A next run after the execution's end is begun, and never gets a task."""
    await s.start_quietly(cron_schedule="@every 4s", workflow_execution_timeout=duration(6))
    await s.advance(complete_workflow())
    await s.show_history()
    await s.closed()
    await s.show_history(first=2)


@scenario(rules=BACKOFF)
async def cron_continues_as_new(s: Session) -> None:
    """A continuation within a schedule is at once, and keeps the schedule only if it is told to."""
    await s.start_quietly(cron_schedule="@every 1s")
    await s.advance(continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue))
    await s.advance(complete_workflow())
    await s.show_history()


@scenario(rules=BACKOFF)
async def cron_continues_as_new_with_schedule(s: Session) -> None:
    """A continuation with a schedule."""
    await s.start_quietly()
    await s.advance(
        continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue, cron_schedule="@every 4s")
    )
    task = await s.advance(complete_workflow())
    await s.show_history(run_id=task.workflow_execution.run_id)
    await s.show_history()


@scenario()
async def cron_schedules(s: Session) -> None:
    """Which schedules are taken."""
    for index, schedule in enumerate(
        (
            "* * * * *",
            "*/5 1-3 1,15 JAN-MAR MON",
            "@hourly",
            "@daily",
            "@midnight",
            "@weekly",
            "@monthly",
            "@yearly",
            "@annually",
            "@every 1h30m",
            "@every 10ms",
            "CRON_TZ=America/New_York 0 12 * * *",
            "TZ=Europe/Berlin 0 12 * * ?",
            "0 0 12 * * *",
            "60 * * * *",
            "* * * *",
            "@reboot",
            "@every soon",
            "@every -1s",
            "CRON_TZ=Nowhere/At_All * * * * *",
            "0 0 31 2 *",
            " ",
            "* * * * MON#1",
            "* * L * *",
        )
    ):
        s.note(schedule)
        try:
            await s.quiet(s.start_request(f"wf{index}", cron_schedule=schedule))
        except CallFailed as failed:
            s.transcript.failure(failed)


@scenario(rules=BACKOFF)
async def cron_and_start(s: Session) -> None:
    """A start while the schedule lasts."""
    await s.start(cron_schedule="@every 4s")
    await s.advance(complete_workflow())
    await s.attempt(s.start_request(request_id=s.unique("other"), cron_schedule="@every 1s"))
