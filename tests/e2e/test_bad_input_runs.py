"""Runs that start runs, or follow them: too many at once, too often, too deep, and by policies that there are not."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as events
from temporalio.api.failure.v1 import message_pb2 as failures
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_external,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    record_marker,
    signal_external,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import payloads
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.waiting import until
from tests.e2e.siege import MIB, Siege, fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

_QUEUE = taskqueue.TaskQueue(name="nothing")
_NOBODY = common.WorkflowExecution(workflow_id="nobody")


async def _end(siege: Siege, *names: str) -> None:
    for name in names:
        execution = common.WorkflowExecution(workflow_id=name)
        await siege.client.call(ws.TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=execution))


# --------------------------------------------------------------------------------------------------------------- many


_MANY: dict[str, Callable[[int], command.Command]] = {
    "children": lambda n: start_child(_QUEUE, f"never-{n}"),
    "signals": lambda _: signal_external(_NOBODY),
    "cancels": lambda n: cancel_external(f"nobody-{n}"),
}


@pytest.mark.parametrize("kind", _MANY)
@pytest.mark.parametrize("count", [2_001, 10_000])
async def test_more_than_a_run_may_have_under_way(siege: Siege, kind: str, count: int) -> None:
    """Refused as a whole: none of them is done, and the run goes on."""
    task = await siege.started_task()
    listed = [_MANY[kind](n) for n in range(count)]
    await siege.refused(siege.completion(task, *listed), "INVALID_ARGUMENT", "2000, has reached the per-workflow limit")
    never = ws.DescribeWorkflowExecutionRequest(
        namespace="default", execution=common.WorkflowExecution(workflow_id="never-0")
    )
    await siege.refused(never, "NOT_FOUND")
    name = task.workflow_execution.workflow_id
    await siege.complete(await siege.take(name), complete_workflow())


async def test_as_many_cancels_as_children(siege: Siege) -> None:
    """What is allowed for each of them must not cost their product."""
    task = await siege.started_task()
    children = [start_child(_QUEUE, f"never-{n}") for n in range(2_000)]
    cancels = [cancel_external(f"nobody-{n}") for n in range(2_001)]
    await siege.refused(siege.completion(task, *children, *cancels), "INVALID_ARGUMENT", "requests to cancel")


async def test_many_children_that_exist_already(siege: Siege) -> None:
    """Each is told of, and the rest goes on."""
    await siege.target()
    task = await siege.started_task()
    await siege.complete(task, *[start_child(_QUEUE, "target") for _ in range(100)])
    name = task.workflow_execution.workflow_id
    failed = events.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED

    async def told() -> bool:
        return (await siege.event_types(name)).count(failed) == 100

    await until("all are told of", told)
    await _end(siege, name)
    await siege.unharmed()


# ----------------------------------------------------------------------------------------------------------- policies


_POLICIES = ("workflow_id_reuse_policy", "workflow_id_conflict_policy")


@pytest.mark.parametrize("field", _POLICIES)
@pytest.mark.parametrize("number", [-1, 99, (1 << 31) - 1])
@pytest.mark.parametrize("runs", [True, False])
async def test_policies_that_there_are_not(siege: Siege, field: str, number: int, runs: bool) -> None:
    name = fresh("wf")
    await siege.start(name)
    if not runs:
        await siege.complete(await siege.take(name), complete_workflow())
    fields: dict[str, Any] = {field: number}
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": name,
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": taskqueue.TaskQueue(name=name),
    }
    requests: list[Message] = [
        ws.StartWorkflowExecutionRequest(**plain, **fields),
        ws.SignalWithStartWorkflowExecutionRequest(**plain, **fields, signal_name="s"),
    ]
    for request in requests:
        try:
            await siege.client.call(request)
        except CallFailed as failed:
            assert failed.code in ("INVALID_ARGUMENT", "ALREADY_EXISTS"), failed  # noqa: PT017 - no error is fine too
        await siege.unharmed()


@pytest.mark.parametrize("field", ["workflow_id_reuse_policy", "parent_close_policy"])
@pytest.mark.parametrize("runs", [True, False])
async def test_children_by_policies_that_there_are_not(siege: Siege, field: str, runs: bool) -> None:
    """Whatever becomes of the child, its parent is told, and may close."""
    child = fresh("child")
    await siege.start(child)
    if not runs:
        await siege.complete(await siege.take(child), complete_workflow())
    task = await siege.started_task()
    fields: dict[str, Any] = {field: 99}
    try:
        await siege.complete(task, start_child(taskqueue.TaskQueue(name=child), child, **fields))
    except CallFailed as failed:
        assert failed.code == "INVALID_ARGUMENT", failed  # noqa: PT017 - no error is fine too
    name = task.workflow_execution.workflow_id
    told = await siege.take(name)
    await siege.complete(told, complete_workflow())
    await siege.unharmed()


# -------------------------------------------------------------------------------------------------------------- times


_SCHEDULES = {
    "never": "0 0 31 2 *",
    "no day at all": "0 0 30 2 1-0",
    "every part wrong": "99 99 99 99 99",
    "too few": "* * * *",
    "too many": "* * * * * *",
    "of megabytes": ",".join(["0"] * MIB) + " * * * *",
    "of a million digits": "@every " + "9" * 1_000_000,
    "a long number": "*/99999999999999999999 * * * *",
    "a step of nothing": "*/0 * * * *",
    "a zone's file": "CRON_TZ=../../etc/passwd * * * * *",
    "a zone of zeros": "CRON_TZ=\x00 * * * * *",
    "a folder of zones": "CRON_TZ=Europe * * * * *",
    "a zone alone": "CRON_TZ=UTC",
    "nothing": " ",
    "every nothing": "@every ",
    "no letters": "\U0001f4a5 * * * *",
}


@pytest.mark.parametrize("kind", _SCHEDULES)
async def test_a_schedule_that_is_none_is_refused(siege: Siege, kind: str) -> None:
    bad = _SCHEDULES[kind]
    await siege.refused(siege.start_request(cron_schedule=bad), "INVALID_ARGUMENT", "invalid CronSchedule")


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "@every 1ns", "@every -1h", "@every 99999999999999999999h"])
async def test_commands_of_runs_that_never_or_always_come(siege: Siege, schedule: str) -> None:
    task = await siege.started_task()
    child = fresh("child")
    await siege.complete(task, start_child(_QUEUE, child, cron_schedule=schedule), start_timer(seconds=3600))
    other = await siege.started_task()
    try:
        await siege.complete(other, continue_as_new(cron_schedule=schedule))
    except CallFailed as failed:
        assert failed.code == "INVALID_ARGUMENT", failed  # noqa: PT017 - no error is fine too
    await siege.unharmed()
    await _end(siege, task.workflow_execution.workflow_id, other.workflow_execution.workflow_id)


async def test_a_schedule_of_nanoseconds_is_one_of_seconds(siege: Siege) -> None:
    """The run that follows is there at once; its task isn't."""
    name = fresh("wf")
    await siege.start(name, cron_schedule="@every 1ns")
    for _ in range(2):
        await siege.complete(await siege.take(name), complete_workflow())
    shown = await _started(siege, name)
    assert 0 < shown.first_workflow_task_backoff.ToNanoseconds() <= 1_000_000_000
    await _end(siege, name)
    await siege.unharmed()


@pytest.mark.parametrize("coefficient", [math.nan, math.inf, 1e308, 1.0])
async def test_a_retry_policy_of_any_numbers_waits_as_long_as_it_may_at_the_most(
    siege: Siege, coefficient: float
) -> None:
    """A run that fails three times is tried again each time, no sooner than chains may turn over."""
    policy = common.RetryPolicy(
        initial_interval=Duration(nanos=1), maximum_interval=Duration(nanos=2), backoff_coefficient=coefficient
    )
    name = fresh("wf")
    await siege.start(name, retry_policy=policy)
    for attempt in (1, 2):
        assert (await _started(siege, name)).attempt == attempt
        await siege.complete(await siege.take(name), fail_workflow())
    assert 0 < (await _started(siege, name)).first_workflow_task_backoff.ToNanoseconds() <= 1_000_000_000
    await _end(siege, name)
    await siege.unharmed()


@pytest.mark.parametrize("coefficient", [-math.inf, -1e308, 0.5, 5e-324])
async def test_a_retry_policy_that_would_wait_less_and_less(siege: Siege, coefficient: float) -> None:
    policy = common.RetryPolicy(backoff_coefficient=coefficient)
    text = "BackoffCoefficient cannot be less than 1"
    await siege.refused(siege.start_request(retry_policy=policy), "INVALID_ARGUMENT", text)
    for bad in (start_child(_QUEUE, "never", retry_policy=policy), continue_as_new(retry_policy=policy)):
        request = siege.completion(await siege.started_task(), bad)
        await siege.refused(request, "INVALID_ARGUMENT", text)


async def test_waits_beyond_all_times(siege: Siege) -> None:
    for seconds in (1 << 62, 315_576_000_000):
        longest = Duration(seconds=seconds)
        policy = common.RetryPolicy(initial_interval=longest, backoff_coefficient=1e308)
        name = fresh("wf")
        await siege.start(name, retry_policy=policy, workflow_run_timeout=longest)
        await siege.complete(await siege.take(name), fail_workflow())
        other = await siege.started_task()
        await siege.complete(other, continue_as_new(backoff_start_interval=longest, workflow_run_timeout=longest))
        await siege.unharmed()
        await _end(siege, name, other.workflow_execution.workflow_id)


async def _started(siege: Siege, name: str) -> Any:
    """The Started event's attributes of the current run."""
    request = ws.GetWorkflowExecutionHistoryRequest(
        namespace="default", execution=common.WorkflowExecution(workflow_id=name)
    )
    reply: ws.GetWorkflowExecutionHistoryResponse = await siege.client.call(request)
    return reply.history.events[0].workflow_execution_started_event_attributes


# -------------------------------------------------------------------------------------------------- sizes, and depths


async def test_names_of_megabytes_stay_out_of_history(siege: Siege) -> None:
    """What is refused is named, and the name is what is wrong with it."""
    long = "x" * MIB
    kind = common.WorkflowType(name=long)
    for bad in (
        start_child(_QUEUE, long),
        start_child(_QUEUE, "never", workflow_type=kind),
        start_child(taskqueue.TaskQueue(name=long), "never"),
        start_child(_QUEUE, "never", cron_schedule=long),
        signal_external(common.WorkflowExecution(workflow_id=long)),
        signal_external(common.WorkflowExecution(workflow_id="nobody", run_id=long)),
        cancel_external(long),
        cancel_external("nobody", run_id=long),
        continue_as_new(workflow_type=kind),
        continue_as_new(task_queue=taskqueue.TaskQueue(name=long)),
    ):
        task = await siege.started_task()
        await siege.refused(siege.completion(task, bad), "INVALID_ARGUMENT")
        request = ws.DescribeWorkflowExecutionRequest(namespace="default", execution=task.workflow_execution)
        shown: ws.DescribeWorkflowExecutionResponse = await siege.client.call(request)
        assert shown.workflow_execution_info.history_size_bytes < 20_000


def _nested(depth: int) -> failures.Failure:
    failure = failures.Failure(message="0", application_failure_info=failures.ApplicationFailureInfo(type="k"))
    for _ in range(depth - 1):
        failure = failures.Failure(
            message="x", application_failure_info=failures.ApplicationFailureInfo(), cause=failure
        )
    return failure


async def _told(siege: Siege, message: Message, name: str) -> bool:
    """Whether it was taken; if so, what came of it can be read: as a history, and with a task."""
    try:
        await siege.client.call(message)
    except CallFailed as failed:
        assert failed.code == "INTERNAL", failed  # noqa: PT017 - the caller goes on in either case
        assert "unmarshalling" in failed.text  # noqa: PT017 - as above
        return False
    await siege.event_types(name)
    return True


@pytest.mark.parametrize("depth", range(88, 98))
async def test_a_failure_is_refused_or_can_be_read_wherever_it_goes(siege: Siege, depth: int) -> None:
    """Libraries read a hundred messages within one another; history is deeper than what it is made of."""
    deep = _nested(depth)
    name = fresh("wf")
    begun = siege.start_request(name, continued_failure=deep)
    if await _told(siege, begun, name):
        await siege.take(name)
    work = await siege.started_activity()
    name = work.workflow_execution.workflow_id
    report = ws.RespondActivityTaskFailedRequest(namespace="default", task_token=work.task_token, failure=deep)
    if await _told(siege, report, name):
        await _end(siege, name)
    for last in (fail_workflow(failure=deep), continue_as_new(failure=deep), record_marker(failure=deep)):
        task = await siege.started_task()
        name = task.workflow_execution.workflow_id
        completion = siege.completion(task, last, force_create_new_workflow_task=True, return_new_workflow_task=True)
        await _told(siege, completion, name)
    await siege.unharmed()


async def test_a_child_as_large_as_a_completion_may_be(siege: Siege) -> None:
    large = "x" * (MIB - 1000)
    child = fresh("child")
    header = common.Header(fields={"h": payloads(large).payloads[0]})
    memo = common.Memo(fields={"m": payloads(large).payloads[0]})
    task = await siege.started_task()
    given: dict[str, Any] = {"input": payloads(large), "header": header, "memo": memo}
    await siege.complete(task, start_child(taskqueue.TaskQueue(name=child), child, **given))
    shown = await siege.take(child)
    assert shown.history.events[0].workflow_execution_started_event_attributes.memo == memo
    signal = signal_external(shown.workflow_execution, input=payloads(large), header=header)
    parent = await siege.take(task.workflow_execution.workflow_id)
    await siege.complete(parent, signal)

    async def signaled() -> bool:
        return events.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED in await siege.event_types(child)

    await siege.client.call(siege.completion(shown, force_create_new_workflow_task=True))
    await until("the signal", signaled)
    await siege.complete(await siege.take(child), complete_workflow())
    await siege.unharmed()
