"""What this server is, and what it can do. A capability is true only where everything behind it is there."""

from temporalio.api.workflowservice.v1 import (
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSearchAttributesRequest,
    GetSearchAttributesResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)

from perdure.cluster.roles import Call
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.services import Services
from perdure.visibility.attributes import OWN

# Client -> the versions of it that this API serves; the CLI and the Web UI look themselves up.
_SUPPORTED_CLIENTS = {
    "temporal-cli": "<2.0.0",
    "temporal-go": "<2.0.0",
    "temporal-java": "<2.0.0",
    "temporal-php": "<2.0.0",
    "temporal-server": "<2.0.0",
    "temporal-typescript": "<2.0.0",
    "temporal-ui": "<3.0.0",
}


class System:
    """The RPCs about the server itself."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @rpc(GetSystemInfoRequest, Scope.NONE)
    async def GetSystemInfo(self, _request: GetSystemInfoRequest, _call: Call) -> GetSystemInfoResponse:
        return GetSystemInfoResponse(
            server_version=self._services.options.server_version,
            capabilities=GetSystemInfoResponse.Capabilities(
                signal_and_query_header=True,
                internal_error_differentiation=True,
                activity_failure_include_heartbeat=True,
                encoded_failure_attributes=True,
                upsert_memo=True,
                eager_workflow_start=True,
                sdk_metadata=True,
                count_group_by_execution_status=True,
                # Makes workers say which build they are, also those that don't ask for versioning; those that
                # do poll a part of the queue where no task comes.
                build_id_based_versioning=True,
            ),
        )

    @rpc(GetClusterInfoRequest, Scope.NONE)
    async def GetClusterInfo(self, _request: GetClusterInfoRequest, _call: Call) -> GetClusterInfoResponse:
        options = self._services.options
        return GetClusterInfoResponse(
            supported_clients=_SUPPORTED_CLIENTS,
            server_version=options.server_version,
            cluster_id=options.cluster_id,
            cluster_name=options.cluster_name,
            history_shard_count=options.shards,
            persistence_store=options.persistence_store,
            visibility_store=options.visibility_store,
            initial_failover_version=1,
            failover_version_increment=10,
        )

    @rpc(GetSearchAttributesRequest, Scope.NONE)
    async def GetSearchAttributes(
        self, _request: GetSearchAttributesRequest, _call: Call
    ) -> GetSearchAttributesResponse:
        """The server's own ones: the call names no namespace, and the others belong to one each."""
        return GetSearchAttributesResponse(keys=OWN)
