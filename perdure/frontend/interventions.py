"""What operators do to a run from outside: pause it, let it go on, change its options.

The order of checks is the reference's, because a request may have more than one fault.
"""

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import check_priority, check_run_id, too_long
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.frontend.time_skipping import fill_time_skipping
from perdure.workflow.intervention_requests import PauseWorkflow, UnpauseWorkflow, UpdateOptions


class Interventions:
    """The RPCs that change how a run is carried out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(PauseWorkflowExecutionRequest)
    async def PauseWorkflowExecution(
        self, request: PauseWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> PauseWorkflowExecutionResponse:
        if not self._limits.of(namespace.name).workflow_pause:
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

    @rpc(UpdateWorkflowExecutionOptionsRequest)
    async def UpdateWorkflowExecutionOptions(
        self, request: UpdateWorkflowExecutionOptionsRequest, namespace: Namespace, call: Call
    ) -> UpdateWorkflowExecutionOptionsResponse:
        execution, options = request.workflow_execution, request.workflow_execution_options
        if not execution.workflow_id:
            raise InvalidArgument("WorkflowId is not set on request.")
        if not request.HasField("update_mask"):
            raise InvalidArgument("UpdateMask is required")
        if not request.HasField("workflow_execution_options"):
            raise InvalidArgument("WorkflowExecutionOptions is required")
        check_mask(request.update_mask, WorkflowExecutionOptions.DESCRIPTOR)
        if options.HasField("priority"):
            check_priority(options.priority)
        fill_time_skipping(options, self._limits.of(namespace.name))
        check_run_id(execution.run_id)
        key = ChainKey(namespace.id, execution.workflow_id)
        reply: UpdateWorkflowExecutionOptionsResponse = await self._services.routing.transact(
            key, UpdateOptions(request), call, repeatable=True
        )
        return reply

    def _check_pause(self, request: PauseWorkflowExecutionRequest | UnpauseWorkflowExecutionRequest) -> None:
        longest = self._limits.of().id_bytes_max
        for text, name in (
            (request.reason, "reason"),
            (request.request_id, "request id"),
            (request.identity, "identity"),
        ):
            if too_long(text, longest):
                raise InvalidArgument(f"{name} is too long.")
        if not request.workflow_id:
            raise InvalidArgument("Can't load workflow execution.  WorkflowId not set.")
        check_run_id(request.run_id)


def check_mask(mask: FieldMask, message: Descriptor) -> None:
    """Raises InvalidArgument for a path that leads nowhere in messages of this kind."""
    for path in mask.paths:
        within: Descriptor | None = message
        for name in path.split("."):
            field = within.fields_by_name.get(name) if within is not None else None
            if field is None:
                text = f'error parsing UpdateMask: proto: invalid path "{path}" for message "{message.full_name}"'
                raise InvalidArgument(text)
            within = None if field.is_repeated else field.message_type
