"""Ids and names that are missing, or longer than any may be, and what exactly the caller is told."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.e2e.siege import Siege, fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LONG = "x" * 1001
_WIDE = "ü" * 501  # as many bytes as are too many, in fewer characters
_EXECUTION = common.WorkflowExecution(workflow_id="target")
_QUEUE = taskqueue.TaskQueue(name="q")


def _start(**fields: Any) -> Message:
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": fresh("wf"),
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": _QUEUE,
    }
    return ws.StartWorkflowExecutionRequest(**{**plain, **fields})


def _signal(**fields: Any) -> Message:
    plain: dict[str, Any] = {"namespace": "default", "workflow_execution": _EXECUTION, "signal_name": "s"}
    return ws.SignalWorkflowExecutionRequest(**{**plain, **fields})


def _signal_with_start(**fields: Any) -> Message:
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": fresh("wf"),
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": _QUEUE,
        "signal_name": "s",
    }
    return ws.SignalWithStartWorkflowExecutionRequest(**{**plain, **fields})


def _poll(**fields: Any) -> Message:
    return ws.PollWorkflowTaskQueueRequest(**{"namespace": "default", "task_queue": _QUEUE, **fields})


def _by_id(**fields: Any) -> Message:
    plain: dict[str, Any] = {"namespace": "default", "workflow_id": "target", "activity_id": "a"}
    return ws.RespondActivityTaskCompletedByIdRequest(**{**plain, **fields})


def _describe(**fields: Any) -> Message:
    return ws.DescribeWorkflowExecutionRequest(**{"namespace": "default", **fields})


_TYPE_LONG = common.WorkflowType(name=_LONG)
_QUEUE_LONG = taskqueue.TaskQueue(name=_LONG)
_CASES: dict[str, tuple[Callable[..., Message], dict[str, Any], str]] = {
    "start without id": (_start, {"workflow_id": ""}, "WorkflowId is not set on request."),
    "start, long id": (_start, {"workflow_id": _LONG}, "WorkflowId exceeds maximum allowed length (1001/1000)"),
    "start, wide id": (_start, {"workflow_id": _WIDE}, "WorkflowId exceeds maximum allowed length (1002/1000)"),
    "start without type": (_start, {"workflow_type": None}, "WorkflowType is not set on request."),
    "start, empty type": (_start, {"workflow_type": common.WorkflowType()}, "WorkflowType is not set on request."),
    "start, long type": (_start, {"workflow_type": _TYPE_LONG}, "WorkflowType length exceeds limit."),
    "start without queue": (_start, {"task_queue": None}, "taskQueue is not set"),
    "start, empty queue": (_start, {"task_queue": taskqueue.TaskQueue()}, "missing task queue name"),
    "start, long queue": (_start, {"task_queue": _QUEUE_LONG}, "taskQueue length exceeds limit"),
    "start, own queue": (_start, {"task_queue": taskqueue.TaskQueue(name="/_sys/x")}, "reserved prefix /_sys/"),
    "start, long request id": (_start, {"request_id": _LONG}, "RequestId length exceeds limit."),
    "start, negative timeout": (_start, {"workflow_run_timeout": Duration(seconds=-1)}, "WorkflowRunTimeoutSeconds"),
    "start, empty namespace": (_start, {"namespace": ""}, "Namespace is empty."),
    "start, long namespace": (_start, {"namespace": _LONG}, "Namespace length exceeds limit."),
    "start, bad schedule": (_start, {"cron_schedule": "* * *"}, "invalid CronSchedule."),
    "signal without execution": (_signal, {"workflow_execution": None}, "Execution is not set on request."),
    "signal without id": (
        _signal,
        {"workflow_execution": common.WorkflowExecution()},
        "WorkflowId is not set on request.",
    ),
    "signal, run id": (
        _signal,
        {"workflow_execution": common.WorkflowExecution(workflow_id="target", run_id="no-uuid")},
        "Invalid RunId.",
    ),
    "signal without name": (_signal, {"signal_name": ""}, "SignalName is not set on request."),
    "signal, long name": (_signal, {"signal_name": _LONG}, "SignalName length exceeds limit."),
    "signal, long request id": (_signal, {"request_id": _LONG}, "RequestId length exceeds limit."),
    "signal-with-start without name": (_signal_with_start, {"signal_name": ""}, "signal not set"),
    "signal-with-start, long name": (
        _signal_with_start,
        {"signal_name": _LONG},
        "signal name exceeds maximum allowed length (1001/1000)",
    ),
    "signal-with-start without type": (_signal_with_start, {"workflow_type": None}, "workflow type not set"),
    "signal-with-start without id": (_signal_with_start, {"workflow_id": ""}, "WorkflowId is not set on request."),
    "poll without queue": (_poll, {"task_queue": None}, "taskQueue is not set"),
    "poll, empty queue": (_poll, {"task_queue": taskqueue.TaskQueue()}, "missing task queue name"),
    "poll, long queue": (_poll, {"task_queue": _QUEUE_LONG}, "taskQueue length exceeds limit"),
    "poll, long identity": (_poll, {"identity": _LONG}, "Identity length exceeds limit."),
    "activity without id": (_by_id, {"activity_id": ""}, "ActivityId is not set on request."),
    "activity, run id": (_by_id, {"run_id": "no-uuid"}, "RunId is not valid UUID."),
    "activity, long identity": (_by_id, {"identity": _LONG}, "Identity length exceeds limit."),
    "describe without execution": (_describe, {}, "Execution is not set on request."),
    "describe without id": (
        _describe,
        {"execution": common.WorkflowExecution()},
        "WorkflowId is not set on request.",
    ),
}


@pytest.mark.parametrize("name", _CASES)
async def test_what_is_wrong_with_an_id_is_said(siege: Siege, name: str) -> None:
    await siege.target()
    request, fields, text = _CASES[name]
    await siege.refused(request(**fields), "INVALID_ARGUMENT", text)


async def test_what_nobody_has_is_not_found(siege: Siege) -> None:
    await siege.target()
    nobody = common.WorkflowExecution(workflow_id="nobody")
    for request, text in (
        (_signal(workflow_execution=nobody), "nobody"),
        (_describe(execution=nobody), "nobody"),
        (_describe(execution=common.WorkflowExecution(workflow_id=_LONG)), "not found"),
        (_by_id(activity_id="none"), "none"),
        (_by_id(activity_id=_LONG), "cannot find pending activity"),
        (_start(namespace="nowhere"), "Namespace nowhere is not found."),
    ):
        await siege.refused(request, "NOT_FOUND", text)


async def test_a_poll_without_time_to_wait(siege: Siege) -> None:
    await siege.refused(_poll(), "FAILED_PRECONDITION", "too short", seconds=1.0)


async def test_ids_of_just_the_limit_are_fine(siege: Siege) -> None:
    name = fresh("w").ljust(1000, "w")
    request = _start(
        workflow_id=name, request_id="r" * 1000, identity="i" * 1000, task_queue=taskqueue.TaskQueue(name=name)
    )
    await siege.client.call(request)
    await siege.take(name)
    await siege.event_types(name)
    await siege.unharmed()
