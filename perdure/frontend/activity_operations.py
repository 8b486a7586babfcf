"""Operators' hands on activities: pause, unpause, reset, other options.

Each has two forms: by workflow for one or many of its activities, and the newer one for one activity, which may
belong to no workflow; of those there are none yet. The order of checks is the reference's, because a request may have
more than one fault.

Differs from the reference by intent: the older forms refuse what the newer ones do too, texts beyond their limits and
times below zero (the reference keeps the former, and fails with an internal error at the latter, half done).
"""

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    PauseActivityExecutionResponse,
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityExecutionRequest,
    ResetActivityExecutionResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityExecutionRequest,
    UnpauseActivityExecutionResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityExecutionOptionsRequest,
    UpdateActivityExecutionOptionsResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from perdure.base.entropy import new_id
from perdure.base.errors import InvalidArgument, NotFound
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.base.uuids import is_uuid
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import check_identity, check_priority, check_run_id, too_long
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.workflow.activity_options import KNOWN_PATHS, camel_case
from perdure.workflow.activity_requests import PauseActivity, ResetActivity, UnpauseActivity, UpdateActivityOptions
from perdure.workflow.durations import duration_fault
from perdure.workflow.retry_policy import check, filled
from perdure.workflow.task_queue_names import check_task_queue

_Many = PauseActivityRequest | UnpauseActivityRequest | ResetActivityRequest | UpdateActivityOptionsRequest
_One = (
    PauseActivityExecutionRequest
    | UnpauseActivityExecutionRequest
    | ResetActivityExecutionRequest
    | UpdateActivityExecutionOptionsRequest
)


class ActivityOperations:
    """The RPCs with which operators change what becomes of pending activities."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(PauseActivityRequest)
    async def PauseActivity(
        self, request: PauseActivityRequest, namespace: Namespace, call: Call
    ) -> PauseActivityResponse:
        key = self._key(request, namespace)
        self._check_texts(namespace, request.request_id, request.reason)
        reply: PauseActivityResponse = await self._services.routing.transact(
            key, PauseActivity(request), call, repeatable=True
        )
        return reply

    @rpc(UnpauseActivityRequest)
    async def UnpauseActivity(
        self, request: UnpauseActivityRequest, namespace: Namespace, call: Call
    ) -> UnpauseActivityResponse:
        key = self._key(request, namespace)
        _check_jitter(request.jitter)
        reply: UnpauseActivityResponse = await self._services.routing.transact(
            key, UnpauseActivity(request), call, repeatable=True
        )
        return reply

    @rpc(ResetActivityRequest)
    async def ResetActivity(
        self, request: ResetActivityRequest, namespace: Namespace, call: Call
    ) -> ResetActivityResponse:
        key = self._key(request, namespace)
        _check_jitter(request.jitter)
        reply: ResetActivityResponse = await self._services.routing.transact(
            key, ResetActivity(request), call, repeatable=False
        )
        return reply

    @rpc(UpdateActivityOptionsRequest)
    async def UpdateActivityOptions(
        self, request: UpdateActivityOptionsRequest, namespace: Namespace, call: Call
    ) -> UpdateActivityOptionsResponse:
        key = self._key(request, namespace)
        check_priority(request.activity_options.priority)
        reply: UpdateActivityOptionsResponse = await self._services.routing.transact(
            key, UpdateActivityOptions(request), call, repeatable=True
        )
        return reply

    @rpc(PauseActivityExecutionRequest)
    async def PauseActivityExecution(
        self, request: PauseActivityExecutionRequest, namespace: Namespace, call: Call
    ) -> PauseActivityExecutionResponse:
        execution = self._execution(request)
        self._check_texts(namespace, "", request.reason)
        one = PauseActivityRequest(
            namespace=request.namespace,
            execution=_of_workflow(request, execution),
            identity=request.identity,
            id=request.activity_id,
            reason=request.reason,
            request_id=request.request_id or new_id(self._services.entropy),
        )
        await self.PauseActivity(one, namespace, call)
        return PauseActivityExecutionResponse()

    @rpc(UnpauseActivityExecutionRequest)
    async def UnpauseActivityExecution(
        self, request: UnpauseActivityExecutionRequest, namespace: Namespace, call: Call
    ) -> UnpauseActivityExecutionResponse:
        execution = self._execution(request)
        _check_jitter(request.jitter)
        one = UnpauseActivityRequest(
            namespace=request.namespace,
            execution=_of_workflow(request, execution),
            identity=request.identity,
            id=request.activity_id,
            jitter=request.jitter,
        )
        await self.UnpauseActivity(one, namespace, call)
        return UnpauseActivityExecutionResponse()

    @rpc(ResetActivityExecutionRequest)
    async def ResetActivityExecution(
        self, request: ResetActivityExecutionRequest, namespace: Namespace, call: Call
    ) -> ResetActivityExecutionResponse:
        execution = self._execution(request)
        _check_jitter(request.jitter)
        one = ResetActivityRequest(
            namespace=request.namespace,
            execution=_of_workflow(request, execution),
            identity=request.identity,
            id=request.activity_id,
            reset_heartbeat=request.reset_heartbeat,
            keep_paused=request.keep_paused,
            jitter=request.jitter,
            restore_original_options=request.restore_original_options,
        )
        await self.ResetActivity(one, namespace, call)
        return ResetActivityExecutionResponse()

    @rpc(UpdateActivityExecutionOptionsRequest)
    async def UpdateActivityExecutionOptions(
        self, request: UpdateActivityExecutionOptionsRequest, namespace: Namespace, call: Call
    ) -> UpdateActivityExecutionOptionsResponse:
        execution = self._execution(request)
        self._check_update(request, self._limits.of(namespace.name))
        one = UpdateActivityOptionsRequest(
            namespace=request.namespace,
            execution=_of_workflow(request, execution),
            identity=request.identity,
            id=request.activity_id,
            restore_original=request.restore_original,
        )
        if not request.restore_original:
            one.activity_options.CopyFrom(request.activity_options)
            one.update_mask.CopyFrom(request.update_mask)
        reply = await self.UpdateActivityOptions(one, namespace, call)
        return UpdateActivityExecutionOptionsResponse(activity_options=reply.activity_options)

    def _key(self, request: _Many, namespace: Namespace) -> ChainKey:
        if not request.execution.workflow_id:
            raise InvalidArgument("WorkflowId is not set on request.")
        if request.WhichOneof("activity") is None:
            raise InvalidArgument("Either Activity.Id or Activity.Type should be set on request.")
        check_run_id(request.execution.run_id)
        check_identity(request.identity, self._limits.of(namespace.name))
        return ChainKey(namespace.id, request.execution.workflow_id)

    def _execution(self, request: _One) -> WorkflowExecution:
        """The workflow that a request of the newer form names, checked with what all of them have."""
        longest = self._limits.of().id_bytes_max
        if not request.activity_id:
            raise InvalidArgument("activity ID is required")
        for name, text in (
            ("request ID", request.request_id),
            ("activity ID", request.activity_id),
            ("identity", request.identity),
        ):
            if too_long(text, longest):
                length = len(text.encode())
                raise InvalidArgument(f"{name} exceeds length limit. Length={length} Limit={longest}")
        if request.run_id and not is_uuid(request.run_id):
            raise InvalidArgument("invalid run id: must be a valid UUID")
        return WorkflowExecution(workflow_id=request.workflow_id, run_id=request.run_id)

    def _check_texts(self, namespace: Namespace, request_id: str, reason: str) -> None:
        if too_long(request_id, self._limits.of().id_bytes_max):
            raise InvalidArgument("RequestId length exceeds limit.")
        if too_long(reason, self._limits.of(namespace.name).blob_bytes_max):
            raise InvalidArgument("reason exceeds length limit")

    def _check_update(self, request: UpdateActivityExecutionOptionsRequest, limits: Limits) -> None:
        paths = request.update_mask.paths
        if paths and request.restore_original:
            raise InvalidArgument("Both UpdateMask and RestoreOriginal are provided")
        if request.restore_original:
            return
        if not request.HasField("activity_options"):
            raise InvalidArgument("ActivityOptions are not provided")
        if not request.HasField("update_mask"):
            raise InvalidArgument("UpdateMask is not provided")
        if not paths:
            raise InvalidArgument("UpdateMask must specify at least one path")
        for path in paths:
            if camel_case(path) not in KNOWN_PATHS:
                raise InvalidArgument(f'unsupported update_mask path: "{path}"')
        given, named = request.activity_options, {camel_case(path) for path in paths}
        if "taskQueue.name" in named:
            if not given.HasField("task_queue"):
                raise InvalidArgument("taskQueue is not set")
            check_task_queue(given.task_queue.name, limits.id_bytes_max)
        if "retryPolicy" in named:
            given.retry_policy.CopyFrom(filled(given.retry_policy, limits, activity=True))
            check(given.retry_policy)


def _of_workflow(request: _One, execution: WorkflowExecution) -> WorkflowExecution:
    if not execution.workflow_id:
        # The address of a standalone activity, of which there are none yet.
        raise NotFound(f"activity not found for ID: {request.activity_id}")
    return execution


def _check_jitter(jitter: Duration) -> None:
    if fault := duration_fault(jitter):
        raise InvalidArgument(f"invalid jitter: {fault}")
