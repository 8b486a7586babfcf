"""Describing executions: missing, running and closed ones, and what is pending in them."""

from __future__ import annotations

from temporalio.api.common.v1 import message_pb2 as common

from tests.conformance.harness.commands import cancel_activity, complete_workflow, schedule_activity, start_timer
from tests.conformance.harness.payloads import failure, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session

NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"


@scenario()
async def describe_missing(s: Session) -> None:
    """Nobody has started it, or not this run, or the run id is no UUID."""
    await s.describe("missing")
    await s.describe("missing", NO_RUN)
    await s.start_quietly()
    await s.describe("wf", NO_RUN)
    await s.describe("wf", "not-a-run-id")


@scenario()
async def describe_started_task(s: Session) -> None:
    """The pending workflow task is scheduled, then started."""
    await s.start_quietly()
    await s.describe()
    await s.take()
    await s.describe()


@scenario()
async def describe_closed(s: Session) -> None:
    """A closed run by its id, and by none; then a newer one."""
    run_id = await s.start()
    await s.advance(complete_workflow())
    await s.describe()
    await s.start(request_id=s.unique("again"))
    await s.describe("wf", run_id)
    await s.describe()


@scenario()
async def describe_terminated(s: Session) -> None:
    """A terminated run has no pending task."""
    await s.start_quietly()
    await s.terminate(reason="enough")
    await s.describe()


@scenario()
async def describe_activity_in_backoff(s: Session) -> None:
    """An activity between two attempts shows its last failure."""
    await s.start_quietly()
    policy = retry_policy(initial=100, attempts=3)
    await s.advance(schedule_activity(s.queue, retry_policy=policy), start_timer(seconds=100))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "half")
    await s.describe()
    await s.fail_activity(work.task_token, failure("again", "Sometimes"))
    await s.describe()


@scenario()
async def describe_activity_cancel_requested(s: Session) -> None:
    """A started activity whose cancellation was requested stays pending."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    await s.take_activity()
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.describe()


@scenario()
async def describe_builds(s: Session) -> None:
    """Builds of unversioned workers: each is kept in the run, in its events, and where it could be reset to."""
    await s.start_quietly()
    activity = schedule_activity(s.queue, retry_policy=retry_policy(initial=100))
    for build, commands in (("one", [activity, start_timer(seconds=100)]), ("two", []), ("two", [])):
        task = await s.take(worker_version_capabilities=common.WorkerVersionCapabilities(build_id=build))
        await s.complete(task, *commands, worker_version_stamp=common.WorkerVersionStamp(build_id=build))
        await s.signal("go")
    other = common.WorkerVersionCapabilities(build_id="three")
    work = await s.take_activity(worker_version_capabilities=other)
    await s.describe()
    stamp = common.WorkerVersionStamp(build_id="three")
    await s.fail_activity(work.task_token, failure("again", "Sometimes"), worker_version=stamp)
    await s.describe()
    await s.fail_task(await s.take(worker_version_capabilities=other), worker_version=stamp)
    await s.show_history()
