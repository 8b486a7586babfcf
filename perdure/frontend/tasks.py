"""Workflow tasks: polling, answering, queries handed to workers, sticky queues, the end of a worker."""

import asyncio
import contextlib
from functools import partial

import msgspec
from temporalio.api.enums.v1 import QueryResultType, TaskQueueKind
from temporalio.api.failure.v1 import Failure, ServerFailureInfo
from temporalio.api.taskqueue.v1 import TaskQueueMetadata
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
)

from perdure.base.entropy import new_id
from perdure.base.errors import (
    FailedPrecondition,
    HostUnreachable,
    InvalidArgument,
    PerdureError,
    QueueSpread,
    Refused,
    Unavailable,
    Unimplemented,
)
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, MatchingRole, Poll, registry_of
from perdure.cluster.routed import Timed
from perdure.frontend.checks import check_execution, check_identity, check_instance_key, fill_queue, refuse_versioned
from perdure.frontend.failures import failure_within
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.polls import poll_time_ns
from perdure.frontend.services import Services
from perdure.frontend.spreads import Spreads
from perdure.frontend.worker_versions import PollRequest, polled_version
from perdure.workflow.requests import CompleteWorkflowTask, FailWorkflowTask, ResetSticky
from perdure.workflow.task_queue_names import check_task_queue
from perdure.workflow.tasks import QueueKey, QueueKind
from perdure.workflow.tokens import QueryToken, TaskToken

_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_KINDS = frozenset(map(int, QueueKind))
_REFUSALS_MAX = 4
# A matching host ends polls in memory, and has others do so for a moment; or half of what the caller has.
_END_S = 5.0
_RATE_MAX = 1e9  # no machine hands out more: a higher rate is no limit


class Tasks:
    """The RPCs of workers, besides those of activities' results."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits
        self._polls = services.polls
        self._spreads = Spreads(services.entropy)
        self._name = new_id(services.entropy)
        self._count = 0

    @rpc(PollWorkflowTaskQueueRequest)
    async def PollWorkflowTaskQueue(
        self, request: PollWorkflowTaskQueueRequest, namespace: Namespace, call: Call
    ) -> bytes:
        limits = self._limits.of(namespace.name, request.task_queue.name, "Workflow")
        timeout_ns = poll_time_ns(call, limits, self._services.entropy)
        check_identity(request.identity, limits)
        check_instance_key(request.worker_instance_key, limits)
        version = polled_version(request)
        fill_queue(request, limits, user_defined=False)
        queue = request.task_queue
        poll = Poll(
            QueueKey(namespace.id, queue.name, QueueKind.WORKFLOW, version),
            request.identity,
            timeout_ns,
            normal_queue=queue.normal_name if queue.kind == _STICKY else "",
            worker_instance_key=request.worker_instance_key,
            capabilities=_encoded(request, "worker_version_capabilities"),
            deployment_options=_encoded(request, "deployment_options"),
        )
        return await self._poll(poll, call)

    @rpc(PollActivityTaskQueueRequest)
    async def PollActivityTaskQueue(
        self, request: PollActivityTaskQueueRequest, namespace: Namespace, call: Call
    ) -> bytes:
        limits = self._limits.of(namespace.name, request.task_queue.name, "Activity")
        timeout_ns = poll_time_ns(call, limits, self._services.entropy)
        fill_queue(request, limits, user_defined=False)
        check_identity(request.identity, limits)
        check_instance_key(request.worker_instance_key, limits)
        version = polled_version(request)
        poll = Poll(
            QueueKey(namespace.id, request.task_queue.name, QueueKind.ACTIVITY, version),
            request.identity,
            timeout_ns,
            worker_instance_key=request.worker_instance_key,
            max_tasks_per_second=_rate(request.task_queue_metadata),
            capabilities=_encoded(request, "worker_version_capabilities"),
            deployment_options=_encoded(request, "deployment_options"),
        )
        return await self._poll(poll, call)

    @rpc(PollNexusTaskQueueRequest)
    async def PollNexusTaskQueue(self, request: PollNexusTaskQueueRequest, namespace: Namespace, call: Call) -> bytes:
        """No task ever comes, as there are no endpoints yet; a worker with handlers waits, and is let go, like any."""
        limits = self._limits.of(namespace.name, request.task_queue.name)
        timeout_ns = poll_time_ns(call, limits, self._services.entropy)
        fill_queue(request, limits, user_defined=False)
        check_identity(request.identity, limits)
        check_instance_key(request.worker_instance_key, limits)
        poll = Poll(
            QueueKey(namespace.id, request.task_queue.name, QueueKind.NEXUS, polled_version(request)),
            request.identity,
            timeout_ns,
            worker_instance_key=request.worker_instance_key,
            capabilities=_encoded(request, "worker_version_capabilities"),
            deployment_options=_encoded(request, "deployment_options"),
        )
        return await self._poll(poll, call)

    async def _poll(self, poll: Poll, call: Call) -> bytes:
        """Wait at whoever has the partition, and go with it when it moves. A poll that was lost with its host is no
        other than one that was never made: the task that it may have got will time out.
        """
        timed = Timed(call)
        self._count += 1
        poll = msgspec.structs.replace(poll, id=f"{self._name}-{self._count}")

        async def wait(role: MatchingRole, placed: Poll) -> bytes | QueueSpread:
            rest = timed.poll(placed)
            try:
                return await role.poll(rest, timed.call()) if rest is not None else b""
            except QueueSpread as elsewhere:
                return elsewhere

        async def follow() -> bytes:
            refusals = 0
            while True:
                placed = self._placed(poll, refusals)
                self._polls.place(placed)
                left_ns = max(1, poll.timeout_ns - timed.spent_ns)
                answer = await self._services.routing.on_matching(
                    placed.partition, partial(wait, placed=placed), left_ns
                )
                if not isinstance(answer, QueueSpread):
                    return answer
                self._spreads.learn(poll.partition, answer.partitions)
                refusals += 1

        return await self._polls.wait(follow)

    def _placed(self, poll: Poll, refusals: int) -> Poll:
        """The poll at one of its queue's partitions; at the root, which then serves it, if they change too often."""
        if poll.normal_queue or poll.partition.kind == QueueKind.NEXUS or refusals >= _REFUSALS_MAX:
            return poll
        return self._spreads.place(poll)

    @rpc(RespondWorkflowTaskCompletedRequest, Scope.TASK)
    async def RespondWorkflowTaskCompleted(
        self, request: RespondWorkflowTaskCompletedRequest, namespace: Namespace, token: TaskToken, call: Call
    ) -> bytes:
        limits = self._limits.of(namespace.name)
        check_identity(request.identity, limits)
        if sticky := request.sticky_attributes.worker_task_queue.name:
            check_task_queue(sticky, limits.id_bytes_max)  # offers and index rows have it in their keys
        refuse_versioned(request.deployment_options, request.worker_version_stamp.use_versioning)
        if request.intermediate_page or request.page_number:
            raise FailedPrecondition("Workflow task completions in several pages are not enabled for this namespace.")
        key = ChainKey(namespace.id, token.workflow_id)
        completion = CompleteWorkflowTask(token, request)
        return await self._services.routing.on_history(
            key, lambda role, rest: role.complete_workflow_task(key, completion, rest), call, repeatable=False
        )

    @rpc(RespondWorkflowTaskFailedRequest, Scope.TASK)
    async def RespondWorkflowTaskFailed(
        self, request: RespondWorkflowTaskFailedRequest, namespace: Namespace, token: TaskToken, call: Call
    ) -> RespondWorkflowTaskFailedResponse:
        check_identity(request.identity, self._limits.of(namespace.name))
        refuse_versioned(request.deployment_options, request.worker_version.use_versioning)
        if request.messages:
            raise Unimplemented("RespondWorkflowTaskFailedRequest.messages is not supported yet")
        if request.HasField("failure"):
            within = failure_within(request.failure, self._limits.of(namespace.name))
            if within is not request.failure:
                request.failure.CopyFrom(within)
        key = ChainKey(namespace.id, token.workflow_id)
        failed = FailWorkflowTask(token, request)
        reply: RespondWorkflowTaskFailedResponse | None = await self._services.routing.transact(
            key, failed, call, repeatable=False
        )
        return reply or RespondWorkflowTaskFailedResponse()

    @rpc(RespondQueryTaskCompletedRequest, Scope.QUERY)
    async def RespondQueryTaskCompleted(
        self, request: RespondQueryTaskCompletedRequest, namespace: Namespace, token: QueryToken, call: Call
    ) -> RespondQueryTaskCompletedResponse:
        if not token.task_queue or not token.query_id:
            raise InvalidArgument("Invalid TaskToken.")
        if request.query_result.ByteSize() > self._limits.of(namespace.name).blob_bytes_max:
            request = RespondQueryTaskCompletedRequest(
                task_token=request.task_token,
                completed_type=QueryResultType.QUERY_RESULT_TYPE_FAILED,
                error_message="Blob data size exceeds limit.",
                failure=Failure(
                    message="Blob data size exceeds limit.", server_failure_info=ServerFailureInfo(non_retryable=True)
                ),
            )
        partition = QueueKey(namespace.id, token.task_queue, QueueKind.WORKFLOW)
        await self._services.routing.on_matching(
            partition, lambda role: role.answer_query(token, request), call.timeout_ns, repeatable=False
        )
        return RespondQueryTaskCompletedResponse()

    @rpc(ResetStickyTaskQueueRequest)
    async def ResetStickyTaskQueue(
        self, request: ResetStickyTaskQueueRequest, namespace: Namespace, call: Call
    ) -> ResetStickyTaskQueueResponse:
        check_execution(request, "execution")
        key = ChainKey(namespace.id, request.execution.workflow_id)
        reset = ResetSticky(request.execution.run_id)
        reply: ResetStickyTaskQueueResponse | None = await self._services.routing.transact(
            key, reset, call, repeatable=True
        )
        return reply or ResetStickyTaskQueueResponse()

    @rpc(ShutdownWorkerRequest)
    async def ShutdownWorker(
        self, request: ShutdownWorkerRequest, namespace: Namespace, call: Call
    ) -> ShutdownWorkerResponse:
        """Every owner of a partition that the worker may be polling ends its polls."""
        check_instance_key(request.worker_instance_key, self._limits.of(namespace.name))
        kinds = [QueueKind(kind) for kind in _KINDS.intersection(request.task_queue_types)] or list(QueueKind)
        partitions = [QueueKey(namespace.id, request.task_queue, kind) for kind in kinds]
        if request.sticky_task_queue:
            partitions.append(QueueKey(namespace.id, request.sticky_task_queue, QueueKind.WORKFLOW))
        owners = {id(role): role for role in map(self._services.directory.matching, partitions)}
        timed = Timed(call)
        limit_s = timed.part_s(_END_S)
        faults = await asyncio.gather(*(_end_polls(role, namespace.id, request, limit_s) for role in owners.values()))
        if request.HasField("worker_heartbeat") and self._limits.of(namespace.name).worker_heartbeats:
            last = [request.worker_heartbeat]
            with contextlib.suppress(Refused):  # the worker goes anyway, and is forgotten in time
                await self._services.routing.on_matching(
                    registry_of(namespace.id),
                    lambda role: role.record_workers(namespace.id, last),
                    timed.call().timeout_ns,
                )
        for fault in filter(None, faults):
            raise fault
        return ShutdownWorkerResponse()


async def _end_polls(
    role: MatchingRole, namespace_id: str, request: ShutdownWorkerRequest, limit_s: float
) -> PerdureError | None:
    """Have the worker's polls at one owner ended; why that may not be done."""
    try:
        async with asyncio.timeout(limit_s):
            await role.end_polls(namespace_id, request.worker_instance_key, request.sticky_task_queue)
    except TimeoutError:
        return Unavailable("A host that may have polls of the worker has not answered.")
    except HostUnreachable:
        return None  # there are no polls at a host that isn't there
    except PerdureError as error:
        return error
    return None


def _encoded(request: PollRequest, field: str) -> bytes:
    if not request.HasField(field):  # type: ignore[arg-type]  # the stubs list the names
        return b""
    encoded: bytes = getattr(request, field).SerializeToString()
    return encoded


def _rate(metadata: TaskQueueMetadata) -> float | None:
    """The queue's rate that a worker asks for, in tasks a second; None = as fast as may be."""
    if not metadata.HasField("max_tasks_per_second"):
        return None
    rate = metadata.max_tasks_per_second.value
    if not rate >= 0:  # NaN is neither
        raise InvalidArgument(f"MaxTasksPerSecond is not a rate: {rate}")
    return rate if rate < _RATE_MAX else None
