"""Activities: heartbeats and results, by task token and by id.

What is too large to store fails the activity instead, so that a worker doesn't report it again and again.
"""

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payloads, WorkerVersionStamp
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)

from perdure.base.errors import InvalidArgument, NotFound
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import check_identity, check_run_id
from perdure.frontend.failures import (
    CANCEL_DETAILS_TOO_LARGE,
    HEARTBEAT_TOO_LARGE,
    RESULT_TOO_LARGE,
    failure_within,
    too_large,
)
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.services import Services
from perdure.workflow.durations import duration_fault
from perdure.workflow.requests import (
    ActivityRef,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    HeartbeatRecorded,
)
from perdure.workflow.tokens import TaskToken

_Addressed = (
    RecordActivityTaskHeartbeatByIdRequest
    | RespondActivityTaskCanceledByIdRequest
    | RespondActivityTaskCompletedByIdRequest
    | RespondActivityTaskFailedByIdRequest
)


class Activities:
    """The RPCs with which workers report on activities. Each form by id is the form by token with another address."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(RecordActivityTaskHeartbeatRequest, Scope.TASK)
    async def RecordActivityTaskHeartbeat(
        self, request: RecordActivityTaskHeartbeatRequest, namespace: Namespace, token: TaskToken, call: Call
    ) -> RecordActivityTaskHeartbeatResponse:
        key, ref = _by_token(namespace, token)
        recorded = await self._heartbeat(key, ref, request, call)
        return RecordActivityTaskHeartbeatResponse(
            cancel_requested=recorded.cancel_requested,
            activity_paused=recorded.activity_paused,
            activity_reset=recorded.activity_reset,
        )

    @rpc(RecordActivityTaskHeartbeatByIdRequest)
    async def RecordActivityTaskHeartbeatById(
        self, request: RecordActivityTaskHeartbeatByIdRequest, namespace: Namespace, call: Call
    ) -> RecordActivityTaskHeartbeatByIdResponse:
        key, ref = _by_id(namespace, request)
        recorded = await self._heartbeat(key, ref, request, call)
        return RecordActivityTaskHeartbeatByIdResponse(
            cancel_requested=recorded.cancel_requested,
            activity_paused=recorded.activity_paused,
            activity_reset=recorded.activity_reset,
        )

    async def _heartbeat(
        self,
        key: ChainKey,
        ref: ActivityRef,
        request: RecordActivityTaskHeartbeatRequest | RecordActivityTaskHeartbeatByIdRequest,
        call: Call,
    ) -> HeartbeatRecorded:
        if self._is_too_large(key, request.details):
            await self._fail(key, ref, too_large(HEARTBEAT_TOO_LARGE), request.identity, call)
            return HeartbeatRecorded(cancel_requested=True)
        details = request.details if request.HasField("details") else None
        heartbeat = HeartbeatActivity(ref, details, request.identity)
        recorded: HeartbeatRecorded = await self._services.routing.transact(key, heartbeat, call, repeatable=True)
        return recorded

    @rpc(RespondActivityTaskCompletedRequest, Scope.TASK)
    async def RespondActivityTaskCompleted(
        self, request: RespondActivityTaskCompletedRequest, namespace: Namespace, token: TaskToken, call: Call
    ) -> RespondActivityTaskCompletedResponse:
        check_identity(request.identity, self._limits.of(namespace.name))
        key, ref = _by_token(namespace, token)
        await self._complete(key, ref, request, _stamp(request), call)
        return RespondActivityTaskCompletedResponse()

    @rpc(RespondActivityTaskCompletedByIdRequest)
    async def RespondActivityTaskCompletedById(
        self, request: RespondActivityTaskCompletedByIdRequest, namespace: Namespace, call: Call
    ) -> RespondActivityTaskCompletedByIdResponse:
        key, ref = self._identified(namespace, request)
        await self._complete(key, ref, request, None, call)
        return RespondActivityTaskCompletedByIdResponse()

    async def _complete(
        self,
        key: ChainKey,
        ref: ActivityRef,
        request: RespondActivityTaskCompletedRequest | RespondActivityTaskCompletedByIdRequest,
        stamp: WorkerVersionStamp | None,
        call: Call,
    ) -> None:
        if self._is_too_large(key, request.result):
            await self._fail(key, ref, too_large(RESULT_TOO_LARGE), request.identity, call)
            return
        result = request.result if request.HasField("result") else None
        completed = CompleteActivity(ref, result, request.identity, stamp)
        await self._services.routing.transact(key, completed, call, repeatable=False)

    @rpc(RespondActivityTaskFailedRequest, Scope.TASK)
    async def RespondActivityTaskFailed(
        self, request: RespondActivityTaskFailedRequest, namespace: Namespace, token: TaskToken, call: Call
    ) -> RespondActivityTaskFailedResponse:
        if request.HasField("failure") and not request.failure.HasField("application_failure_info"):
            raise InvalidArgument("Failure must have ApplicationFailureInfo.")
        _check_delays(request.failure)
        check_identity(request.identity, self._limits.of(namespace.name))
        key, ref = _by_token(namespace, token)
        return RespondActivityTaskFailedResponse(failures=await self._report(key, ref, request, _stamp(request), call))

    @rpc(RespondActivityTaskFailedByIdRequest)
    async def RespondActivityTaskFailedById(
        self, request: RespondActivityTaskFailedByIdRequest, namespace: Namespace, call: Call
    ) -> RespondActivityTaskFailedByIdResponse:
        key, ref = self._identified(namespace, request)
        _check_delays(request.failure)
        return RespondActivityTaskFailedByIdResponse(failures=await self._report(key, ref, request, None, call))

    async def _report(
        self,
        key: ChainKey,
        ref: ActivityRef,
        request: RespondActivityTaskFailedRequest | RespondActivityTaskFailedByIdRequest,
        stamp: WorkerVersionStamp | None,
        call: Call,
    ) -> list[Failure]:
        """Fail the attempt; what had to be left out of the report."""
        left_out: list[Failure] = []
        details = request.last_heartbeat_details if request.HasField("last_heartbeat_details") else None
        if details is not None and self._is_too_large(key, details):
            left_out.append(too_large(HEARTBEAT_TOO_LARGE))
            details = None
        failure = failure_within(request.failure, self._limits_of(key))
        if failure is not request.failure:
            left_out.append(failure)
        await self._fail(key, ref, failure, request.identity, call, details, stamp)
        return left_out

    async def _fail(
        self,
        key: ChainKey,
        ref: ActivityRef,
        failure: Failure,
        identity: str,
        call: Call,
        details: Payloads | None = None,
        stamp: WorkerVersionStamp | None = None,
    ) -> None:
        failed = FailActivity(ref, failure, identity, details, stamp)
        await self._services.routing.transact(key, failed, call, repeatable=False)

    @rpc(RespondActivityTaskCanceledRequest, Scope.TASK)
    async def RespondActivityTaskCanceled(
        self, request: RespondActivityTaskCanceledRequest, namespace: Namespace, token: TaskToken, call: Call
    ) -> RespondActivityTaskCanceledResponse:
        check_identity(request.identity, self._limits.of(namespace.name))
        key, ref = _by_token(namespace, token)
        await self._cancel(key, ref, request, _stamp(request), call)
        return RespondActivityTaskCanceledResponse()

    @rpc(RespondActivityTaskCanceledByIdRequest)
    async def RespondActivityTaskCanceledById(
        self, request: RespondActivityTaskCanceledByIdRequest, namespace: Namespace, call: Call
    ) -> RespondActivityTaskCanceledByIdResponse:
        key, ref = self._identified(namespace, request)
        await self._cancel(key, ref, request, None, call)
        return RespondActivityTaskCanceledByIdResponse()

    async def _cancel(
        self,
        key: ChainKey,
        ref: ActivityRef,
        request: RespondActivityTaskCanceledRequest | RespondActivityTaskCanceledByIdRequest,
        stamp: WorkerVersionStamp | None,
        call: Call,
    ) -> None:
        if self._is_too_large(key, request.details):
            await self._fail(key, ref, too_large(CANCEL_DETAILS_TOO_LARGE), request.identity, call)
            return
        details = request.details if request.HasField("details") else None
        canceled = CancelActivity(ref, details, request.identity, stamp)
        await self._services.routing.transact(key, canceled, call, repeatable=False)

    def _is_too_large(self, key: ChainKey, message: Message) -> bool:
        return message.ByteSize() > self._limits_of(key).blob_bytes_max

    def _limits_of(self, key: ChainKey) -> Limits:
        return self._limits.of(self._services.namespaces.name_of(key.namespace_id))

    def _identified(self, namespace: Namespace, request: _Addressed) -> tuple[ChainKey, ActivityRef]:
        if not request.activity_id:
            raise InvalidArgument("ActivityId is not set on request.")
        check_identity(request.identity, self._limits.of(namespace.name))
        return _by_id(namespace, request)


def _by_token(namespace: Namespace, token: TaskToken) -> tuple[ChainKey, ActivityRef]:
    return ChainKey(namespace.id, token.workflow_id), ActivityRef(token=token)


def _by_id(namespace: Namespace, request: _Addressed) -> tuple[ChainKey, ActivityRef]:
    if not request.activity_id:
        raise InvalidArgument("ActivityId is not set on request.")
    if not request.workflow_id:
        # The address of a standalone activity, of which there are none yet.
        raise NotFound(f"activity not found for ID: {request.activity_id}")
    check_run_id(request.run_id)
    ref = ActivityRef(run_id=request.run_id, activity_id=request.activity_id)
    return ChainKey(namespace.id, request.workflow_id), ref


def _stamp(
    request: RespondActivityTaskCompletedRequest
    | RespondActivityTaskFailedRequest
    | RespondActivityTaskCanceledRequest,
) -> WorkerVersionStamp | None:
    return request.worker_version if request.HasField("worker_version") else None


def _check_delays(failure: Failure) -> None:
    """The delay before the next attempt, anywhere in the chain of causes."""
    while True:
        info = failure.application_failure_info
        if failure.HasField("application_failure_info") and info.HasField("next_retry_delay"):
            delay = info.next_retry_delay
            if abs(delay.nanos) > 999_999_999 or duration_fault(delay).startswith("duration has"):
                raise InvalidArgument(f"NextRetryDelay is not a valid duration: {duration_fault(delay) or delay.nanos}")
        if not failure.HasField("cause"):
            return
        failure = failure.cause
