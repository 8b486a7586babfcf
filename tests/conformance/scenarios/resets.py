"""Reset: which points of a history are legal, what the new run begins with, and which run is the current one then."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import reset_pb2 as types
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    complete_workflow,
    continue_as_new,
    fail_workflow,
    modify_properties,
    record_marker,
    start_timer,
    upsert_search_attributes,
)
from tests.conformance.harness.payloads import duration, memo, payloads, retry_policy, search_attributes
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session
from tests.conformance.harness.waiting import until
from tests.conformance.scenarios.continue_as_new import THROTTLED

NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"


def reset_request(
    s: Session, event_id: int, run_id: str = "", workflow_id: str = "wf", **fields: Any
) -> ws.ResetWorkflowExecutionRequest:
    """Reset to before the event with this id; each request is another one."""
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_execution": s.execution(workflow_id, run_id),
        "reason": "try again",
        "workflow_task_finish_event_id": event_id,
        "request_id": s.unique(f"reset-{workflow_id}-{run_id}-{event_id}"),
        "identity": CLIENT,
    }
    return ws.ResetWorkflowExecutionRequest(**{**plain, **fields})


async def reset(s: Session, event_id: int, run_id: str = "", workflow_id: str = "wf", **fields: Any) -> str:
    """Reset; an error is recorded, and the scenario goes on. The new run's id, "" for an error."""
    reply = await s.attempt(reset_request(s, event_id, run_id, workflow_id, **fields))
    return reply.run_id if reply is not None else ""


async def two_tasks(s: Session, **fields: Any) -> str:
    """A run with two completed tasks (events 4 and 8); its run id."""
    run_id = await s.start_quietly(**fields)
    await s.advance(record_marker("one"), force_create_new_workflow_task=True)
    await s.advance(record_marker("two"))
    return run_id


@scenario()
async def reset_open_run(s: Session) -> None:
    """To the second task: the run is terminated, the new one has its history up to there, and goes on."""
    run_id = await two_tasks(s)
    await reset(s, 8)
    await s.show_history(run_id=run_id)
    await s.show_history()
    await s.describe(run_id=run_id)
    await s.describe()
    await s.poll()
    await s.show_history(first=7)


@scenario()
async def reset_closed_run(s: Session) -> None:
    """A run that completed is left as it is, but for what it was reset to."""
    run_id = await s.start_quietly()
    await s.advance(complete_workflow())
    await reset(s, 4)
    await s.show_history(run_id=run_id)
    await s.show_history()
    await s.describe(run_id=run_id)
    await s.advance(fail_workflow())
    await s.show_history(first=4)
    await s.describe()


@scenario()
async def reset_points(s: Session) -> None:
    """Each id of a history with a signal between a task and its start, in its batch, and beyond its end."""
    run_id = await s.start_quietly()
    await s.signal("early")
    await s.advance(record_marker("one"), start_timer("t", 100))
    await s.signal("late")
    await s.advance(complete_workflow())
    await s.show_history()
    for event_id in (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14):
        s.note(f"event {event_id}")
        new = await reset(s, event_id, run_id)
        if new:
            await s.show_history(run_id=new, first=max(1, event_id - 1))


@scenario()
async def reset_before_first_start(s: Session) -> None:
    """Nothing but the start and a scheduled task: there is no such point yet."""
    await s.start_quietly()
    for event_id in (1, 2, 3):
        await reset(s, event_id)
    await s.show_history()


@scenario()
async def reset_while_task_started(s: Session) -> None:
    """To before the start of the task that a worker has: its answer comes too late."""
    run_id = await s.start_quietly()
    task = await s.take()
    await reset(s, 3)
    await s.complete(task, complete_workflow())
    await s.show_history(run_id=run_id)
    await s.show_history()
    await s.describe()


@scenario()
async def reset_after_failed_task(s: Session) -> None:
    """Points around a task that failed, and one that was tried again."""
    run_id = await s.start_quietly()
    await s.fail_task(await s.take())
    await s.fail_task(await s.take())
    await s.signal("hello")
    await s.advance(complete_workflow())
    await s.show_history()
    for event_id in (4, 5, 6, 7, 8):
        s.note(f"event {event_id}")
        new = await reset(s, event_id, run_id)
        if new:
            await s.show_history(run_id=new, first=4)
            await s.describe(run_id=new)


@scenario()
async def reset_after_timed_out_task(s: Session) -> None:
    """The same with a task that timed out."""
    run_id = await s.start_quietly(workflow_task_timeout=duration(1))
    await s.take()
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
    await s.signal("hello")
    await s.advance(complete_workflow())
    await s.show_history()
    for event_id in (4, 5, 6, 7, 8):
        s.note(f"event {event_id}")
        new = await reset(s, event_id, run_id)
        if new:
            await s.show_history(run_id=new, first=4)


@scenario()
async def reset_missing(s: Session) -> None:
    """No such workflow id, no such run."""
    await reset(s, 3)
    await reset(s, 3, NO_RUN)
    await two_tasks(s)
    await reset(s, 3, NO_RUN)
    await reset(s, 3, "no uuid")


@scenario(differs="an unknown enum value is the caller's fault: INVALID_ARGUMENT, where the reference fails inside")
async def reset_type_unknown(s: Session) -> None:
    """A way to reapply that nobody knows."""
    await two_tasks(s)
    await s.attempt(reset_request(s, 4, reset_reapply_type=77))


@scenario()
async def reset_with_operations(s: Session) -> None:
    """Operations after the reset: a signal is not one yet."""
    await two_tasks(s)
    signal = workflow.PostResetOperation(
        signal_workflow=workflow.PostResetOperation.SignalWorkflow(signal_name="after")
    )
    await reset(s, 4, post_reset_operations=[signal])
    await reset(s, 99, post_reset_operations=[signal])
    await reset(s, 4, post_reset_operations=[workflow.PostResetOperation()])
    await s.show_history(first=9)


@scenario()
async def reset_refused(s: Session) -> None:
    """Requests that lack something, or have what does not exist."""
    await two_tasks(s)
    await s.attempt(ws.ResetWorkflowExecutionRequest())
    await s.attempt(ws.ResetWorkflowExecutionRequest(namespace=NAMESPACE))
    await s.attempt(reset_request(s, 4, request_id=""))
    await s.attempt(reset_request(s, 4, request_id="x" * 1001))
    await s.attempt(reset_request(s, 4, workflow_execution=None))
    await s.attempt(reset_request(s, 4, namespace="no-such-namespace"))
    await s.attempt(reset_request(s, 0, reset_reapply_type=77, workflow_execution=None))
    await s.attempt(reset_request(s, 0))
    await s.describe()


@scenario()
async def reset_by_excluded_type_unknown(s: Session) -> None:
    """A kind of event that nobody knows excludes nothing."""
    await two_tasks(s)
    await s.signal("hello")
    await reset(s, 4, reset_reapply_exclude_types=[77])
    await s.show_history(first=4)


@scenario()
async def reset_without_reason(s: Session) -> None:
    """An empty reason, no identity."""
    run_id = await two_tasks(s)
    await reset(s, 4, reason="", identity="")
    await s.show_history(run_id=run_id, first=9)
    await s.show_history(first=4)


@scenario()
async def reset_run_that_was_reset(s: Session) -> None:
    """The same base again, while the run it was reset to is the current one; then that run's copy of the history."""
    run_id = await two_tasks(s)
    first = await reset(s, 8)
    second = await reset(s, 4, run_id)
    third = await reset(s, 4)
    for each in (run_id, first, second, third):
        await s.describe(run_id=each)
    await s.show_history(run_id=first, first=7)
    await s.show_history(run_id=second, first=4)
    await s.show_history(run_id=third, first=4)


@scenario()
async def reset_of_reset_beyond_fork(s: Session) -> None:
    """A reset run that went on, reset to a point of its own, and to one that it shares."""
    await two_tasks(s)
    second = await reset(s, 8)
    await s.advance(record_marker("three"), force_create_new_workflow_task=True)
    await s.advance(record_marker("four"))
    await s.show_history(first=7)
    third = await reset(s, 15, second)
    await s.show_history(first=7)
    await reset(s, 4, third)
    await s.show_history()
    await s.advance(complete_workflow())
    await s.show_history(first=4)


@scenario()
async def reset_old_run(s: Session) -> None:
    """A closed run, while another one of its id, of its own chain, is open."""
    old = await s.start_quietly()
    await s.advance(complete_workflow())
    new = await s.start_quietly(request_id=s.unique("second"))
    await s.signal("for the second")
    await reset(s, 4, old)
    await s.show_history()
    await s.show_history(run_id=new)
    await s.describe(run_id=old)
    await s.describe(run_id=new)
    await s.describe()


@scenario()
async def reset_old_run_of_closed(s: Session) -> None:
    """A closed run, after another one of its id has closed too."""
    old = await s.start_quietly()
    await s.advance(complete_workflow())
    new = await s.start_quietly(request_id=s.unique("second"))
    await s.advance(complete_workflow())
    await reset(s, 4, old)
    await s.show_history(run_id=new)
    await s.describe(run_id=new)
    await s.describe()


@scenario(rules=THROTTLED)
async def reset_continued_run(s: Session) -> None:
    """A run that continued as new: its successor is terminated, and what it was told is told again."""
    first = await s.start_quietly(workflow_run_timeout=duration(100))
    await s.signal("one")
    await s.advance(record_marker("one"), force_create_new_workflow_task=True)
    await s.advance(continue_as_new(workflow_type={"name": "flow"}, task_queue=s.queue))
    second = (await s.events(run_id=first))[
        -1
    ].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    # Its first task waits for the rest of a second, which may be over at any call.
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, run_id=second)
    await s.signal("two")
    await reset(s, 5, first)
    await s.show_history(run_id=first, first=5)
    await s.show_history(run_id=second)
    await s.show_history()
    await s.describe(run_id=first)
    await s.describe(run_id=second)
    await s.describe()


@scenario(rules=THROTTLED)
async def reset_continued_run_current(s: Session) -> None:
    """The newest run of a chain keeps its place in it."""
    await s.start_quietly()
    await s.advance(continue_as_new(workflow_type={"name": "flow"}, task_queue=s.queue))
    await s.advance(record_marker("one"))
    await reset(s, 4)
    await s.show_history()
    await s.describe()


@scenario()
async def reset_keeps(s: Session) -> None:
    """Timeouts, memo, search attributes, build ids and the rest, as they were at the point."""
    await s.start_quietly(
        workflow_execution_timeout=duration(500),
        workflow_run_timeout=duration(400),
        workflow_task_timeout=duration(7),
        retry_policy=retry_policy(initial=100),
        memo=memo(m="1"),
        search_attributes=search_attributes(CustomKeywordField="k"),
        input=payloads("in"),
    )
    await s.advance(
        modify_properties(memo(m="2", n="3")),
        upsert_search_attributes(search_attributes(CustomKeywordField="l")),
        force_create_new_workflow_task=True,
        worker_version_stamp={"build_id": "build"},
    )
    await s.advance(modify_properties(memo(o="4")), upsert_search_attributes(search_attributes(CustomKeywordField="m")))
    await s.describe()
    await reset(s, 9)
    await s.show_history(first=6)
    await s.describe()
    await reset(s, 4)
    await s.describe()


@scenario(rules=THROTTLED)
async def reset_retries(s: Session) -> None:
    """The new run has the retry policy too, and its attempt."""
    await s.start_quietly(retry_policy=retry_policy(initial=0.2, attempts=2))
    await s.advance(fail_workflow("first"))
    second = await s.take()
    await s.complete(second, fail_workflow("last"))
    await reset(s, 4)
    await s.advance(fail_workflow("after"))
    await s.show_history()


@scenario()
async def reset_cron_run(s: Session) -> None:
    """A run of a schedule that waits for its first task: it has no such point."""
    await s.start_quietly(cron_schedule="0 0 1 1 *")
    await s.signal("early")
    await reset(s, 2)
    await reset(s, 3)
    await s.show_history(first=2)


@scenario(differs="a repeated request takes effect once; the reference, which keeps no id of it, resets again")
async def reset_repeated(s: Session) -> None:
    """The same request again: it takes effect once."""
    run_id = await two_tasks(s)
    await s.call(reset_request(s, 4))
    await s.attempt(reset_request(s, 4))
    await s.describe(run_id=run_id)
    await s.describe()


@scenario()
async def reset_with_id_of_start(s: Session) -> None:
    """The request id of the start."""
    run_id = await two_tasks(s)
    await reset(s, 4, request_id=s.unique("start-wf"))
    await s.describe(run_id=run_id)


@scenario()
async def start_repeated_after_reset(s: Session) -> None:
    """The start's request id again, after a reset: the run that goes on."""
    await two_tasks(s)
    await reset(s, 4)
    await s.attempt(s.start_request())
    await s.attempt(s.start_request(request_id=s.unique("another")))
    await s.advance(complete_workflow())
    await s.attempt(s.start_request())


@scenario()
async def reset_without_current(s: Session) -> None:
    """The current run was deleted: an older one can be reset by its id."""
    old = await s.start_quietly()
    await s.advance(complete_workflow())
    new = await s.start_quietly(request_id=s.unique("second"))
    await deleted(s, new)
    await reset(s, 4)
    await reset(s, 4, old)
    await s.show_history()
    await s.describe(run_id=old)
    await s.describe()


@scenario()
async def deleting_reset_run(s: Session) -> None:
    """The new run goes, the history that it shares stays; its base can be reset again."""
    run_id = await two_tasks(s)
    new = await reset(s, 8)
    await deleted(s, new)
    await s.show_history(run_id=run_id)
    await reset(s, 4, run_id)
    await s.show_history()
    await s.describe(run_id=run_id)


async def deleted(s: Session, run_id: str) -> None:
    """Delete an open run and wait until it is gone. When a closed one is, the reference leaves open."""
    execution = s.execution("wf", run_id)
    await s.quiet(ws.DeleteWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=execution))

    async def missing() -> bool:
        try:
            await s.quiet(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution))
        except CallFailed as failed:
            return failed.code == "NOT_FOUND"
        return False

    await until("the run to be gone", missing)


@scenario()
async def reset_listed(s: Session) -> None:
    """Lists show both runs."""
    await two_tasks(s, memo=memo(m="1"))
    await reset(s, 4)
    query = f'WorkflowId = "{s.unique("wf")}"'
    closed = ws.CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=f'{query} AND ExecutionStatus = "Terminated"')

    async def shown() -> bool:
        both = await s.quiet(ws.CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=query))
        return bool(both.count == 2 and (await s.quiet(closed)).count == 1)

    await until("both runs in the list", shown)
    await s.call(ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, query=query))


@scenario()
async def reset_by_type(s: Session) -> None:
    """What the command line asks to find a point by its type: the history, and Describe's reset points."""
    run_id = await s.start_quietly()
    await s.advance(record_marker("one"), force_create_new_workflow_task=True, binary_checksum="old")
    await s.advance(record_marker("two"), force_create_new_workflow_task=True, binary_checksum="new")
    await s.advance(record_marker("three"), worker_version_stamp={"build_id": "third"})
    described = await s.describe(run_id=run_id)
    points = {p.binary_checksum or p.build_id: p for p in described.workflow_execution_info.auto_reset_points.points}
    assert list(points) == ["old", "new", "third"], points
    new = await reset(
        s, points["new"].first_workflow_task_completed_id, run_id, reset_reapply_type=types.RESET_REAPPLY_TYPE_SIGNAL
    )
    await s.describe(run_id=new)
    await s.advance(record_marker("again"), binary_checksum="newest")
    await s.describe(run_id=new)


@scenario()
async def reset_to_sticky_worker(s: Session) -> None:
    """The worker that has the run in its cache does not get the new one's task."""
    await s.start_quietly()
    sticky = {"worker_task_queue": s.sticky, "schedule_to_start_timeout": duration(5)}
    await s.advance(record_marker("one"), sticky_attributes=sticky)
    waiting = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    await s.signal("hello")
    task = await s.finish(waiting, "the sticky poll")
    await s.quiet(s.completion(task, record_marker("two"), sticky_attributes=sticky))
    await reset(s, 9)
    await s.poll()
    await s.show_history()
