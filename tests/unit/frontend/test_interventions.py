"""Pausing a workflow and changing its options: what the frontend refuses, and what it asks for."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.base.errors import InvalidArgument, Unimplemented
from tests.unit.frontend.fakes import open_desk, with_limits

LONG = "x" * 1001
_OPTIONS = WorkflowExecutionOptions(priority=Priority(priority_key=1))


async def test_pausing_has_to_be_switched_on_and_going_on_has_not() -> None:
    desk = await open_desk()
    with pytest.raises(Unimplemented, match="workflow pause is not enabled for namespace: default"):
        await desk.call(PauseWorkflowExecutionRequest(namespace="default", workflow_id="wf"))
    with pytest.raises(InvalidArgument, match="WorkflowId not set"):
        await desk.call(UnpauseWorkflowExecutionRequest(namespace="default"))


@pytest.mark.parametrize("kind", [PauseWorkflowExecutionRequest, UnpauseWorkflowExecutionRequest])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reason": LONG}, "reason is too long."),
        ({"request_id": LONG}, "request id is too long."),
        ({"identity": LONG}, "identity is too long."),
        ({"workflow_id": ""}, "Can't load workflow execution.  WorkflowId not set."),
        ({"run_id": "no-uuid"}, "RunId is not valid UUID."),
    ],
)
async def test_a_bad_pause_is_refused(kind: Any, fields: dict[str, str], message: str) -> None:
    desk = await open_desk(with_limits(workflow_pause=True))
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(kind(**{"namespace": "default", "workflow_id": "wf", **fields}))
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow_execution": None}, "WorkflowId is not set on request."),
        ({"update_mask": None}, "UpdateMask is required"),
        ({"workflow_execution_options": None}, "WorkflowExecutionOptions is required"),
        ({"workflow_execution": WorkflowExecution(workflow_id="wf", run_id="x")}, "RunId is not valid UUID."),
    ],
)
async def test_bad_options_are_refused(fields: dict[str, Any], message: str) -> None:
    desk = await open_desk()
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_execution": WorkflowExecution(workflow_id="wf"),
        "workflow_execution_options": _OPTIONS,
        "update_mask": FieldMask(paths=["priority"]),
    }
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(UpdateWorkflowExecutionOptionsRequest(**{**plain, **fields}))
    assert refused.value.message == message


@pytest.mark.parametrize(
    "path", ["nothing", "priority.nothing", "priority.priority_key.more", "", "priority.", "Priority"]
)
async def test_a_path_has_to_lead_somewhere(path: str) -> None:
    desk = await open_desk()
    request = UpdateWorkflowExecutionOptionsRequest(
        namespace="default",
        workflow_execution=WorkflowExecution(workflow_id="wf"),
        workflow_execution_options=_OPTIONS,
        update_mask=FieldMask(paths=["priority", path]),
    )
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(request)
    assert refused.value.message == (
        f'error parsing UpdateMask: proto: invalid path "{path}" '
        'for message "temporal.api.workflow.v1.WorkflowExecutionOptions"'
    )
