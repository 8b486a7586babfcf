"""Changing a namespace: what an update may set, and deprecation.

Source: `service/frontend/namespace_handler.go`. Invariant: an update is all or nothing; what is empty in it stays as it
was. Refuses what is between clusters, and by name what this server can't carry out.
"""

import re
from collections.abc import Mapping

import msgspec
from temporalio.api.enums.v1 import ArchivalState, IndexedValueType, NamespaceState, ReplicationState
from temporalio.api.namespace.v1 import UpdateNamespaceInfo
from temporalio.api.replication.v1 import NamespaceReplicationConfig
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DeprecateNamespaceResponse,
    UpdateNamespaceRequest,
    UpdateNamespaceResponse,
)

from perdure.base.clock import from_duration
from perdure.base.errors import InvalidArgument, NamespaceNotFound, Unimplemented
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.namespaces import RETENTION_NS_MIN, check_size, described
from perdure.frontend.services import Services
from perdure.visibility.attributes import is_reserved, type_name
from perdure.workflow.durations import duration_fault

_REGISTERED = NamespaceState.NAMESPACE_STATE_REGISTERED
_DEPRECATED = NamespaceState.NAMESPACE_STATE_DEPRECATED
_DELETED = NamespaceState.NAMESPACE_STATE_DELETED
# `Keyword01`: a field that other servers have ready for a custom attribute of its type.
_FIELD = re.compile(r"([A-Za-z]+)\d\d")
_TYPES = {type_name(kind): kind for kind in IndexedValueType.values() if kind}


class NamespaceUpdates:
    """The RPCs that change a namespace."""

    def __init__(self, services: Services) -> None:
        self._namespaces = services.namespaces
        self._options = services.options

    @rpc(UpdateNamespaceRequest, Scope.NONE)
    async def UpdateNamespace(self, request: UpdateNamespaceRequest, _call: Call) -> UpdateNamespaceResponse:
        _check_named(request.namespace)
        _refuse_unknown(request)
        namespace = await self._namespaces.change(request.namespace, lambda before: self._updated(before, request))
        shown = described(namespace, self._options)
        return UpdateNamespaceResponse(
            namespace_info=shown.namespace_info, config=shown.config, replication_config=shown.replication_config
        )

    @rpc(DeprecateNamespaceRequest, Scope.NONE)
    async def DeprecateNamespace(self, request: DeprecateNamespaceRequest, _call: Call) -> DeprecateNamespaceResponse:
        _check_named(request.namespace)
        await self._namespaces.change(
            request.namespace, lambda before: msgspec.structs.replace(before, state=int(_DEPRECATED))
        )
        return DeprecateNamespaceResponse()

    def _updated(self, before: Namespace, request: UpdateNamespaceRequest) -> Namespace:
        if before.state == _DELETED:
            raise NamespaceNotFound(before.name)
        after = _with_info(before, request.update_info)
        config = request.config
        if config.HasField("workflow_execution_retention_ttl"):
            retention = config.workflow_execution_retention_ttl
            if duration_fault(retention) or from_duration(retention) < RETENTION_NS_MIN:
                raise InvalidArgument("A valid retention period is not set on request.")
            after = msgspec.structs.replace(after, retention_ns=from_duration(retention))
        if config.custom_search_attribute_aliases:
            after = _with_aliases(after, config.custom_search_attribute_aliases)
        if request.delete_bad_binary:
            raise InvalidArgument(f"Bad binary checksum {request.delete_bad_binary} doesn't exists.")
        self._check_replication(before, request)
        check_size(after, self._options.limits.of(before.name))
        return after

    def _check_replication(self, namespace: Namespace, request: UpdateNamespaceRequest) -> None:
        """A local namespace is active in its one cluster, and stays so."""
        config: NamespaceReplicationConfig = request.replication_config
        if config.state not in (
            ReplicationState.REPLICATION_STATE_UNSPECIFIED,
            ReplicationState.REPLICATION_STATE_NORMAL,
        ):
            if namespace.state != _REGISTERED:
                raise InvalidArgument(
                    "update ReplicationState is only supported when namespace is in Registered state, "
                    "current state: Deprecated"
                )
            raise InvalidArgument("Handover can only be set for global namespace")
        own = self._options.cluster_name
        clusters = [cluster.cluster_name for cluster in config.clusters]
        for name in (config.active_cluster_name or own, *clusters):
            if name != own:
                raise InvalidArgument(f"Invalid cluster name: {name}")
        if request.promote_namespace:
            raise InvalidArgument(
                "global namespace is not enabled on this cluster, "
                f"cannot update global namespace or promote local namespace: {namespace.name}"
            )
        if len(clusters) > 1:
            raise InvalidArgument("Invalid local namespace clusters")


def _check_named(name: str) -> None:
    if not name:
        raise InvalidArgument("Namespace not set on request.")


def _refuse_unknown(request: UpdateNamespaceRequest) -> None:
    enabled = ArchivalState.ARCHIVAL_STATE_ENABLED
    config = request.config
    refused = {
        "config.history_archival_state": config.history_archival_state == enabled,
        "config.visibility_archival_state": config.visibility_archival_state == enabled,
        "config.bad_binaries": bool(config.bad_binaries.binaries),
        "update_info.state DELETED": request.update_info.state == _DELETED,
    }
    for field, is_set in refused.items():
        if is_set:
            raise Unimplemented(f"UpdateNamespaceRequest.{field} is not supported yet")


def _with_info(namespace: Namespace, info: UpdateNamespaceInfo) -> Namespace:
    if info.state and info.state != namespace.state and (namespace.state, info.state) != (_REGISTERED, _DEPRECATED):
        raise InvalidArgument("Invalid namespace state update.")
    return msgspec.structs.replace(
        namespace,
        description=info.description or namespace.description,
        owner_email=info.owner_email or namespace.owner_email,
        data=namespace.data | dict(info.data),
        state=int(info.state) or namespace.state,
    )


def _with_aliases(namespace: Namespace, aliases: Mapping[str, str]) -> Namespace:
    """A name for a field is a custom search attribute of the field's type; no name takes it away again."""
    attributes, known = dict(namespace.search_attributes), dict(namespace.aliases)
    for field, alias in sorted(aliases.items()):
        if not alias:
            attributes.pop(known.pop(field, ""), None)
            continue
        if alias in attributes:
            continue
        if field in known:
            raise InvalidArgument("Custom search attribute field name already allocated.")
        match = _FIELD.fullmatch(field)
        if match is None or match[1] not in _TYPES:
            raise InvalidArgument(f"Unknown search attribute field: {field}.")
        if is_reserved(alias):
            raise InvalidArgument(f"Search attribute {alias} is reserved by system.")
        attributes[alias] = int(_TYPES[match[1]])
        known[field] = alias
    return msgspec.structs.replace(namespace, search_attributes=attributes, aliases=known)
