"""Cancellation requests, termination and timeouts of executions."""

from __future__ import annotations

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums

from tests.conformance.harness.commands import cancel_workflow, complete_workflow, fail_workflow, start_timer
from tests.conformance.harness.payloads import duration, failure, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def cancel_accepted(s: Session) -> None:
    """A request to cancel is an event and brings a task, in which the workflow cancels itself."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.request_cancel(reason="enough", request_id=s.unique("c"))
    task = await s.poll()
    await s.complete(task, cancel_workflow())
    await s.show_history(first=5)
    await s.describe()


@scenario()
async def cancel_twice(s: Session) -> None:
    """The second request is the same one by its request id, or one too many."""
    await s.start_quietly()
    await s.request_cancel(request_id=s.unique("c"))
    await s.request_cancel(request_id=s.unique("c"))
    await s.request_cancel(request_id=s.unique("other"))
    await s.request_cancel()
    await s.show_history(first=2)
    await s.describe()


@scenario()
async def cancel_refused(s: Session) -> None:
    """Missing and closed executions."""
    await s.request_cancel("missing")
    run_id = await s.start_quietly()
    await s.request_cancel(workflow_execution=None)
    await s.request_cancel(run_id="no-uuid")
    await s.request_cancel(first_execution_run_id="01234567-89ab-4cde-8f01-23456789abcd")
    await s.advance(complete_workflow())
    await s.request_cancel()
    await s.request_cancel(run_id=run_id)


@scenario()
async def cancel_ignored(s: Session) -> None:
    """A workflow may complete, or fail, though it was asked to cancel."""
    await s.start_quietly()
    await s.request_cancel()
    await s.advance(fail_workflow("not so", failure=failure("not so", "Stubborn", non_retryable=True)))
    await s.show_history(first=2)


@scenario()
async def terminate_running(s: Session) -> None:
    """Termination with reason and details, twice."""
    run_id = await s.start_quietly()
    await s.terminate(reason="enough", details=payloads("why"))
    await s.show_history(first=2)
    await s.terminate()
    await s.terminate(run_id=run_id)


@scenario()
async def terminate_during_task(s: Session) -> None:
    """A started workflow task fails before the terminated event, and its answer finds nothing."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("buffered")
    await s.terminate()
    await s.show_history(first=2)
    await s.complete(task, complete_workflow())
    await s.fail_task(task)


@scenario()
async def terminate_refused(s: Session) -> None:
    """Missing executions, and a first run id that isn't the chain's."""
    await s.terminate("missing")
    run_id = await s.start_quietly()
    await s.terminate(workflow_execution=None)
    await s.terminate(run_id="no-uuid")
    await s.terminate(first_execution_run_id="01234567-89ab-4cde-8f01-23456789abcd")
    await s.terminate(first_execution_run_id=run_id)
    await s.show_history(first=3)


@scenario()
async def terminate_existing_by_start(s: Session) -> None:
    """A start with the policy to terminate ends the old run and begins the new one."""
    run_id = await s.start_quietly()
    policy = enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    await s.start(request_id=s.unique("new"), workflow_id_conflict_policy=policy)
    await s.show_history("wf", run_id)
    await s.show_history()


@scenario()
async def run_times_out(s: Session) -> None:
    """The run timeout closes an idle workflow."""
    await s.start_quietly(workflow_run_timeout=duration(1))
    await s.advance(start_timer(seconds=100))
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT)
    await s.show_history(first=5)
    await s.describe()


@scenario()
async def execution_times_out(s: Session) -> None:
    """The execution timeout closes a workflow whose task nobody took."""
    await s.start_quietly(workflow_execution_timeout=duration(1))
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT)
    await s.show_history()


@scenario()
async def run_times_out_during_task(s: Session) -> None:
    """The run timeout while a workflow task is started."""
    await s.start_quietly(workflow_run_timeout=duration(1))
    task = await s.take()
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT)
    await s.show_history(first=2)
    await s.complete(task, complete_workflow())
