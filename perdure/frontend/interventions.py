"""What operators do to a run from outside: pause it, let it go on.

The order of checks is the reference's, because a request may have more than one fault.
"""

from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
)

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.slots import ChainKey
from perdure.base.uuids import is_uuid
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import too_long
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.workflow.intervention_requests import PauseWorkflow, UnpauseWorkflow


class Interventions:
    """The RPCs that change how a run is carried out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(PauseWorkflowExecutionRequest)
    async def PauseWorkflowExecution(
        self, request: PauseWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> PauseWorkflowExecutionResponse:
        if not self._limits.workflow_pause:
            raise Unimplemented(f"workflow pause is not enabled for namespace: {namespace.name}")
        self._check_pause(request)
        key = ChainKey(namespace.id, request.workflow_id)
        reply: PauseWorkflowExecutionResponse = await self._services.routing.transact(
            key, PauseWorkflow(request), call, repeatable=bool(request.request_id)
        )
        return reply

    @rpc(UnpauseWorkflowExecutionRequest)
    async def UnpauseWorkflowExecution(
        self, request: UnpauseWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> UnpauseWorkflowExecutionResponse:
        self._check_pause(request)
        key = ChainKey(namespace.id, request.workflow_id)
        reply: UnpauseWorkflowExecutionResponse = await self._services.routing.transact(
            key, UnpauseWorkflow(request), call, repeatable=False
        )
        return reply

    def _check_pause(self, request: PauseWorkflowExecutionRequest | UnpauseWorkflowExecutionRequest) -> None:
        longest = self._limits.id_bytes_max
        for text, name in (
            (request.reason, "reason"),
            (request.request_id, "request id"),
            (request.identity, "identity"),
        ):
            if too_long(text, longest):
                raise InvalidArgument(f"{name} is too long.")
        if not request.workflow_id:
            raise InvalidArgument("Can't load workflow execution.  WorkflowId not set.")
        if request.run_id and not is_uuid(request.run_id):
            raise InvalidArgument("RunId is not valid UUID.")
