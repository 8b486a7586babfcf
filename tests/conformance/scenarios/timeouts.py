"""Execution and run timeouts over a chain of runs, and start delays."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, continue_as_new, fail_workflow, start_timer
from tests.conformance.harness.payloads import duration, payloads, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session
from tests.conformance.scenarios.continue_as_new import THROTTLED


def anew(s: Session, **fields: Any) -> Any:
    """Continue as the same workflow on the same queue."""
    return continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue, **fields)


@scenario(rules=THROTTLED)
async def timeout_of_started_run_with_retry(s: Session) -> None:
    """A run that times out while its worker is at it: the next attempt begins all the same."""
    policy = retry_policy(initial=1, attempts=2)
    run_id = await s.start_quietly(workflow_run_timeout=duration(6), retry_policy=policy)
    task = await s.take()
    await s.closed(run_id=run_id)
    await s.complete(task, complete_workflow())
    await s.show_history(run_id=run_id, first=2)
    await s.advance(complete_workflow())
    await s.show_history(first=2)


@scenario(rules=THROTTLED)
async def timeout_of_execution_over_attempts(s: Session) -> None:
    """The execution's time is over while a later attempt runs."""
    await s.start_quietly(
        workflow_execution_timeout=duration(6), workflow_run_timeout=duration(5), retry_policy=retry_policy(initial=1)
    )
    await s.advance(fail_workflow())
    await s.take()
    await s.closed()
    await s.show_history()
    await s.describe()


@scenario()
async def timeout_leaves_no_time_for_retry(s: Session) -> None:
    """A run timeout so late that no attempt fits before the execution's end."""
    await s.start_quietly(
        workflow_execution_timeout=duration(4), workflow_run_timeout=duration(3), retry_policy=retry_policy(initial=2)
    )
    await s.closed()
    await s.show_history(first=2)


@scenario(rules=THROTTLED)
async def timeout_of_run_begins_anew(s: Session) -> None:
    """Each run of a chain has the whole run timeout, from its own start."""
    run_id = await s.start_quietly(workflow_run_timeout=duration(6))
    await s.advance(start_timer(seconds=2))
    await s.advance(anew(s))
    await s.closed()
    first, second = (await s.events(run_id=run_id))[0], (await s.events())[-1]
    lasted = (second.event_time.ToNanoseconds() - first.event_time.ToNanoseconds()) / 1e9
    assert lasted >= 8, f"the second run was closed {lasted:g} s after the start of the first"
    await s.show_history()


@scenario(rules=THROTTLED)
async def timeout_given_by_continuation(s: Session) -> None:
    """A continuation's run timeout is cut to the execution's."""
    run_id = await s.start_quietly(workflow_execution_timeout=duration(100), workflow_run_timeout=duration(50))
    await s.advance(anew(s, workflow_run_timeout=duration(500)))
    await s.take()
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()


@scenario()
async def start_delay_and_run_timeout(s: Session) -> None:
    """The run's time begins after the delay."""
    await s.start_quietly(workflow_start_delay=duration(1.5), workflow_run_timeout=duration(3))
    await s.closed()
    await s.show_history()


@scenario()
async def start_delay_and_execution_timeout(s: Session) -> None:
    """So does the execution's."""
    await s.start_quietly(workflow_start_delay=duration(1.5), workflow_execution_timeout=duration(3))
    await s.closed()
    await s.show_history()


@scenario()
async def start_delay_cancelled(s: Session) -> None:
    """A request to cancel doesn't wait for the delay."""
    await s.start(workflow_start_delay=duration(60))
    await s.request_cancel()
    await s.show_history(first=2)
    await s.poll()


@scenario()
async def start_delay_terminated(s: Session) -> None:
    """Neither does a termination."""
    await s.start(workflow_start_delay=duration(60))
    await s.terminate()
    await s.show_history(first=2)
    await s.describe()


@scenario()
async def start_delay_signalled_with_start(s: Session) -> None:
    """A signal with a delayed start waits with it; a second one like it doesn't."""
    request = ws.SignalWithStartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=s.unique("wf"),
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        identity=CLIENT,
        request_id=s.unique("start"),
        signal_name="one",
        signal_input=payloads("1"),
        workflow_start_delay=duration(60),
    )
    await s.call(request)
    await s.show_history(first=2)
    request.request_id = s.unique("again")
    request.signal_name = "two"
    await s.call(request)
    await s.take()
    await s.show_history()


@scenario()
async def start_delay_replaced(s: Session) -> None:
    """A start that terminates the delayed one."""
    await s.start(workflow_start_delay=duration(60))
    policy = enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    await s.start(request_id=s.unique("again"), workflow_id_conflict_policy=policy)
    await s.take()
    await s.show_history()


@scenario()
async def start_delay_described(s: Session) -> None:
    """Execution time and expiration of a delayed start."""
    await s.start(
        workflow_start_delay=duration(60),
        workflow_run_timeout=duration(100),
        workflow_execution_timeout=duration(200),
    )
    found = await s.describe()
    info = found.workflow_execution_info
    extended = found.workflow_extended_info
    begun = info.start_time.ToNanoseconds()
    for name, moment in (
        ("execution time", info.execution_time),
        ("run expiration", extended.run_expiration_time),
        ("execution expiration", extended.execution_expiration_time),
    ):
        s.note(f"{name} {round((moment.ToNanoseconds() - begun) / 1e9)} s after the start")
