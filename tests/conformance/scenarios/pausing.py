"""Pausing and unpausing a workflow: what it is told, what goes on meanwhile, and what begins again."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as event_type
from temporalio.api.enums.v1 import query_pb2 as query_enums
from temporalio.api.enums.v1 import workflow_pb2 as policies
from temporalio.api.query.v1 import message_pb2 as query
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    complete_workflow,
    fail_workflow,
    schedule_activity,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import duration, failure, payloads, retry_policy
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session
from tests.conformance.harness.waiting import until

NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"


async def _pause(s: Session, workflow: str = "wf", **fields: Any) -> None:
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique(workflow),
        "identity": CLIENT,
        "reason": "look at it",
        "request_id": s.unique("pause"),
    }
    await s.attempt(ws.PauseWorkflowExecutionRequest(**{**plain, **fields}))


async def _unpause(s: Session, workflow: str = "wf", **fields: Any) -> None:
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique(workflow),
        "identity": CLIENT,
        "reason": "looked at it",
        "request_id": s.unique("unpause"),
    }
    await s.attempt(ws.UnpauseWorkflowExecutionRequest(**{**plain, **fields}))


async def _listed(s: Session, what: str, condition: str, count: int = 1) -> None:
    request = ws.ListWorkflowExecutionsRequest(
        namespace=NAMESPACE, query=f"WorkflowId = '{s.unique('wf')}' AND {condition}"
    )

    async def enough() -> ws.ListWorkflowExecutionsResponse | None:
        try:
            reply: ws.ListWorkflowExecutionsResponse = await s.quiet(request)
        except CallFailed as failed:
            if failed.code == "RESOURCE_EXHAUSTED":
                return None
            raise
        return reply if len(reply.executions) == count else None

    found = await until(f"{count} of {request.query}", enough)
    assert found is not None
    s.show(what, found)


async def _event(s: Session, wanted: int) -> None:
    """Wait for an event without a long poll: the reference ends those on a paused workflow at once."""

    async def there() -> bool:
        return any(event.event_type == wanted for event in await s.events())

    await until("the event", there)


async def _idle(s: Session) -> None:
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))


@scenario()
async def pause_idle(s: Session) -> None:
    """An idle workflow is paused and goes on: events, description, lists."""
    await _idle(s)
    await _pause(s)
    await s.describe()
    await _listed(s, "paused", "ExecutionStatus = 'Paused'")
    await _listed(s, "by what is paused", f"TemporalPauseInfo = 'Workflow:{s.unique('wf')}'")
    await _listed(s, "by why", "TemporalPauseInfo = 'Reason:look at it'")
    await _listed(s, "not running", "ExecutionStatus = 'Running'", 0)
    await _unpause(s)
    await s.describe()
    await _listed(s, "running", "ExecutionStatus = 'Running'")
    await _listed(s, "not paused", "ExecutionStatus = 'Paused'", 0)
    await s.poll()
    await s.show_history()


@scenario()
async def pause_twice(s: Session) -> None:
    """The same request is done once; another one is told that it is paused. The same with going on."""
    await _idle(s)
    await _unpause(s)
    await _pause(s)
    await _pause(s)
    await _pause(s, request_id=s.unique("other"))
    await _pause(s, request_id="")
    await _unpause(s)
    await _unpause(s)
    await _pause(s, reason="", identity="", request_id="")
    await _pause(s, request_id="")
    await s.describe()
    await s.show_history(first=5)


@scenario()
async def pause_refused(s: Session) -> None:
    """Nothing to pause, or names that are no names."""
    await _pause(s, "missing")
    await _unpause(s, "missing")
    await _idle(s)
    for act in (_pause, _unpause):
        await act(s, namespace="")
        await act(s, namespace="no-such-namespace")
        await act(s, workflow_id="")
        await act(s, workflow_id="w" * 1001)
        await act(s, run_id=NO_RUN)
        await act(s, run_id="not-a-run-id")
        await act(s, reason="r" * 1001)
        await act(s, request_id="r" * 1001)
        await act(s, identity="i" * 1001)
    await s.terminate()
    await _pause(s)
    await _unpause(s)


@scenario()
async def pause_before_first_task(s: Session) -> None:
    """The task that nobody has taken yet fails; a new one comes when the workflow goes on."""
    await s.start_quietly()
    await _pause(s)
    await s.describe()
    await s.show_history()
    await _unpause(s)
    await s.describe()
    await s.poll()
    await s.show_history()


@scenario()
async def pause_during_task(s: Session) -> None:
    """A task that a worker has is answered as ever; its activity waits."""
    await s.start_quietly()
    task = await s.take()
    await _pause(s)
    await s.describe()
    await s.show_history()
    await s.complete(task, schedule_activity(s.queue), start_timer(seconds=100))
    await s.describe()
    await _unpause(s)
    await s.show_history()
    await s.poll_activity()
    await s.poll()
    await s.describe()


@scenario()
async def pause_during_task_and_heartbeat(s: Session) -> None:
    """A worker that wants its next task at once gets none while the workflow is paused."""
    await s.start_quietly()
    task = await s.take()
    await _pause(s)
    await s.complete(task, force_create_new_workflow_task=True)
    await s.show_history()
    await s.complete(task, force_create_new_workflow_task=False)
    await s.show_history()
    await _unpause(s)
    await s.show_history(first=5)


@scenario()
async def pause_during_task_that_fails(s: Session) -> None:
    """A task that fails is not tried again until the workflow goes on."""
    await s.start_quietly()
    task = await s.take()
    await _pause(s)
    await s.fail_task(task)
    await s.describe()
    await _unpause(s)
    await s.describe()
    await s.poll()
    await s.show_history()


@scenario()
async def pause_during_task_that_closes(s: Session) -> None:
    """A worker that has its task may end the paused workflow."""
    await s.start_quietly()
    task = await s.take()
    await _pause(s)
    await s.complete(task, complete_workflow())
    await s.describe()
    await s.show_history()


@scenario()
async def pause_buffered_closes(s: Session) -> None:
    """A pause, then a signal, while the worker closes the workflow."""
    await s.start_quietly()
    task = await s.take()
    await _pause(s)
    await s.signal("go")
    await s.complete(task, complete_workflow())
    await s.describe()
    await s.show_history()


@scenario()
async def pause_and_unpause_during_task(s: Session) -> None:
    """Both while a worker has the task."""
    await s.start_quietly()
    task = await s.take()
    await _pause(s)
    await _unpause(s)
    await s.describe()
    await s.show_history()
    await s.complete(task, start_timer(seconds=100))
    await s.show_history()
    await s.describe()


@scenario()
async def pause_with_started_activity(s: Session) -> None:
    """An activity that a worker has may beat its heart and end; the workflow hears of it when it goes on."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(initial=0.1)))
    work = await s.take_activity()
    await _pause(s)
    await s.heartbeat(work.task_token, "half")
    await s.describe()
    await s.complete_activity(work.task_token)
    await s.describe()
    await _unpause(s)
    await s.poll()


@scenario()
async def pause_with_failing_activity(s: Session) -> None:
    """An activity that fails is not tried again until the workflow goes on."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(initial=0.1)))
    work = await s.take_activity()
    await _pause(s)
    await s.fail_activity(work.task_token, failure("again", "Sometimes"))
    await _unpause(s)
    await s.poll_activity()


@scenario()
async def pause_with_scheduled_activity(s: Session) -> None:
    """An activity that nobody has taken is not given away until the workflow goes on."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    await _pause(s)
    await s.describe()
    await s.poll_activity(seconds=3)
    await _unpause(s)
    await s.describe()
    await s.poll_activity()


@scenario()
async def pause_with_activity_timeouts(s: Session) -> None:
    """Timeouts of an activity go on; the workflow hears of it when it goes on."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, schedule_to_start_timeout=duration(1)))
    await _pause(s)
    await _event(s, event_type.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
    await s.describe()
    await _unpause(s)
    await s.poll()


@scenario()
async def pause_with_timer(s: Session) -> None:
    """A timer fires; the workflow hears of it when it goes on."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=1))
    await _pause(s)
    await _event(s, event_type.EVENT_TYPE_TIMER_FIRED)
    await s.describe()
    await _unpause(s)
    await s.poll()


@scenario()
async def pause_and_signals(s: Session) -> None:
    """Signals and requests to cancel are written down; queries are refused."""
    await _idle(s)
    await _pause(s)
    await s.signal("go")
    both = ws.SignalWithStartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=s.unique("wf"),
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        identity=CLIENT,
        signal_name="both",
        request_id=s.unique("both"),
    )
    await s.attempt(both)
    await s.request_cancel()
    asked = query.WorkflowQuery(query_type="state", query_args=payloads("arg"))
    for condition in (
        query_enums.QUERY_REJECT_CONDITION_NONE,
        query_enums.QUERY_REJECT_CONDITION_NOT_OPEN,
        query_enums.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY,
    ):
        await s.attempt(
            ws.QueryWorkflowRequest(
                namespace=NAMESPACE, execution=s.execution("wf"), query=asked, query_reject_condition=condition
            )
        )
    await s.describe()
    await _unpause(s)
    await s.poll()


@scenario(differs="the reference hands the query to a worker, though every other one is refused while it is paused")
async def pause_with_buffered_query(s: Session) -> None:
    """A query that waits for the task that a worker has, which does not answer it."""
    await _idle(s)
    await s.signal("go")
    task = await s.take()
    asked = s.begin(
        ws.QueryWorkflowRequest(
            namespace=NAMESPACE, execution=s.execution("wf"), query=query.WorkflowQuery(query_type="state")
        )
    )
    await s.settle()
    await _pause(s)
    await s.complete(task)
    direct = await s.quiet(s.poll_request(), seconds=3)
    if direct.task_token:
        await s.quiet(
            ws.RespondQueryTaskCompletedRequest(
                namespace=NAMESPACE,
                task_token=direct.task_token,
                completed_type=query_enums.QUERY_RESULT_TYPE_ANSWERED,
                query_result=payloads("answer"),
            )
        )
    await s.finish(asked, "answer")


@scenario()
async def pause_terminated(s: Session) -> None:
    """A paused workflow can be terminated."""
    await _idle(s)
    await _pause(s)
    await s.terminate()
    await s.describe()
    await s.show_history(first=5)


@scenario()
async def pause_times_out(s: Session) -> None:
    """A paused workflow times out, and is tried again: the next run is not paused."""
    await s.start_quietly(workflow_run_timeout=duration(2), retry_policy=retry_policy(initial=0.1, attempts=2))
    await s.advance(start_timer(seconds=100))
    await _pause(s)
    await s.poll()
    await s.describe()


@scenario(differs="the reference fails with an internal error and leaves the workflow unpaused")
async def pause_delayed_start(s: Session) -> None:
    """A delayed start that comes while the workflow is paused waits until it goes on."""
    await s.start_quietly(workflow_start_delay=duration(1))
    await _pause(s)
    await s.describe()
    await _unpause(s)
    await s.poll()
    await s.show_history()


@scenario()
async def pause_and_start(s: Session) -> None:
    """Starts over a paused workflow: it is one that runs, but to whoever repeats the start that began it."""
    await _idle(s)
    await _pause(s)
    await s.attempt(s.start_request())
    await s.attempt(s.start_request(request_id=s.unique("a")))
    await s.attempt(
        s.start_request(
            request_id=s.unique("b"), workflow_id_conflict_policy=policies.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
        )
    )
    await s.attempt(
        s.start_request(
            request_id=s.unique("c"),
            workflow_id_conflict_policy=policies.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
        )
    )
    await s.describe()


@scenario()
async def pause_during_second_attempt(s: Session) -> None:
    """A started task that is not in history is shown behind it while the workflow is paused, too."""
    await s.start_quietly()
    await s.fail_task(await s.take())
    await s.take()
    await s.show_history()
    await _pause(s)
    await s.show_history()


@scenario()
async def pause_and_last_event(s: Session) -> None:
    """Who asks for the last event without waiting, as the command line does, gets the pause."""
    await _idle(s)
    await _pause(s)
    await s.call(
        ws.GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE,
            execution=s.execution("wf"),
            history_event_filter_type=policies.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
    )


@scenario(differs="the reference's long polls take a paused workflow for a closed one, and its last event for its end")
async def pause_and_long_poll(s: Session) -> None:
    """Who waits for a workflow's end goes on waiting while it is paused."""
    await _idle(s)
    await _pause(s)
    request = ws.GetWorkflowExecutionHistoryRequest(
        namespace=NAMESPACE,
        execution=s.execution("wf"),
        wait_new_event=True,
        history_event_filter_type=policies.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
    )
    waiting = s.begin(request)
    await s.settle()
    await s.terminate()
    await s.finish(waiting, "the end")


@scenario()
async def pause_child(s: Session) -> None:
    """A paused parent's child starts and ends; the parent hears of it when it goes on."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(event_type.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)
    await s.advance()
    await _pause(s)
    await s.advance_child(complete_workflow())
    await _event(s, event_type.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)
    await s.show_history(first=5)
    await _unpause(s)
    await s.poll()


@scenario()
async def pause_failed_task_closes(s: Session) -> None:
    """A worker that fails the paused workflow with a retry policy: another run begins, and it is not paused."""
    await s.start_quietly(retry_policy=retry_policy(initial=0.1, attempts=2))
    task = await s.take()
    await _pause(s)
    await s.complete(task, fail_workflow())
    await s.describe()
    await s.poll()
