"""Completions with bad commands: every type with every field spoiled, and far too many of them."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import command_type_pb2 as kinds
from temporalio.api.enums.v1 import event_type_pb2 as events
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_external,
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    modify_properties,
    record_marker,
    schedule_activity,
    signal_external,
    start_child,
    start_timer,
    upsert_search_attributes,
)
from tests.conformance.harness.payloads import failure, header, memo, payloads, retry_policy, search_attributes
from tests.conformance.harness.rpc import CallFailed
from tests.e2e.mutations import Change, changes
from tests.e2e.siege import Siege, fresh, in_turns

pytestmark = pytest.mark.asyncio(loop_scope="session")

_QUEUE = taskqueue.TaskQueue(name="spoiled")
_NOBODY = common.WorkflowExecution(workflow_id="nobody", run_id="00000000-0000-4000-8000-000000000000")
_TIMES: dict[str, Any] = {
    "workflow_run_timeout": Duration(seconds=50),
    "workflow_task_timeout": Duration(seconds=10),
    "retry_policy": retry_policy(attempts=2),
    "cron_schedule": "@every 1h",
}
_CARRIED: dict[str, Any] = {
    "input": payloads("in"),
    "header": header(h="x"),
    "memo": memo(a="b"),
    "search_attributes": search_attributes(),
}
_GOOD: dict[str, Callable[[], command.Command]] = {
    "activity": lambda: schedule_activity(
        _QUEUE,
        header=header(a="b"),
        input=payloads("x"),
        retry_policy=retry_policy(),
        heartbeat_timeout=Duration(seconds=1),
    ),
    "timer": start_timer,
    "complete": complete_workflow,
    "fail": fail_workflow,
    "cancel": cancel_workflow,
    "marker": lambda: record_marker(details={"a": payloads("x")}, header=header(a="b")),
    "attributes": lambda: upsert_search_attributes(search_attributes()),
    "memo": lambda: modify_properties(memo(a="b")),
    "child": lambda: start_child(
        _QUEUE,
        fresh("child"),
        **_TIMES,
        **_CARRIED,
        workflow_execution_timeout=Duration(seconds=100),
        priority=common.Priority(priority_key=2, fairness_key="k", fairness_weight=1.5),
    ),
    "continue": lambda: continue_as_new(
        **_TIMES,
        **_CARRIED,
        task_queue=_QUEUE,
        backoff_start_interval=Duration(seconds=1),
        failure=failure("before"),
        last_completion_result=payloads("before"),
    ),
    "signal": lambda: signal_external(_NOBODY, input=payloads("x"), header=header(h="x")),
    "cancel another": lambda: cancel_external("nobody", run_id=_NOBODY.run_id, reason="r"),
}
# What a refused completion may leave behind: a task that failed, or one that goes on as if nothing had come.
_AFTER_REFUSAL = {
    events.EVENT_TYPE_WORKFLOW_TASK_FAILED,
    events.EVENT_TYPE_WORKFLOW_TASK_STARTED,
    events.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    events.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
}


async def _fate(siege: Siege, label: str, listed: list[command.Command]) -> str:
    """What is wrong with what became of a completion; "" if nothing is."""
    task = await siege.started_task()
    try:
        await siege.client.call(siege.completion(task, *listed))
    except CallFailed as failed:
        unknown_namespace = failed.code == "NOT_FOUND" and "attributes.namespace" in label
        if not (failed.code == "INVALID_ARGUMENT" or unknown_namespace) or not failed.text:
            return f"{label}: {failed.code} {failed.text}"
        last = (await siege.event_types(task.workflow_execution.workflow_id))[-1]
        return "" if last in _AFTER_REFUSAL else f"{label}: refused, but event type {last} is the last"
    return ""


def _concerns(good: command.Command, label: str) -> bool:
    """Not the insides of attributes that belong to other commands."""
    field = label.partition(".")[0]
    return field == label or not field.endswith("_attributes") or field == good.WhichOneof("attributes")


@pytest.mark.parametrize("kind", _GOOD)
async def test_a_spoiled_command_is_refused_or_carried_out(siege: Siege, kind: str) -> None:
    good = _GOOD[kind]

    def spoil(change: Change) -> command.Command:
        spoiled = good()
        change(spoiled)
        return spoiled

    spoiled = [(label, change) for label, change in changes(good()) if _concerns(good(), label)]
    fates = await in_turns([_fate(siege, label, [spoil(change)]) for label, change in spoiled])
    assert not (wrong := [fate for fate in fates if fate]), "\n".join(wrong)
    await siege.unharmed()


@pytest.mark.parametrize("kind", kinds.CommandType.values())
async def test_a_command_without_attributes_fails_its_task(siege: Siege, kind: kinds.CommandType.ValueType) -> None:
    request = siege.completion(await siege.started_task(), command.Command(command_type=kind))
    await siege.refused(request, "INVALID_ARGUMENT")


@pytest.mark.parametrize("kind", [-1, 999, (1 << 31) - 1])
async def test_a_command_of_no_type_leaves_the_task(siege: Siege, kind: int) -> None:
    task = await siege.started_task()
    unknown = command.Command(command_type=kind)  # type: ignore[arg-type]  # no number of the enum
    await siege.refused(siege.completion(task, unknown), "INVALID_ARGUMENT", "unknown command type")
    await siege.complete(task, complete_workflow())


async def test_attributes_of_another_command_fail_the_task(siege: Siege) -> None:
    mixed = start_timer()
    mixed.command_type = kinds.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
    request = siege.completion(await siege.started_task(), mixed)
    await siege.refused(request, "INVALID_ARGUMENT", "CompleteWorkflowExecution")


@pytest.mark.parametrize("seconds", [-1, -(1 << 62), 1 << 62])
async def test_a_time_beyond_all_times_is_refused_or_cut(siege: Siege, seconds: int) -> None:
    timer = start_timer(start_to_fire_timeout=Duration(seconds=seconds))
    fates = [await _fate(siege, "timer", [timer])]
    for name in ("schedule_to_close", "schedule_to_start", "start_to_close", "heartbeat"):
        fields: dict[str, Any] = {
            "start_to_close_timeout": Duration(seconds=5),
            f"{name}_timeout": Duration(seconds=seconds),
        }
        fates.append(await _fate(siege, name, [schedule_activity(_QUEUE, **fields)]))
    assert not [fate for fate in fates if fate]
    await siege.unharmed()


async def test_a_hundred_thousand_commands(siege: Siege) -> None:
    """They fit into a message, but not into what one workflow may have."""
    task = await siege.started_task()
    many = [start_timer(str(n), seconds=3600) for n in range(100_000)]
    assert siege.completion(task, *many).ByteSize() < 4 << 20
    await siege.refused(siege.completion(task, *many), "INVALID_ARGUMENT", seconds=60)


async def test_many_empty_commands(siege: Siege) -> None:
    request = siege.completion(await siege.started_task(), *[command.Command()] * 100_000)
    await siege.refused(request, "INVALID_ARGUMENT", "unknown command type", seconds=60)


async def test_a_name_too_long_in_every_command(siege: Siege) -> None:
    long = "x" * 1001
    for bad in (
        schedule_activity(_QUEUE, long),
        schedule_activity(_QUEUE, kind=long),
        schedule_activity(taskqueue.TaskQueue(name=long)),
        start_timer(long),
        record_marker(long),
    ):
        await siege.refused(siege.completion(await siege.started_task(), bad), "INVALID_ARGUMENT", "ength")


async def test_eager_activities_beyond_reason(siege: Siege) -> None:
    task = await siege.started_task()
    listed = [schedule_activity(_QUEUE, str(n), request_eager_execution=True) for n in range(500)]
    request = siege.completion(task, *listed)
    reply: ws.RespondWorkflowTaskCompletedResponse = await siege.client.call(request)
    assert len(reply.activity_tasks) <= len(listed)
    await siege.unharmed()
