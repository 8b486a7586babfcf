"""Everything that Describe tells, of runs in many states: tasks of every kind, activities, children, ends, problems."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as event_type
from temporalio.api.enums.v1 import failed_cause_pb2 as causes
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.sdk.v1 import user_metadata_pb2 as sdk
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    schedule_activity,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import duration, failure, memo, payload, payloads, retry_policy
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

_STARTED = event_type.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED


def _sticky(s: Session) -> dict[str, Any]:
    return {
        "sticky_attributes": taskqueue.StickyExecutionAttributes(
            worker_task_queue=s.sticky, schedule_to_start_timeout=duration(5)
        )
    }


@scenario()
async def describe_scheduled_task(s: Session) -> None:
    """Nobody has taken the task: on the normal queue, then on a sticky one."""
    await s.start_quietly()
    await s.describe()
    await s.advance(**_sticky(s))
    await s.signal("go")
    await s.describe()


@scenario()
async def describe_repeated_task(s: Session) -> None:
    """A task that has failed, waits again, and is with a worker again."""
    await s.start_quietly()
    await s.fail_task(await s.take())
    await s.describe()
    task = await s.take()
    await s.describe()
    await s.signal("go")
    await s.describe()
    await s.fail_task(task)
    await s.describe()


@scenario()
async def describe_task_that_timed_out(s: Session) -> None:
    """A task that timed out waits again."""
    await s.start_quietly(workflow_task_timeout=duration(1))
    await s.take()
    await s.wait_for_event(event_type.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
    await s.describe()


@scenario()
async def describe_heartbeat_task(s: Session) -> None:
    """A worker that needs more time: the original time stays."""
    await s.start_quietly()
    task = await s.take()
    await s.complete(task, force_create_new_workflow_task=True)
    await s.describe()
    task = await s.take()
    await s.complete(task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf"))
    reply: ws.DescribeWorkflowExecutionResponse = await s.quiet(request)
    pending = reply.pending_workflow_task
    same = pending.original_scheduled_time.ToNanoseconds() < pending.scheduled_time.ToNanoseconds()
    s.note(f"the original time is earlier: {same}")
    s.show("all of it", reply)


@scenario()
async def describe_delayed(s: Session) -> None:
    """A run whose first task is delayed."""
    await s.start_quietly(workflow_start_delay=duration(100), workflow_execution_timeout=duration(1000))
    await s.describe()


@scenario()
async def describe_schedule(s: Session) -> None:
    """A run with a schedule waits for its time."""
    await s.start_quietly(cron_schedule="0 0 1 1 *", memo=memo(m="x"))
    await s.describe()


@scenario()
async def describe_all_options(s: Session) -> None:
    """All that a start can say."""
    await s.start_quietly(
        workflow_execution_timeout=duration(1000),
        workflow_run_timeout=duration(500),
        workflow_task_timeout=duration(20),
        retry_policy=retry_policy(attempts=3),
        memo=memo(a="1", b="2"),
        user_metadata=sdk.UserMetadata(summary=payload("summary"), details=payload("details")),
        priority=common.Priority(priority_key=2, fairness_key="k", fairness_weight=2),
        input=payloads("in"),
    )
    await s.describe()
    await s.advance(fail_workflow())
    await s.describe()


@scenario()
async def describe_children(s: Session) -> None:
    """Children that are to start, have started, and have ended."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("first")))
    await s.wait_for_event(_STARTED)
    await s.describe()
    await s.describe("first")
    await s.advance_child(complete_workflow())
    await s.wait_for_event(event_type.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)
    policy = enums.PARENT_CLOSE_POLICY_ABANDON
    await s.advance(start_child(s.children, s.unique("second"), parent_close_policy=policy))
    await s.wait_for_event(_STARTED, count=2)
    await s.describe()


@scenario()
async def describe_activities(s: Session) -> None:
    """Activities of every state, with and without a retry policy, and with options of their own."""
    await s.start_quietly(priority=common.Priority(priority_key=2))
    plain = schedule_activity(s.queue, "plain", schedule_to_close_timeout=duration(100))
    busy = schedule_activity(
        s.queue,
        "busy",
        schedule_to_start_timeout=duration(50),
        start_to_close_timeout=duration(20),
        heartbeat_timeout=duration(10),
        retry_policy=retry_policy(initial=100, attempts=4),
        priority=common.Priority(priority_key=4, fairness_key="k"),
    )
    busy.user_metadata.summary.CopyFrom(payload("busy"))
    await s.advance(plain)
    await s.describe()
    work = await s.take_activity()
    await s.describe()
    await s.complete_activity(work.task_token)
    await s.advance(busy)
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "half")
    await s.describe()
    await s.fail_activity(work.task_token, failure("again", "Sometimes"))
    await s.describe()


@scenario()
async def describe_ends(s: Session) -> None:
    """Runs that ended in each way."""
    for name, command in (
        ("completed", complete_workflow()),
        ("failed", fail_workflow()),
        ("canceled", cancel_workflow()),
    ):
        await s.start_quietly(name)
        await s.advance(command)
        await s.describe(name)
    run_id = await s.start_quietly("continued")
    await s.advance(continue_as_new(backoff_start_interval=duration(100)))
    await s.describe("continued", run_id)
    await s.start_quietly("late", workflow_run_timeout=duration(1))
    await s.closed("late")
    await s.describe("late")


@scenario()
async def describe_with_work_left_over(s: Session) -> None:
    """What was pending when the run closed."""
    await s.start_quietly()
    await s.advance(
        schedule_activity(s.queue, retry_policy=retry_policy(initial=100)),
        start_timer(seconds=100),
        start_child(s.children, s.unique("child"), parent_close_policy=enums.PARENT_CLOSE_POLICY_ABANDON),
    )
    await s.wait_for_event(_STARTED)
    await s.terminate()
    await s.describe()


@scenario()
async def describe_cancel_requested(s: Session) -> None:
    """A run that was asked to end."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await s.request_cancel()
    await s.describe()


@scenario()
async def describe_signal_with_start(s: Session) -> None:
    """The id of its request."""
    await s.call(
        ws.SignalWithStartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id=s.unique("wf"),
            workflow_type=common.WorkflowType(name="flow"),
            task_queue=s.queue,
            signal_name="go",
            request_id=s.unique("both"),
        )
    )
    await s.describe()


@scenario()
async def describe_request_ids(s: Session) -> None:
    """The ids of the start, of what attached itself, and none of signals."""
    await s.start_quietly()
    await s.signal("again", request_id=s.unique("signal"))
    await s.take()
    await s.signal("later", request_id=s.unique("buffered"))
    await s.attempt(
        s.start_request(
            request_id=s.unique("attached"),
            workflow_id_conflict_policy=enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=workflow.OnConflictOptions(attach_request_id=True),
        )
    )
    await s.describe()


async def _executions(
    s: Session, request: ws.ListWorkflowExecutionsRequest
) -> ws.ListWorkflowExecutionsResponse | None:
    """What is listed; None while that is nothing, or lists are asked for too often."""
    try:
        reply: ws.ListWorkflowExecutionsResponse = await s.quiet(request)
    except CallFailed as failed:
        if failed.code == "RESOURCE_EXHAUSTED":
            return None
        raise
    return reply if reply.executions else None


async def _fail_often(s: Session, times: int, **fields: Any) -> None:
    for _ in range(times):
        await s.fail_task(await s.take(), **fields)


@scenario()
async def describe_reported_problems(s: Session) -> None:
    """After five failures in a row the run says so, until a task is completed."""
    await s.start_quietly()
    await _fail_often(s, 4)
    await s.describe()
    await _fail_often(s, 1)
    await s.describe()
    wanted = ws.ListWorkflowExecutionsRequest(
        namespace=NAMESPACE,
        query=f"WorkflowId = '{s.unique('wf')}' AND TemporalReportedProblems = 'category=WorkflowTaskFailed'",
    )

    found = await until("the list", lambda: _executions(s, wanted))
    assert found is not None
    s.show("listed", found)
    await _fail_often(s, 1, cause=causes.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR)
    await s.describe()
    await s.advance(start_timer(seconds=100))
    await s.describe()


@scenario()
async def describe_problems_with_signals_between(s: Session) -> None:
    """Signals make the next attempt a first one; the failures in a row are counted all the same."""
    await s.start_quietly()
    for _ in range(5):
        task = await s.take()
        await s.signal("go")
        await s.fail_task(task)
    await s.describe()


@scenario()
async def describe_problems_of_sticky_tasks(s: Session) -> None:
    """A failure on a sticky queue is not counted."""
    await s.start_quietly()
    await s.advance(**_sticky(s))
    waiting = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    await s.signal("go")
    await s.fail_task(await s.finish(waiting, "sticky poll"))
    await _fail_often(s, 4)
    await s.describe()
    await _fail_often(s, 1)
    await s.describe()


@scenario()
async def describe_problems_of_refused_tasks(s: Session) -> None:
    """A completion that is refused is a failure; a repeated one is not even that."""
    await s.start_quietly()
    bad = start_timer("", seconds=1)
    await s.complete(await s.take(), bad)
    await _fail_often(s, 3)
    await s.describe()
    await _fail_often(s, 1)
    await s.describe()
    await s.terminate()
    await s.describe()


@scenario()
async def describe_external_payloads(s: Session) -> None:
    """Payloads whose data is kept elsewhere are counted, of all events but for search attributes."""
    kept = common.Payload(
        metadata={"encoding": b"json/plain"},
        data=b'"ref"',
        external_payloads=[common.Payload.ExternalPayloadDetails(size_bytes=size) for size in (1000, 0)],
    )
    given = common.Payloads(payloads=[kept, payload("here")])
    await s.start_quietly(input=given, memo=common.Memo(fields={"m": kept}), header=common.Header(fields={"h": kept}))
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf"))
    for act in ("started", "signalled", "buffered"):
        if act == "buffered":
            await s.take()
        if act != "started":
            await s.signal("go", input=given)
        info = (await s.quiet(request)).workflow_execution_info
        s.note(f"{act}: {info.external_payload_count} of {info.external_payload_size_bytes} bytes")
    await s.terminate(details=given)
    info = (await s.quiet(request)).workflow_execution_info
    s.note(f"terminated: {info.external_payload_count} of {info.external_payload_size_bytes} bytes")
    listing = ws.ListWorkflowExecutionsRequest(
        namespace=NAMESPACE, query=f"WorkflowId = '{s.unique('wf')}' AND ExecutionStatus = 'Terminated'"
    )
    found = await until("the list", lambda: _executions(s, listing))
    assert found is not None
    s.show("listed", found)
