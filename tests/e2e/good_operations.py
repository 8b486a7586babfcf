"""Good requests of the RPCs with which operators change pending activities, and of resets; `good_requests` has the
others.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.activity.v1 import message_pb2 as activity
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import reset_pb2 as resets
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.payloads import retry_policy
from tests.e2e.siege import IDENTITY, Siege

_JITTER = Duration(nanos=1_000_000)
_OPTIONS = activity.ActivityOptions(
    task_queue=taskqueue.TaskQueue(name="nothing"),
    schedule_to_close_timeout=Duration(seconds=60),
    schedule_to_start_timeout=Duration(seconds=50),
    start_to_close_timeout=Duration(seconds=40),
    heartbeat_timeout=Duration(seconds=30),
    retry_policy=retry_policy(initial=1, attempts=3, maximum=9),
    priority=common.Priority(priority_key=2, fairness_key="k", fairness_weight=2),
)
_MASK = FieldMask(
    paths=[
        "task_queue.name",
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "heartbeat_timeout",
        "retry_policy",
        "priority",
    ]
)


def _many(kind: type[Message], **fields: Any) -> Callable[[Siege], Awaitable[Message]]:
    async def build(siege: Siege) -> Message:
        task = await siege.started_activity()
        execution = task.workflow_execution
        return kind(namespace="default", identity=IDENTITY, execution=execution, id=task.activity_id, **fields)

    return build


def _one(kind: type[Message], **fields: Any) -> Callable[[Siege], Awaitable[Message]]:
    async def build(siege: Siege) -> Message:
        task = await siege.started_activity()
        given: dict[str, Any] = {"namespace": "default", "identity": IDENTITY, "activity_id": task.activity_id}
        execution = task.workflow_execution
        return kind(**given, workflow_id=execution.workflow_id, run_id=execution.run_id, request_id="r", **fields)

    return build


async def _reset(siege: Siege) -> ws.ResetWorkflowExecutionRequest:
    task = await siege.started_task()
    options = workflow.PostResetOperation.UpdateWorkflowOptions(
        workflow_execution_options=workflow.WorkflowExecutionOptions(priority=common.Priority(priority_key=2)),
        update_mask=FieldMask(paths=["priority"]),
    )
    return ws.ResetWorkflowExecutionRequest(
        namespace="default",
        identity=IDENTITY,
        workflow_execution=task.workflow_execution,
        workflow_task_finish_event_id=3,
        reason="r",
        request_id="r",
        reset_reapply_exclude_types=[resets.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL],
        post_reset_operations=[workflow.PostResetOperation(update_workflow_options=options)],
    )


OPERATIONS: dict[str, Callable[[Siege], Awaitable[Message]]] = {
    "ResetWorkflowExecution": _reset,
    "PauseActivity": _many(ws.PauseActivityRequest, reason="r", request_id="p"),
    "UnpauseActivity": _many(ws.UnpauseActivityRequest, jitter=_JITTER),
    "ResetActivity": _many(ws.ResetActivityRequest, jitter=_JITTER),
    "UpdateActivityOptions": _many(ws.UpdateActivityOptionsRequest, activity_options=_OPTIONS, update_mask=_MASK),
    "PauseActivityExecution": _one(ws.PauseActivityExecutionRequest, reason="r"),
    "UnpauseActivityExecution": _one(ws.UnpauseActivityExecutionRequest, jitter=_JITTER),
    "ResetActivityExecution": _one(ws.ResetActivityExecutionRequest, jitter=_JITTER),
    "UpdateActivityExecutionOptions": _one(
        ws.UpdateActivityExecutionOptionsRequest, activity_options=_OPTIONS, update_mask=_MASK
    ),
}
