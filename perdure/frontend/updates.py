"""Updates: update, poll for one, update-with-start.

The order of checks is the reference's, because a request may have more than one fault. Of the operations that are to
be done together each is checked, and each is answered.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base.clock import from_duration
from perdure.base.entropy import new_id
from perdure.base.errors import (
    InvalidArgument,
    NamespaceNotFound,
    OperationAborted,
    OperationsFailed,
    PerdureError,
    PermissionDenied,
    Unimplemented,
)
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, HistoryRole
from perdure.frontend.checks import check_blob, check_execution, check_links, check_run_id, too_long
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.frontend.workflows import Workflows
from perdure.workflow.update_requests import StartWithUpdate

_ADMITTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
_ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
_COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
_Answer = TypeVar("_Answer")
_OTHER_ID = "WorkflowId is not consistent with previous operation(s)."


class Updates:
    """The RPCs about updates. Each may be repeated: an update's id makes it one."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits
        self._workflows = Workflows(services)

    @rpc(UpdateWorkflowExecutionRequest)
    async def UpdateWorkflowExecution(
        self, request: UpdateWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        self._check_update(request, self._limits.of(namespace.name))
        key = ChainKey(namespace.id, request.workflow_execution.workflow_id)
        return await self._wait(key, lambda role, rest: role.update(key, request, rest), call)

    @rpc(PollWorkflowExecutionUpdateRequest)
    async def PollWorkflowExecutionUpdate(
        self, request: PollWorkflowExecutionUpdateRequest, namespace: Namespace, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        if not request.HasField("update_ref"):
            raise InvalidArgument("UpdateRef is not set on request.")
        execution = request.update_ref.workflow_execution
        if not execution.workflow_id:
            raise InvalidArgument("Can't load workflow execution.  WorkflowId not set.")
        check_run_id(execution.run_id)
        key = ChainKey(namespace.id, execution.workflow_id)
        return await self._wait(key, lambda role, rest: role.poll_update(key, request, rest), call)

    @rpc(ExecuteMultiOperationRequest, begins=True)
    async def ExecuteMultiOperation(
        self, request: ExecuteMultiOperationRequest, namespace: Namespace, call: Call
    ) -> ExecuteMultiOperationResponse:
        kinds = [operation.WhichOneof("operation") for operation in request.operations]
        if kinds != ["start_workflow", "update_workflow"]:
            raise InvalidArgument("Operations have to be exactly [Start, Update].")
        start, update = request.operations[0].start_workflow, request.operations[1].update_workflow
        faults = [
            _fault(lambda: self._check_start_of_two(start, namespace)),
            _fault(lambda: self._check_update_of_two(update, namespace)),
        ]
        if not any(faults) and start.workflow_id != update.workflow_execution.workflow_id:
            faults[1] = InvalidArgument(_OTHER_ID)
        if any(faults):
            raise OperationsFailed([fault or OperationAborted() for fault in faults])
        key = ChainKey(namespace.id, start.workflow_id)
        both = StartWithUpdate(start, update)
        return await self._wait(key, lambda role, rest: role.start_with_update(key, both, rest), call)

    async def _wait(self, key: ChainKey, ask: Callable[[HistoryRole, Call], Awaitable[_Answer]], call: Call) -> _Answer:
        """What the owner of `key` answers, which may take as long as the update, or until this process stops."""
        routing = self._services.routing
        return await self._services.polls.wait_for(
            call, lambda rest: routing.on_history(key, ask, rest, repeatable=True)
        )

    def _check_update(self, request: UpdateWorkflowExecutionRequest, limits: Limits) -> None:
        asked = request.request
        check_execution(request, "workflow_execution")
        if not limits.updates:
            raise PermissionDenied("UpdateWorkflowExecution operation is disabled on this namespace")
        if not asked.HasField("meta"):
            raise InvalidArgument("Update meta is not set on request.")
        if too_long(asked.meta.update_id, limits.id_bytes_max):
            raise InvalidArgument("UpdateId length exceeds limit.")
        if not asked.meta.update_id:
            asked.meta.update_id = new_id(self._services.entropy)
        if not asked.HasField("input"):
            raise InvalidArgument("Update input is not set on request.")
        if not asked.input.name:
            raise InvalidArgument("Update name is not set on request.")
        if not request.wait_policy.lifecycle_stage:
            request.wait_policy.lifecycle_stage = _COMPLETED
        if request.wait_policy.lifecycle_stage == _ADMITTED:
            raise PermissionDenied(
                "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported."
            )
        if request.wait_policy.lifecycle_stage == _ACCEPTED and not limits.updates_async_accepted:
            raise PermissionDenied(
                "UpdateWorkflowExecution issued asynchronously and waiting on update accepted "
                "is disabled on this namespace"
            )
        if asked.completion_callbacks:
            raise Unimplemented("UpdateWorkflowExecutionRequest.request.completion_callbacks is not supported yet")
        if asked.links:
            check_links(asked.links, limits)
        if too_long(asked.request_id, limits.id_bytes_max):
            raise InvalidArgument("RequestId length exceeds limit.")
        check_blob(asked.input, limits)  # it goes into history with the acceptance

    def _check_start_of_two(self, request: StartWorkflowExecutionRequest, namespace: Namespace) -> None:
        if not request.namespace:
            raise NamespaceNotFound("")
        if request.namespace != namespace.name:
            raise InvalidArgument("Operation namespace did not match request's namespace.")
        self._workflows.check_start(request, namespace)
        if request.cron_schedule:
            raise InvalidArgument("CronSchedule is not allowed.")
        if request.request_eager_execution:
            raise InvalidArgument("RequestEagerExecution is not supported.")
        if from_duration(request.workflow_start_delay) > 0:
            raise InvalidArgument("WorkflowStartDelay is not supported.")

    def _check_update_of_two(self, request: UpdateWorkflowExecutionRequest, namespace: Namespace) -> None:
        if request.namespace and request.namespace != namespace.name:
            raise InvalidArgument("Operation namespace did not match request's namespace.")
        request.namespace = namespace.name
        self._check_update(request, self._limits.of(namespace.name))
        if request.first_execution_run_id:
            raise InvalidArgument("FirstExecutionRunId is not allowed.")
        if request.workflow_execution.run_id:
            raise InvalidArgument("RunId is not allowed.")


def _fault(check: Callable[[], None]) -> PerdureError | None:
    try:
        check()
    except PerdureError as error:
        return error
    return None
