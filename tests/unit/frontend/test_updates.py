"""What the frontend makes of updates, polls for them and updates-with-start."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Callback, Link, Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request, UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base.errors import (
    InvalidArgument,
    NamespaceNotFound,
    OperationAborted,
    OperationsFailed,
    PerdureError,
    PermissionDenied,
    ShardLost,
    Unimplemented,
)
from perdure.workflow.update_requests import StartWithUpdate
from perdure.workflow.updates import ACCEPTED, ADMITTED, COMPLETED
from tests.unit.frontend.fakes import Desk, asked, open_desk

RUN = "0a0a0a0a-0000-4000-8000-00000000000f"
LONG = "x" * 1001


def change(**fields: Any) -> Request:
    return Request(**({"meta": Meta(update_id="u"), "input": Input(name="change")} | fields))


def update(**fields: Any) -> UpdateWorkflowExecutionRequest:
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_execution": WorkflowExecution(workflow_id="wf"),
        "request": change(),
    }
    return UpdateWorkflowExecutionRequest(**(plain | fields))


def start(**fields: Any) -> StartWorkflowExecutionRequest:
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "wf",
        "workflow_type": WorkflowType(name="T"),
        "task_queue": TaskQueue(name="q"),
    }
    return StartWorkflowExecutionRequest(**(plain | fields))


def both(
    started: StartWorkflowExecutionRequest | None = None, updated: UpdateWorkflowExecutionRequest | None = None
) -> ExecuteMultiOperationRequest:
    operation = ExecuteMultiOperationRequest.Operation
    return ExecuteMultiOperationRequest(
        namespace="default",
        operations=[operation(start_workflow=started or start()), operation(update_workflow=updated or update())],
    )


@pytest.mark.parametrize(
    ("request_fields", "kind", "message"),
    [
        ({"workflow_execution": None}, InvalidArgument, "Execution is not set on request."),
        ({"workflow_execution": WorkflowExecution()}, InvalidArgument, "WorkflowId is not set on request."),
        ({"workflow_execution": WorkflowExecution(workflow_id="wf", run_id="no")}, InvalidArgument, "Invalid RunId."),
        ({"request": change(meta=None)}, InvalidArgument, "Update meta is not set on request."),
        ({"request": change(meta=Meta(update_id=LONG))}, InvalidArgument, "UpdateId length exceeds limit."),
        ({"request": change(input=None)}, InvalidArgument, "Update input is not set on request."),
        ({"request": change(input=Input())}, InvalidArgument, "Update name is not set on request."),
        ({"request": change(request_id=LONG)}, InvalidArgument, "RequestId length exceeds limit."),
        ({"request": change(completion_callbacks=[Callback()])}, Unimplemented, "is not supported yet"),
        ({"request": change(links=[Link()])}, InvalidArgument, "unsupported link variant"),
        ({"wait_policy": WaitPolicy(lifecycle_stage=ADMITTED)}, PermissionDenied, "waiting on update admitted"),
    ],
)
async def test_an_update_that_makes_no_sense_is_refused(
    request_fields: dict[str, Any], kind: type[PerdureError], message: str
) -> None:
    desk = await open_desk()
    with pytest.raises(kind, match=message):
        await desk.call(update(**request_fields))
    assert not desk.history.asked


async def test_an_update_that_is_too_large_for_history_is_refused() -> None:
    desk = await open_desk()
    args = Payloads(payloads=[Payload(data=bytes(2 << 20))])
    with pytest.raises(InvalidArgument, match="Blob data size exceeds limit"):
        await desk.call(update(request=change(input=Input(name="change", args=args))))


async def test_an_update_gets_the_id_and_the_stage_that_it_leaves_out() -> None:
    desk = await open_desk()
    desk.history.reply = UpdateWorkflowExecutionResponse()
    await desk.call(update(request=change(meta=Meta())))
    request = asked(desk)
    assert len(request.request.meta.update_id) == 36
    assert request.wait_policy.lifecycle_stage == COMPLETED


async def test_an_update_of_a_lost_shard_is_made_again() -> None:
    desk = await open_desk()
    desk.history.reply = UpdateWorkflowExecutionResponse(stage=ACCEPTED)
    desk.directory.refusals = [ShardLost("moved")]
    assert (await desk.call(update())).stage == ACCEPTED


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (None, "UpdateRef is not set on request."),
        (UpdateRef(), "Can't load workflow execution.  WorkflowId not set."),
        (UpdateRef(workflow_execution=WorkflowExecution(workflow_id="w", run_id="no")), "RunId is not valid UUID."),
    ],
)
async def test_a_poll_that_names_no_workflow_is_refused(ref: UpdateRef | None, message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match=message):
        await desk.call(PollWorkflowExecutionUpdateRequest(namespace="default", update_ref=ref))


async def _faults(desk: Desk, request: ExecuteMultiOperationRequest) -> list[PerdureError | None]:
    with pytest.raises(OperationsFailed) as failed:
        await desk.call(request)
    assert not desk.history.asked
    return list(failed.value.errors)


@pytest.mark.parametrize(
    ("request_", "at_fault", "message"),
    [
        (both(start(cron_schedule="* * * * *")), 0, "CronSchedule is not allowed."),
        (both(start(request_eager_execution=True)), 0, "RequestEagerExecution is not supported."),
        (both(start(workflow_start_delay=Duration(seconds=1))), 0, "WorkflowStartDelay is not supported."),
        (both(start(workflow_type=None)), 0, "WorkflowType is not set on request."),
        (both(start(namespace="away")), 0, "Operation namespace did not match request's namespace."),
        (both(None, update(namespace="away")), 1, "Operation namespace did not match request's namespace."),
        (both(None, update(first_execution_run_id=RUN)), 1, "FirstExecutionRunId is not allowed."),
        (
            both(None, update(workflow_execution=WorkflowExecution(workflow_id="wf", run_id=RUN))),
            1,
            "RunId is not allowed.",
        ),
        (
            both(None, update(workflow_execution=WorkflowExecution(workflow_id="other"))),
            1,
            "WorkflowId is not consistent with previous operation(s).",
        ),
    ],
)
async def test_one_operation_at_fault_aborts_the_other(
    request_: ExecuteMultiOperationRequest, at_fault: int, message: str
) -> None:
    faults = await _faults(await open_desk(), request_)
    guilty, other = faults[at_fault], faults[1 - at_fault]
    assert isinstance(guilty, InvalidArgument)
    assert guilty.message == message
    assert isinstance(other, OperationAborted)


async def test_each_operation_at_fault_is_told_so() -> None:
    start_fault, update_fault = await _faults(await open_desk(), both(start(namespace=""), update(request=None)))
    assert isinstance(start_fault, NamespaceNotFound)
    assert isinstance(update_fault, InvalidArgument)


@pytest.mark.parametrize("order", ["", "s", "u", "us", "ss", "suu"])
async def test_operations_are_a_start_and_an_update(order: str) -> None:
    desk = await open_desk()
    operation = ExecuteMultiOperationRequest.Operation
    made = {"s": operation(start_workflow=start()), "u": operation(update_workflow=update())}
    request = ExecuteMultiOperationRequest(namespace="default", operations=[made[kind] for kind in order])
    with pytest.raises(InvalidArgument, match="Operations have to be exactly"):
        await desk.call(request)


async def test_both_operations_reach_history_as_one() -> None:
    desk = await open_desk()
    desk.history.reply = ExecuteMultiOperationResponse()
    await desk.call(both(start(), update(namespace="")))
    request = asked(desk)
    assert isinstance(request, StartWithUpdate)
    assert request.start.request_id  # filled in, so that a repeated call starts once
    assert request.update.namespace == "default"
