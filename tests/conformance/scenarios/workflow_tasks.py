"""Workflow tasks: what a poll gets, how a task is completed, failed or lost, and what comes after."""

from __future__ import annotations

from tests.conformance.harness.commands import (
    cancel_timer,
    complete_workflow,
    fail_workflow,
    record_marker,
    schedule_activity,
    start_timer,
)
from tests.conformance.harness.payloads import duration, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def complete_at_once(s: Session) -> None:
    """The shortest workflow: started, one task, completed."""
    await s.start()
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history()
    await s.describe()


@scenario()
async def fail_at_once(s: Session) -> None:
    """A workflow that fails."""
    await s.start()
    task = await s.poll()
    await s.complete(task, fail_workflow())
    await s.show_history(first=4)


@scenario()
async def timer_fires(s: Session) -> None:
    """A timer starts, fires, and brings the next workflow task."""
    await s.start()
    task = await s.poll()
    await s.complete(task, start_timer(seconds=1))
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history()


@scenario()
async def timer_cancelled(s: Session) -> None:
    """A timer is cancelled by a later task, another in the task that started it."""
    await s.start()
    await s.advance(start_timer("long", seconds=100), start_timer("short", seconds=100), cancel_timer("short"))
    await s.signal("go")
    task = await s.poll()
    await s.complete(task, cancel_timer("long"), complete_workflow())
    await s.show_history(first=4)


@scenario()
async def activity_completes(s: Session) -> None:
    """One activity: scheduled, polled, completed; the workflow goes on."""
    await s.start()
    task = await s.poll()
    await s.complete(task, schedule_activity(s.queue, input=payloads("in")))
    await s.describe()
    work = await s.poll_activity()
    await s.describe()
    await s.complete_activity(work.task_token)
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history()
    s.note("a second completion finds nothing")
    await s.complete_activity(work.task_token)


@scenario()
async def commands_of_one_task(s: Session) -> None:
    """Events stand in the order of the commands."""
    await s.start()
    await s.advance(
        record_marker("first", details={"d": payloads("x")}),
        schedule_activity(s.queue, "a", start_to_close_timeout=duration(7), heartbeat_timeout=duration(20)),
        start_timer("t", seconds=50),
        schedule_activity(s.queue, "b", schedule_to_close_timeout=duration(9)),
        record_marker("last"),
    )
    await s.show_history(first=4)


@scenario()
async def workflow_task_fails(s: Session) -> None:
    """The first failure is an event; later attempts are shown but not written until one succeeds."""
    await s.start()
    task = await s.poll()
    await s.fail_task(task)
    await s.show_history(first=2)
    task = await s.poll()
    await s.show_history(first=2)
    await s.fail_task(task)
    await s.describe()
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=2)


@scenario()
async def workflow_task_times_out(s: Session) -> None:
    """A task that nobody answers times out after the workflow task timeout; its token is then worth nothing."""
    await s.start(workflow_task_timeout=duration(1))
    lost = await s.poll()
    task = await s.poll()
    await s.complete(lost, complete_workflow())
    await s.complete(task, complete_workflow())
    await s.show_history()
