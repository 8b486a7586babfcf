"""Resets: the RPC that takes a workflow back to one of its workflow tasks.

By type (the first task, the last, a build's) is the command line's doing: it finds the event and asks for that.
"""

from temporalio.api.enums.v1 import ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse

from perdure.base.errors import InvalidArgument
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import check_execution, too_long
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.frontend.time_skipping import fill_time_skipping
from perdure.workflow.reset_requests import ResetWorkflow

_TYPES = frozenset(ResetReapplyType.values())


class Resets:
    """The RPC of resets."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(ResetWorkflowExecutionRequest)
    async def ResetWorkflowExecution(
        self, request: ResetWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> ResetWorkflowExecutionResponse:
        if not request.request_id:
            raise InvalidArgument("RequestId is not set on request.")
        if too_long(request.request_id, self._limits.of(namespace.name).id_bytes_max):
            raise InvalidArgument("RequestId length exceeds limit.")
        check_execution(request, "workflow_execution")
        if request.reset_reapply_type not in _TYPES:
            raise InvalidArgument(f"unknown reset reapply type: {request.reset_reapply_type}")
        for operation in request.post_reset_operations:
            if operation.HasField("update_workflow_options"):
                fill_time_skipping(
                    operation.update_workflow_options.workflow_execution_options, self._limits.of(namespace.name)
                )
        key = ChainKey(namespace.id, request.workflow_execution.workflow_id)
        reply: ResetWorkflowExecutionResponse = await self._services.routing.transact(
            key, ResetWorkflow(request), call, repeatable=True
        )
        return reply
