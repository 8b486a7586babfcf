"""Workers as they tell of themselves by heartbeats, and lists of them."""

import msgspec
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerInfo, WorkerListInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    CountWorkersResponse,
    DescribeWorkerRequest,
    DescribeWorkerResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RecordWorkerHeartbeatRequest,
    RecordWorkerHeartbeatResponse,
)

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, WorkerSearch, WorkersFound, registry_of
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services

_SAME = (
    "worker_instance_key",
    "worker_identity",
    "task_queue",
    "sdk_name",
    "sdk_version",
    "status",
)
# Those of one process come together. Empty ones take two bytes, and each becomes an object, here and at matching.
HEARTBEATS_MAX = 1_000


class _Token(msgspec.Struct):
    """Where a page of workers ended: an instance key."""

    after: str


class WorkerCalls:
    """The RPCs about workers."""

    def __init__(self, services: Services) -> None:
        self._routing = services.routing
        self._limits = services.options.limits

    @rpc(RecordWorkerHeartbeatRequest)
    async def RecordWorkerHeartbeat(
        self, request: RecordWorkerHeartbeatRequest, namespace: Namespace, call: Call
    ) -> RecordWorkerHeartbeatResponse:
        if not self._limits.of(namespace.name).worker_heartbeats:
            raise Unimplemented("method RecordWorkerHeartbeat not supported")
        if len(request.worker_heartbeat) > HEARTBEATS_MAX:
            raise InvalidArgument(f"more than {HEARTBEATS_MAX} worker heartbeats in one call")
        beats = list(request.worker_heartbeat)  # the message's own container is of this process
        await self._routing.on_matching(
            registry_of(namespace.id), lambda role: role.record_workers(namespace.id, beats), call.timeout_ns
        )
        return RecordWorkerHeartbeatResponse()

    @rpc(DescribeWorkerRequest, visibility=True)
    async def DescribeWorker(
        self, request: DescribeWorkerRequest, namespace: Namespace, call: Call
    ) -> DescribeWorkerResponse:
        found = await self._find(namespace, WorkerSearch(key=request.worker_instance_key), call)
        beat = WorkerHeartbeat.FromString(found.heartbeats[0])
        return DescribeWorkerResponse(worker_info=WorkerInfo(worker_heartbeat=beat))

    @rpc(ListWorkersRequest, visibility=True)
    async def ListWorkers(self, request: ListWorkersRequest, namespace: Namespace, call: Call) -> ListWorkersResponse:
        """By instance key. Both lists are filled: `workers_info` is the one that older clients read."""
        longest = self._limits.of(namespace.name).list_page_max
        size = request.page_size if 0 < request.page_size <= longest else longest
        search = WorkerSearch(
            query=request.query,
            internal=request.include_system_workers,
            after=_after(request.next_page_token),
            limit=size,
        )
        found = await self._find(namespace, search, call)
        beats = [WorkerHeartbeat.FromString(encoded) for encoded in found.heartbeats]
        response = ListWorkersResponse(
            workers_info=[WorkerInfo(worker_heartbeat=beat) for beat in beats],
            workers=[_listed(beat) for beat in beats],
        )
        if found.more:
            response.next_page_token = msgspec.msgpack.encode(_Token(beats[-1].worker_instance_key))
        return response

    @rpc(CountWorkersRequest, visibility=True)
    async def CountWorkers(
        self, request: CountWorkersRequest, namespace: Namespace, call: Call
    ) -> CountWorkersResponse:
        search = WorkerSearch(query=request.query, internal=request.include_system_workers)
        return CountWorkersResponse(count=(await self._find(namespace, search, call)).total)

    async def _find(self, namespace: Namespace, search: WorkerSearch, call: Call) -> WorkersFound:
        if not self._limits.of(namespace.name).worker_lists:
            raise Unimplemented("method ListWorkers not supported")
        return await self._routing.on_matching(
            registry_of(namespace.id), lambda role: role.find_workers(namespace.id, search), call.timeout_ns
        )


def _after(token: bytes) -> str:
    if not token:
        return ""
    try:
        return msgspec.msgpack.decode(token, type=_Token).after
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidArgument("invalid next_page_token") from None


def _listed(beat: WorkerHeartbeat) -> WorkerListInfo:
    info = WorkerListInfo(
        host_name=beat.host_info.host_name,
        worker_grouping_key=beat.host_info.worker_grouping_key,
        process_id=beat.host_info.process_id,
        plugins=beat.plugins,
        drivers=beat.drivers,
    )
    for field in _SAME:
        setattr(info, field, getattr(beat, field))
    if beat.HasField("start_time"):
        info.start_time.CopyFrom(beat.start_time)
    if beat.HasField("deployment_version"):
        info.deployment_version.CopyFrom(beat.deployment_version)
    return info
