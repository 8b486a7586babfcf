"""One good request of every RPC that Perdure serves, with as much filled in as the RPC takes; tests spoil them.

A builder is called for each request anew, because an answered task can't be answered again.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.enums.v1 import event_type_pb2 as event_enums
from temporalio.api.enums.v1 import query_pb2 as query_enums
from temporalio.api.enums.v1 import task_queue_pb2 as queue_enums
from temporalio.api.namespace.v1 import message_pb2 as namespaces
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.query.v1 import message_pb2 as query
from temporalio.api.replication.v1 import message_pb2 as replication
from temporalio.api.sdk.v1 import user_metadata_pb2 as sdk
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.update.v1 import message_pb2 as update_messages
from temporalio.api.worker.v1 import message_pb2 as worker
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow
from tests.conformance.harness.payloads import (
    failure,
    header,
    memo,
    payload,
    payloads,
    retry_policy,
    search_attributes,
)
from tests.e2e.good_operations import OPERATIONS
from tests.e2e.siege import IDENTITY, Siege, fresh

Build = Callable[[Siege], Awaitable[Message]]
_NAMESPACE: dict[str, Any] = {"namespace": "default"}
_WORKER: dict[str, Any] = {"namespace": "default", "identity": IDENTITY}
_TARGET = common.WorkflowExecution(workflow_id="target")
_QUEUE = taskqueue.TaskQueue(name="nothing")
_LINK = common.Link(
    workflow_event=common.Link.WorkflowEvent(
        namespace="default", workflow_id="w", run_id="r", event_ref=common.Link.WorkflowEvent.EventReference(event_id=1)
    )
)
_LINK.workflow_event.event_ref.event_type = event_enums.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED


def _plain(request: Message) -> Build:
    async def build(_siege: Siege) -> Message:
        return request

    return build


def _start_fields() -> dict[str, Any]:
    return {
        "input": payloads("in"),
        "memo": memo(a="b"),
        "header": header(h="x"),
        "search_attributes": search_attributes(),
        "retry_policy": retry_policy(attempts=1),
        "workflow_execution_timeout": Duration(seconds=100),
        "workflow_run_timeout": Duration(seconds=50),
        "workflow_task_timeout": Duration(seconds=10),
        "cron_schedule": "@every 1h",
        "user_metadata": sdk.UserMetadata(summary=payload("s"), details=payload("d")),
        "links": [_LINK],
        "priority": common.Priority(priority_key=2, fairness_key="k", fairness_weight=1.5),
        "time_skipping_config": common.TimeSkippingConfig(
            enabled=True,
            max_session_skip_count=3,
            fast_forward_config=common.FastForwardConfig(id="ff", duration=Duration(seconds=60)),
        ),
    }


async def start(siege: Siege) -> Message:
    return siege.start_request(
        **_start_fields(),
        last_completion_result=payloads("before"),
        continued_failure=failure("before"),
        on_conflict_options=workflow.OnConflictOptions(attach_request_id=True, attach_links=True),
    )


async def signal_with_start(siege: Siege) -> Message:
    name = fresh("wf")
    return ws.SignalWithStartWorkflowExecutionRequest(
        **_WORKER,
        **_start_fields(),
        workflow_id=name,
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=taskqueue.TaskQueue(name=name),
        signal_name="go",
        signal_input=payloads("x"),
        request_id=fresh("request"),
    )


async def workflow_task_completed(siege: Siege) -> Message:
    return siege.completion(await siege.started_task(), complete_workflow())


async def workflow_task_failed(siege: Siege) -> Message:
    task = await siege.started_task()
    return ws.RespondWorkflowTaskFailedRequest(**_WORKER, task_token=task.task_token, failure=failure("x"))


async def activity_completed(siege: Siege) -> Message:
    task = await siege.started_activity()
    return ws.RespondActivityTaskCompletedRequest(**_WORKER, task_token=task.task_token, result=payloads("x"))


async def activity_failed(siege: Siege) -> Message:
    task = await siege.started_activity()
    broken = failure("x", kind="K", next_retry_delay=1)
    return ws.RespondActivityTaskFailedRequest(**_WORKER, task_token=task.task_token, failure=broken)


async def activity_canceled(siege: Siege) -> Message:
    task = await siege.started_activity()
    return ws.RespondActivityTaskCanceledRequest(**_WORKER, task_token=task.task_token, details=payloads("x"))


async def heartbeat(siege: Siege) -> Message:
    task = await siege.started_activity()
    return ws.RecordActivityTaskHeartbeatRequest(**_WORKER, task_token=task.task_token, details=payloads("x"))


async def _of_activity(siege: Siege) -> dict[str, Any]:
    task = await siege.started_activity()
    execution = task.workflow_execution
    return {
        **_WORKER,
        "workflow_id": execution.workflow_id,
        "run_id": execution.run_id,
        "activity_id": task.activity_id,
    }


async def activity_completed_by_id(siege: Siege) -> Message:
    return ws.RespondActivityTaskCompletedByIdRequest(**await _of_activity(siege), result=payloads("x"))


async def activity_failed_by_id(siege: Siege) -> Message:
    return ws.RespondActivityTaskFailedByIdRequest(**await _of_activity(siege), failure=failure("x"))


async def activity_canceled_by_id(siege: Siege) -> Message:
    return ws.RespondActivityTaskCanceledByIdRequest(**await _of_activity(siege), details=payloads("x"))


async def heartbeat_by_id(siege: Siege) -> Message:
    return ws.RecordActivityTaskHeartbeatByIdRequest(**await _of_activity(siege), details=payloads("x"))


async def register(_siege: Siege) -> Message:
    return ws.RegisterNamespaceRequest(
        namespace=fresh("ns"), workflow_execution_retention_period=Duration(seconds=86_400), owner_email="a@b"
    )


async def update(siege: Siege) -> Message:
    info = namespaces.UpdateNamespaceInfo(description="d", owner_email="a@b", data={"k": "v"})
    config = namespaces.NamespaceConfig(
        workflow_execution_retention_ttl=Duration(seconds=86_400), custom_search_attribute_aliases={"Keyword01": "Mine"}
    )
    return ws.UpdateNamespaceRequest(
        namespace=await _registered(siege),
        update_info=info,
        config=config,
        replication_config=replication.NamespaceReplicationConfig(active_cluster_name="active"),
    )


async def deprecate(siege: Siege) -> Message:
    return ws.DeprecateNamespaceRequest(namespace=await _registered(siege))


async def _registered(siege: Siege) -> str:
    request: Any = await register(siege)
    await siege.client.call(request)
    return str(request.namespace)


async def delete(siege: Siege) -> Message:
    name = fresh("wf")
    execution = common.WorkflowExecution(workflow_id=name, run_id=await siege.start(name))
    return ws.DeleteWorkflowExecutionRequest(**_NAMESPACE, workflow_execution=execution)


async def update_queue(_siege: Siege) -> Message:
    limit = ws.UpdateTaskQueueConfigRequest.RateLimitUpdate(
        rate_limit=taskqueue.RateLimit(requests_per_second=5), reason="r"
    )
    return ws.UpdateTaskQueueConfigRequest(
        **_WORKER,
        task_queue=fresh("queue"),
        task_queue_type=queue_enums.TASK_QUEUE_TYPE_ACTIVITY,
        update_queue_rate_limit=limit,
    )


def beat(key: str = "k", **fields: Any) -> worker.WorkerHeartbeat:
    """What a worker tells of itself."""
    plain: dict[str, Any] = {
        "worker_instance_key": key,
        "worker_identity": IDENTITY,
        "task_queue": "nothing",
        "sdk_name": "sdk",
        "host_info": worker.WorkerHostInfo(host_name="h", current_host_cpu_usage=0.5),
        "start_time": Timestamp(seconds=1),
        "heartbeat_time": Timestamp(seconds=2),
        "elapsed_since_last_heartbeat": Duration(seconds=60),
        "workflow_task_slots_info": worker.WorkerSlotsInfo(current_available_slots=1, slot_supplier_kind="Fixed"),
        "activity_poller_info": worker.WorkerPollerInfo(current_pollers=1),
        "plugins": [worker.PluginInfo(name="p", version="1")],
    }
    return worker.WorkerHeartbeat(**{**plain, **fields})


async def record_heartbeat(_siege: Siege) -> Message:
    return ws.RecordWorkerHeartbeatRequest(**_WORKER, worker_heartbeat=[beat()])


async def describe_worker(siege: Siege) -> Message:
    await siege.client.call(await record_heartbeat(siege))
    return ws.DescribeWorkerRequest(**_NAMESPACE, worker_instance_key="k")


def _update(workflow_id: str) -> ws.UpdateWorkflowExecutionRequest:
    asked = update_messages.Request(
        meta=update_messages.Meta(update_id=fresh("u"), identity=IDENTITY),
        input=update_messages.Input(name="change", args=payloads("x"), header=header(h="x")),
        request_id=fresh("request"),
        links=[_LINK],
    )
    return ws.UpdateWorkflowExecutionRequest(
        **_NAMESPACE, workflow_execution=common.WorkflowExecution(workflow_id=workflow_id), request=asked
    )


async def update_workflow(_siege: Siege) -> Message:
    return _update("target")


async def update_with_start(siege: Siege) -> Message:
    operation = ws.ExecuteMultiOperationRequest.Operation
    start = siege.start_request(input=payloads("in"))
    both = [operation(start_workflow=start), operation(update_workflow=_update(start.workflow_id))]
    return ws.ExecuteMultiOperationRequest(**_NAMESPACE, operations=both)


GOOD: dict[str, Build] = {
    **OPERATIONS,
    "UpdateWorkflowExecution": update_workflow,
    "PollWorkflowExecutionUpdate": _plain(
        ws.PollWorkflowExecutionUpdateRequest(
            **_WORKER,
            update_ref=update_messages.UpdateRef(workflow_execution=_TARGET, update_id="u"),
            wait_policy=update_messages.WaitPolicy(),
        )
    ),
    "ExecuteMultiOperation": update_with_start,
    "StartWorkflowExecution": start,
    "SignalWithStartWorkflowExecution": signal_with_start,
    "SignalWorkflowExecution": _plain(
        ws.SignalWorkflowExecutionRequest(
            **_WORKER, workflow_execution=_TARGET, signal_name="go", input=payloads("x"), header=header(h="x")
        )
    ),
    "RequestCancelWorkflowExecution": _plain(
        ws.RequestCancelWorkflowExecutionRequest(**_WORKER, workflow_execution=_TARGET, reason="r")
    ),
    "TerminateWorkflowExecution": _plain(
        ws.TerminateWorkflowExecutionRequest(
            **_WORKER, workflow_execution=common.WorkflowExecution(workflow_id="gone"), details=payloads("x")
        )
    ),
    "PauseWorkflowExecution": _plain(
        ws.PauseWorkflowExecutionRequest(**_WORKER, workflow_id="gone", reason="r", request_id="p")
    ),
    "UpdateWorkflowExecutionOptions": _plain(
        ws.UpdateWorkflowExecutionOptionsRequest(
            **_WORKER,
            workflow_execution=_TARGET,
            workflow_execution_options=workflow.WorkflowExecutionOptions(priority=common.Priority(priority_key=2)),
            update_mask=FieldMask(paths=["priority", "versioning_override"]),
        )
    ),
    "PollWorkflowExecutionTimeSkipping": _plain(
        ws.PollWorkflowExecutionTimeSkippingRequest(**_NAMESPACE, workflow_execution=_TARGET, fast_forward_id="none")
    ),
    "UnpauseWorkflowExecution": _plain(ws.UnpauseWorkflowExecutionRequest(**_WORKER, workflow_id="gone", reason="r")),
    "DescribeWorkflowExecution": _plain(ws.DescribeWorkflowExecutionRequest(**_NAMESPACE, execution=_TARGET)),
    "QueryWorkflow": _plain(
        ws.QueryWorkflowRequest(
            **_NAMESPACE,
            execution=_TARGET,
            query=query.WorkflowQuery(query_type="q", query_args=payloads("x")),
            query_reject_condition=query_enums.QUERY_REJECT_CONDITION_NONE,
        )
    ),
    "GetWorkflowExecutionHistory": _plain(ws.GetWorkflowExecutionHistoryRequest(**_NAMESPACE, execution=_TARGET)),
    "GetWorkflowExecutionHistoryReverse": _plain(
        ws.GetWorkflowExecutionHistoryReverseRequest(**_NAMESPACE, execution=_TARGET)
    ),
    "PollWorkflowTaskQueue": _plain(ws.PollWorkflowTaskQueueRequest(**_WORKER, task_queue=_QUEUE)),
    "PollActivityTaskQueue": _plain(ws.PollActivityTaskQueueRequest(**_WORKER, task_queue=_QUEUE)),
    "PollNexusTaskQueue": _plain(ws.PollNexusTaskQueueRequest(**_WORKER, task_queue=_QUEUE)),
    "RespondWorkflowTaskCompleted": workflow_task_completed,
    "RespondWorkflowTaskFailed": workflow_task_failed,
    "RespondQueryTaskCompleted": _plain(
        ws.RespondQueryTaskCompletedRequest(**_NAMESPACE, task_token=b"\x01\x71", query_result=payloads("x"))
    ),
    "ResetStickyTaskQueue": _plain(ws.ResetStickyTaskQueueRequest(**_NAMESPACE, execution=_TARGET)),
    "ShutdownWorker": _plain(
        ws.ShutdownWorkerRequest(**_WORKER, sticky_task_queue="sticky", worker_instance_key="k", task_queue="nothing")
    ),
    "RespondActivityTaskCompleted": activity_completed,
    "RespondActivityTaskFailed": activity_failed,
    "RespondActivityTaskCanceled": activity_canceled,
    "RecordActivityTaskHeartbeat": heartbeat,
    "RespondActivityTaskCompletedById": activity_completed_by_id,
    "RespondActivityTaskFailedById": activity_failed_by_id,
    "RespondActivityTaskCanceledById": activity_canceled_by_id,
    "RecordActivityTaskHeartbeatById": heartbeat_by_id,
    "ListWorkflowExecutions": _plain(
        ws.ListWorkflowExecutionsRequest(**_NAMESPACE, page_size=1, query="WorkflowType = 'flow'")
    ),
    "CountWorkflowExecutions": _plain(ws.CountWorkflowExecutionsRequest(**_NAMESPACE, query="WorkflowId = 'x'")),
    "ScanWorkflowExecutions": _plain(
        ws.ScanWorkflowExecutionsRequest(**_NAMESPACE, page_size=1, query="WorkflowType = 'flow'")
    ),
    "DeleteWorkflowExecution": delete,
    "DescribeTaskQueue": _plain(
        ws.DescribeTaskQueueRequest(
            **_NAMESPACE,
            task_queue=_QUEUE,
            task_queue_type=queue_enums.TASK_QUEUE_TYPE_WORKFLOW,
            report_stats=True,
            report_config=True,
            include_task_queue_status=True,
        )
    ),
    "ListTaskQueuePartitions": _plain(ws.ListTaskQueuePartitionsRequest(**_NAMESPACE, task_queue=_QUEUE)),
    "UpdateTaskQueueConfig": update_queue,
    "RecordWorkerHeartbeat": record_heartbeat,
    "DescribeWorker": describe_worker,
    "ListWorkers": _plain(ws.ListWorkersRequest(**_NAMESPACE, page_size=1, query="TaskQueue = 'nothing'")),
    "CountWorkers": _plain(ws.CountWorkersRequest(**_NAMESPACE, query="SdkName STARTS_WITH 'sdk'")),
    "RegisterNamespace": register,
    "UpdateNamespace": update,
    "DeprecateNamespace": deprecate,
    "DescribeNamespace": _plain(ws.DescribeNamespaceRequest(**_NAMESPACE)),
    "ListNamespaces": _plain(ws.ListNamespacesRequest(page_size=1)),
    "GetClusterInfo": _plain(ws.GetClusterInfoRequest()),
    "GetSystemInfo": _plain(ws.GetSystemInfoRequest()),
    "GetSearchAttributes": _plain(ws.GetSearchAttributesRequest()),
    "AddSearchAttributes": _plain(
        operator.AddSearchAttributesRequest(
            **_NAMESPACE, search_attributes={"Spoiled": enums.INDEXED_VALUE_TYPE_KEYWORD}
        )
    ),
    "ListSearchAttributes": _plain(operator.ListSearchAttributesRequest(**_NAMESPACE)),
    "RemoveSearchAttributes": _plain(
        operator.RemoveSearchAttributesRequest(**_NAMESPACE, search_attributes=["Spoiled"])
    ),
}
