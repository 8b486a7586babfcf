"""Several queries at a time, queries beside failing tasks, long histories for workers, closes that come too early."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import query_pb2 as enums
from temporalio.api.query.v1 import message_pb2 as query
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    record_marker,
    start_timer,
)
from tests.conformance.harness.payloads import duration, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session


def _query(s: Session, kind: str, workflow: str = "wf", **fields: Any) -> ws.QueryWorkflowRequest:
    asked = query.WorkflowQuery(query_type=kind)
    return ws.QueryWorkflowRequest(namespace=NAMESPACE, execution=s.execution(workflow), query=asked, **fields)


def _answers(task: ws.PollWorkflowTaskQueueResponse) -> dict[str, query.WorkflowQueryResult]:
    """An answer to each query of a task that repeats the query's type."""
    return {
        key: query.WorkflowQueryResult(
            result_type=enums.QUERY_RESULT_TYPE_ANSWERED, answer=payloads(f"answer to {asked.query_type}")
        )
        for key, asked in task.queries.items()
    }


def _direct(task: ws.PollWorkflowTaskQueueResponse) -> ws.RespondQueryTaskCompletedRequest:
    return ws.RespondQueryTaskCompletedRequest(
        namespace=NAMESPACE,
        task_token=task.task_token,
        completed_type=enums.QUERY_RESULT_TYPE_ANSWERED,
        query_result=payloads(f"answer to {task.query.query_type}"),
    )


@scenario()
async def queries_of_every_condition(s: Session) -> None:
    """Which queries each reject condition refuses, by how the workflow ended."""
    ends = {
        "completed": [complete_workflow()],
        "failed": [fail_workflow()],
        "canceled": [cancel_workflow()],
        "terminated": None,
        "continued": [continue_as_new()],
    }
    for name, commands in ends.items():
        run_id = await s.start_quietly(name)
        if commands is None:
            await s.terminate(name)
        else:
            await s.advance(*commands)
        if name == "continued":
            await s.terminate(name)
        for condition in (enums.QUERY_REJECT_CONDITION_NOT_OPEN, enums.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY):
            asked = _query(s, "state", name, query_reject_condition=condition)
            if name == "completed" and condition == enums.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY:
                waiting = s.begin(asked)
                await s.quiet(_direct(await s.take()))
                await s.finish(waiting, "clean")
                continue
            asked.execution.run_id = run_id
            await s.attempt(asked)


@scenario()
async def query_beside_a_failing_task(s: Session) -> None:
    """A query that went with a task that failed is answered by the attempt that succeeds."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.signal("go")
    asked = s.begin(_query(s, "state"))
    await s.settle()
    await s.fail_task(await s.take())
    task = await s.take()
    s.note(f"queries of the next attempt: {len(task.queries)}")
    await s.complete(task, query_results=_answers(task))
    if not task.queries:
        await s.quiet(_direct(await s.take()))
    await s.finish(asked, "answer")


@scenario()
async def query_with_a_closing_task(s: Session) -> None:
    """The task that closes the workflow answers what came with it; what came during it gets no answer any more."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.signal("go")
    first = s.begin(_query(s, "first"))
    await s.settle()
    task = await s.take()
    second = s.begin(_query(s, "second"))
    await s.settle()
    await s.complete(task, complete_workflow(), query_results=_answers(task))
    await s.finish(first, "answer to the first")
    await s.finish(second, "outcome of the second")


@scenario()
async def query_of_a_terminated_task(s: Session) -> None:
    """A query that waits for a task of a workflow that is terminated goes to a worker directly."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.signal("go")
    asked = s.begin(_query(s, "state"))
    await s.settle()
    await s.terminate()
    await s.call(_direct(await s.take()))
    await s.finish(asked, "answer")


@scenario()
async def query_during_a_heartbeat(s: Session) -> None:
    """A query that waits for a task that only asks for more time."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.signal("go")
    task = await s.take()
    asked = s.begin(_query(s, "state"))
    await s.settle()
    reply = await s.complete(task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    task = reply.workflow_task
    s.note(f"queries of the new task: {len(task.queries)}")
    await s.complete(task, query_results=_answers(task))
    if not task.queries:
        await s.quiet(_direct(await s.take()))
    await s.finish(asked, "answer")


@scenario()
async def history_in_pages_for_a_worker(s: Session) -> None:
    """A worker gets the first page of a long history with its task, and the rest by that page's token, up to the task's
    own Started event, whatever comes later.
    """
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    task = None
    for count in range(300):
        signal = ws.SignalWorkflowExecutionRequest(
            namespace=NAMESPACE, workflow_execution=s.execution("wf"), signal_name=f"s{count}"
        )
        await s.quiet(signal)
    task = await s.take()
    events = list(task.history.events)
    s.note(f"{len(events)} events, more to come: {bool(task.next_page_token)}, started: {task.started_event_id}")
    await s.signal("late")
    token = task.next_page_token
    while token:
        request = ws.GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE, execution=task.workflow_execution, next_page_token=token
        )
        page = await s.quiet(request)
        events += page.history.events
        token = page.next_page_token
    ids = [event.event_id for event in events]
    s.note(f"{len(ids)} events, without a gap: {ids == list(range(1, len(ids) + 1))}")
    s.note(f"the last one: {kinds.EventType.Name(events[-1].event_type)}")
    await s.complete(task, complete_workflow())
    await s.complete(await s.take(), complete_workflow())


@scenario()
async def every_close_over_a_new_signal(s: Session) -> None:
    """Whatever would close the workflow is refused while something new waits, and the next task tells."""
    for name, command in {
        "complete": complete_workflow(),
        "fail": fail_workflow(),
        "cancel": cancel_workflow(),
        "continue": continue_as_new(),
    }.items():
        await s.start_quietly(name)
        task = await s.take()
        await s.signal("go", name)
        await s.complete(task, record_marker(), command)
        await s.show_history(name, first=3)
        await s.complete(await s.take(), complete_workflow())


@scenario()
async def signal_to_a_closing_workflow(s: Session) -> None:
    """A workflow that tried to close and was refused gets no more signals during its next try."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("first")
    await s.complete(task, complete_workflow())
    task = await s.take()
    s.note(f"attempt {task.attempt}")
    await s.signal("second")
    await s.complete(task, complete_workflow())
    await s.show_history(first=3)


@scenario()
async def failing_and_timing_out_in_turn(s: Session) -> None:
    """Failed and timed out attempts of one task count together."""
    await s.start_quietly(workflow_task_timeout=duration(1))
    await s.fail_task(await s.take())
    await s.take()
    s.note("nobody answers the second attempt")
    task = await s.poll()
    await s.describe()
    await s.signal("go")
    await s.complete(task, complete_workflow())
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=3)


@scenario()
async def heartbeats_with_commands(s: Session) -> None:
    """A completion that makes progress and asks for a new task; and one that closes and asks for one."""
    await s.start_quietly()
    reply = await s.complete(
        await s.take(), record_marker("one"), force_create_new_workflow_task=True, return_new_workflow_task=True
    )
    reply = await s.complete(
        reply.workflow_task, complete_workflow(), force_create_new_workflow_task=True, return_new_workflow_task=True
    )
    await s.show_history(first=4)
