"""Namespaces: what can be changed afterwards."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import namespace_pb2 as states
from temporalio.api.namespace.v1 import message_pb2 as ns
from temporalio.api.replication.v1 import message_pb2 as replication
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.payloads import duration
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session
from tests.conformance.harness.waiting import until
from tests.conformance.scenarios.namespaces import NAMESPACE_RULES

DAY = 86_400


async def _registered(s: Session, **fields: Any) -> None:
    plain: dict[str, Any] = {"namespace": s.unique("ns"), "workflow_execution_retention_period": duration(3 * DAY)}
    await s.quiet(ws.RegisterNamespaceRequest(**{**plain, **fields}))


def _update(s: Session, **fields: Any) -> ws.UpdateNamespaceRequest:
    return ws.UpdateNamespaceRequest(**{"namespace": s.unique("ns"), **fields})


async def _describe(s: Session) -> None:
    await s.attempt(ws.DescribeNamespaceRequest(namespace=s.unique("ns")))


async def _refused(s: Session) -> bool:
    try:
        await s.quiet(s.start_request(s.unique("probe"), namespace=s.unique("ns")))
    except CallFailed:
        return True
    return False


@scenario(rules=NAMESPACE_RULES)
async def namespace_updated(s: Session) -> None:
    """Description, owner and data; data is merged, and what is empty stays as it was."""
    await _registered(s, description="before", owner_email="a@b.example", data={"a": "1", "b": "2"})
    info = ns.UpdateNamespaceInfo(description="after", data={"b": "3", "c": "4"})
    await s.attempt(_update(s, update_info=info))
    await s.attempt(_update(s, update_info=ns.UpdateNamespaceInfo(owner_email="c@d.example")))
    await s.attempt(_update(s))
    await _describe(s)


@scenario(rules=NAMESPACE_RULES)
async def namespace_retention_changed(s: Session) -> None:
    """Retention, as short as a registration may set it."""
    await _registered(s)
    for seconds in (7 * DAY, DAY, 3_600, 60, 0, -1):
        config = ns.NamespaceConfig(workflow_execution_retention_ttl=duration(seconds))
        await s.attempt(_update(s, config=config))
    await _describe(s)


@scenario(rules=NAMESPACE_RULES)
async def namespace_update_refused(s: Session) -> None:
    """What belongs to several clusters, and a namespace that isn't there."""
    await _registered(s)
    await s.attempt(_update(s, namespace=""))
    await s.attempt(_update(s, namespace=s.unique("missing")))
    await s.attempt(_update(s, promote_namespace=True))
    await s.attempt(_update(s, delete_bad_binary="none"))
    for config in (
        replication.NamespaceReplicationConfig(active_cluster_name="elsewhere"),
        replication.NamespaceReplicationConfig(clusters=[replication.ClusterReplicationConfig(cluster_name="no")]),
        replication.NamespaceReplicationConfig(state=states.REPLICATION_STATE_HANDOVER),
    ):
        await s.attempt(_update(s, replication_config=config))
    for state in (states.NAMESPACE_STATE_REGISTERED, states.NamespaceState.ValueType(7)):
        await s.attempt(_update(s, update_info=ns.UpdateNamespaceInfo(state=state)))
    await _describe(s)


@scenario(rules=NAMESPACE_RULES)
async def namespace_aliases(s: Session) -> None:
    """Aliases of search attributes."""
    await _registered(s)
    aliases = {"Keyword01": "Colour"}
    await s.attempt(_update(s, config=ns.NamespaceConfig(custom_search_attribute_aliases=aliases)))
    await s.attempt(_update(s, config=ns.NamespaceConfig(custom_search_attribute_aliases={"Keyword01": "Other"})))
    await s.attempt(_update(s, config=ns.NamespaceConfig(custom_search_attribute_aliases={"Keyword01": ""})))
    await _describe(s)


@scenario(rules=NAMESPACE_RULES)
async def namespace_deprecated(s: Session) -> None:
    """A deprecated namespace is shown as such and can't come back."""
    await _registered(s)
    await s.attempt(ws.DeprecateNamespaceRequest(namespace=s.unique("ns")))
    await _describe(s)
    back = ns.UpdateNamespaceInfo(state=states.NAMESPACE_STATE_REGISTERED)
    await s.attempt(_update(s, update_info=back))
    await s.attempt(_update(s, update_info=ns.UpdateNamespaceInfo(description="still here")))
    await until("starts to be refused", lambda: _refused(s))
    await s.attempt(s.start_request(namespace=s.unique("ns")))
    await s.signal("other calls are served", "missing", namespace=s.unique("ns"))
    await s.attempt(ws.DeprecateNamespaceRequest(namespace=s.unique("missing")))
    await s.attempt(ws.DeprecateNamespaceRequest())


@scenario(rules=NAMESPACE_RULES)
async def namespace_state_changed(s: Session) -> None:
    """An update may deprecate a namespace too."""
    await _registered(s)
    await s.attempt(_update(s, update_info=ns.UpdateNamespaceInfo(state=states.NAMESPACE_STATE_DEPRECATED)))
    await _describe(s)
