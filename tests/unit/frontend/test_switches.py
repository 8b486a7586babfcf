"""What operators can switch off, for all namespaces or for one, while the server runs."""

import pytest
from temporalio.api.common.v1 import Link, WorkflowExecution
from temporalio.api.enums.v1 import EventType, UpdateWorkflowExecutionLifecycleStage
from temporalio.api.update.v1 import Input, Request, WaitPolicy
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    DescribeNamespaceRequest,
    DescribeWorkerRequest,
    ListWorkersRequest,
    RecordWorkerHeartbeatRequest,
    ShutdownWorkerRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base.errors import InvalidArgument, PermissionDenied, Unimplemented
from perdure.frontend.services import FrontendOptions
from perdure.server.dynamic import Dynamic, checked
from tests.unit.frontend.fakes import HOME, Desk, open_desk, with_limits

_ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED


def _update(namespace: str = "default", **policy: object) -> UpdateWorkflowExecutionRequest:
    update = Request(input=Input(name="change"))
    update.meta.update_id = "u"
    wait = WaitPolicy(**policy)  # type: ignore[arg-type]  # the one field of it
    execution = WorkflowExecution(workflow_id="wf")
    return UpdateWorkflowExecutionRequest(
        namespace=namespace, workflow_execution=execution, request=update, wait_policy=wait
    )


async def _capabilities(desk: Desk, namespace: str = "default") -> tuple[bool, bool, bool]:
    found = (await desk.call(DescribeNamespaceRequest(namespace=namespace))).namespace_info.capabilities
    return found.sync_update, found.async_update, found.worker_heartbeats


async def test_updates_of_one_namespace_are_switched_off_and_on_again() -> None:
    dynamic = Dynamic()
    desk = await open_desk(FrontendOptions(limits=dynamic))
    desk.history.reply = UpdateWorkflowExecutionResponse()
    off = {"value": False, "constraints": {"namespace": "default"}}
    dynamic.apply(checked({"frontend.enableUpdateWorkflowExecution": [off]}))
    with pytest.raises(PermissionDenied, match="operation is disabled on this namespace"):
        await desk.call(_update())
    await desk.call(_update("away"))
    assert await _capabilities(desk) == (False, False, True)
    assert await _capabilities(desk, "away") == (True, True, True)
    dynamic.apply(checked({}))
    await desk.call(_update())


async def test_updates_that_wait_for_acceptance_alone_are_switched_off() -> None:
    desk = await open_desk(with_limits(updates_async_accepted=False))
    desk.history.reply = UpdateWorkflowExecutionResponse()
    with pytest.raises(PermissionDenied, match="waiting on update accepted is disabled on this namespace"):
        await desk.call(_update(lifecycle_stage=_ACCEPTED))
    await desk.call(_update())
    assert await _capabilities(desk) == (True, False, True)


async def test_heartbeats_of_workers_are_switched_off() -> None:
    desk = await open_desk(with_limits(worker_heartbeats=False))
    beat = WorkerHeartbeat(worker_instance_key="k")
    with pytest.raises(Unimplemented):
        await desk.call(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=[beat]))
    await desk.call(ShutdownWorkerRequest(namespace="default", sticky_task_queue="s", worker_heartbeat=beat))
    assert not desk.matching.heartbeats
    assert not (await _capabilities(desk))[2]


@pytest.mark.parametrize("request_class", [ListWorkersRequest, CountWorkersRequest, DescribeWorkerRequest])
async def test_lists_of_workers_are_switched_off(request_class: type) -> None:
    desk = await open_desk(with_limits(worker_lists=False))
    with pytest.raises(Unimplemented):
        await desk.call(request_class(namespace="default"))


async def test_a_limit_of_one_namespace_is_not_another_s() -> None:
    dynamic = Dynamic()
    desk = await open_desk(FrontendOptions(limits=dynamic))
    one = {"value": 1, "constraints": {"namespace": HOME.name}}
    dynamic.apply(checked({"frontend.maxLinksPerRequest": [one]}))
    request = TerminateWorkflowExecutionRequest(workflow_execution=WorkflowExecution(workflow_id="wf"))
    for event_id in (1, 2):
        event = Link.WorkflowEvent(namespace="default", workflow_id="w", run_id="r")
        event.event_ref.event_id, event.event_ref.event_type = event_id, EventType.EVENT_TYPE_TIMER_FIRED
        request.links.append(Link(workflow_event=event))
    request.namespace = HOME.name
    with pytest.raises(InvalidArgument, match="more than 1 links"):
        await desk.call(request)
    request.namespace = "away"
    await desk.call(request)
