"""Namespaces: register, describe, list."""

import msgspec
from temporalio.api.enums.v1 import ArchivalState, ReplicationState
from temporalio.api.namespace.v1 import BadBinaries, NamespaceConfig, NamespaceInfo
from temporalio.api.replication.v1 import ClusterReplicationConfig, NamespaceReplicationConfig
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    ListNamespacesRequest,
    ListNamespacesResponse,
    RegisterNamespaceRequest,
    RegisterNamespaceResponse,
)

from perdure.base.clock import SECOND_NS, from_duration, to_duration
from perdure.base.entropy import new_id
from perdure.base.errors import InvalidArgument, NamespaceAlreadyExists, Unimplemented
from perdure.base.limits import Limits
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import too_long
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.services import FrontendOptions, Services
from perdure.workflow.durations import duration_fault

RETENTION_NS_MIN = 3_600 * SECOND_NS
# The reference's own namespace: clients of clusters know the name, so nobody may have it.
RESERVED = frozenset({"temporal-system"})
_PAGE = 100
_PAGE_BYTES_MAX = 1 << 20  # of the first one only if it is that large alone


class NamespaceCalls:
    """The RPCs about namespaces."""

    def __init__(self, services: Services) -> None:
        self._namespaces = services.namespaces
        self._entropy = services.entropy
        self._options = services.options

    @rpc(RegisterNamespaceRequest, Scope.NONE)
    async def RegisterNamespace(self, request: RegisterNamespaceRequest, _call: Call) -> RegisterNamespaceResponse:
        self._check(request)
        namespace = Namespace(
            id=new_id(self._entropy),
            name=request.namespace,
            retention_ns=from_duration(request.workflow_execution_retention_period),
            description=request.description,
            owner_email=request.owner_email,
            data=dict(request.data),
        )
        check_size(namespace, self._options.limits.of())
        taken = NamespaceAlreadyExists(f'Namespace "{request.namespace}" already exists')
        if request.namespace in RESERVED:
            raise taken
        try:
            await self._namespaces.register(namespace)
        except NamespaceAlreadyExists:
            raise taken from None
        return RegisterNamespaceResponse()

    def _check(self, request: RegisterNamespaceRequest) -> None:
        if not request.namespace:
            raise InvalidArgument("Namespace not set on request.")
        if too_long(request.namespace, self._options.limits.of().id_bytes_max):
            raise InvalidArgument("Namespace length exceeds limit.")
        if request.is_global_namespace:
            raise InvalidArgument("Cannot register global namespace when not enabled")
        retention = request.workflow_execution_retention_period
        if duration_fault(retention) or from_duration(retention) < RETENTION_NS_MIN:
            raise InvalidArgument("A valid retention period is not set on request.")
        names = [request.active_cluster_name, *(cluster.cluster_name for cluster in request.clusters)]
        for name in names:
            if name not in ("", self._options.cluster_name):
                raise InvalidArgument(f"Invalid cluster name: {name}")
        enabled = ArchivalState.ARCHIVAL_STATE_ENABLED
        if enabled in (request.history_archival_state, request.visibility_archival_state):
            raise Unimplemented("RegisterNamespaceRequest.history_archival_state is not supported yet")

    @rpc(DescribeNamespaceRequest, Scope.NONE)
    async def DescribeNamespace(self, request: DescribeNamespaceRequest, _call: Call) -> DescribeNamespaceResponse:
        if request.namespace:
            namespace = await self._namespaces.by_name(request.namespace)
        elif request.id:
            namespace = await self._namespaces.by_id(request.id)
        else:
            raise InvalidArgument("Namespace not set on request.")
        return described(namespace, self._options)

    @rpc(ListNamespacesRequest, Scope.NONE)
    async def ListNamespaces(self, request: ListNamespacesRequest, _call: Call) -> ListNamespacesResponse:
        """By name; the token is the last name of the page before."""
        size = request.page_size if request.page_size > 0 else _PAGE
        after = request.next_page_token.decode(errors="replace")
        found = [one for one in await self._namespaces.list() if one.name > after]
        page: list[DescribeNamespaceResponse] = []
        taken = 0
        for namespace in found[:size]:
            shown = described(namespace, self._options)
            taken += shown.ByteSize()
            if page and taken > _PAGE_BYTES_MAX:
                break
            page.append(shown)
        more = found[len(page) - 1].name.encode() if len(found) > len(page) else b""
        return ListNamespacesResponse(namespaces=page, next_page_token=more)


def check_size(namespace: Namespace, limits: Limits) -> None:
    """Raises InvalidArgument for one that is too large to be kept; every caller's caller pays for it."""
    if len(msgspec.msgpack.encode(namespace)) > limits.blob_bytes_max:
        raise InvalidArgument("Namespace data size exceeds limit.")


def described(namespace: Namespace, options: FrontendOptions) -> DescribeNamespaceResponse:
    """A namespace as the API shows it."""
    limits, cluster = options.limits.of(namespace.name), options.cluster_name
    return DescribeNamespaceResponse(
        namespace_info=NamespaceInfo(
            name=namespace.name,
            state=namespace.state,  # type: ignore[arg-type]  # a stored number of the enum
            description=namespace.description,
            owner_email=namespace.owner_email,
            data=namespace.data,
            id=namespace.id,
            capabilities=NamespaceInfo.Capabilities(
                sync_update=limits.updates,
                async_update=limits.updates and limits.updates_async_accepted,
                worker_poll_complete_on_shutdown=True,
                poller_autoscaling=True,
                eager_workflow_start=limits.eager_starts,
                worker_heartbeats=limits.worker_heartbeats,
                workflow_pause=limits.workflow_pause,
            ),
            limits=NamespaceInfo.Limits(
                blob_size_limit_error=limits.blob_bytes_max,
                memo_size_limit_error=limits.memo_bytes_max,
                workflow_task_completion_size_limit_error=options.receive_bytes_max,
            ),
        ),
        config=NamespaceConfig(
            workflow_execution_retention_ttl=to_duration(namespace.retention_ns),
            bad_binaries=BadBinaries(),
            custom_search_attribute_aliases=namespace.aliases,
            history_archival_state=ArchivalState.ARCHIVAL_STATE_DISABLED,
            visibility_archival_state=ArchivalState.ARCHIVAL_STATE_DISABLED,
        ),
        replication_config=NamespaceReplicationConfig(
            active_cluster_name=cluster,
            clusters=[ClusterReplicationConfig(cluster_name=cluster)],
            state=ReplicationState.REPLICATION_STATE_NORMAL,
        ),
    )
