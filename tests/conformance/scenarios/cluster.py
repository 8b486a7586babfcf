"""What the server says of itself, and search attributes by the operator service."""

from __future__ import annotations

from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until


@scenario(rules=(Rule("GetSystemInfoResponse.capabilities", "what a server offers is its own", "<capabilities>"),))
async def system_info(s: Session) -> None:
    """Version and capabilities."""
    await s.call(ws.GetSystemInfoRequest())


@scenario(
    rules=(
        Rule("GetClusterInfoResponse.cluster_id", "random", "<id>"),
        Rule("GetClusterInfoResponse.cluster_name", "the product's own", "<name>"),
        Rule("GetClusterInfoResponse.version_info", "the product's own", "<version info>"),
        Rule("GetClusterInfoResponse.persistence_store", "the product's own", "<store>"),
        Rule("GetClusterInfoResponse.visibility_store", "the product's own", "<store>"),
        Rule("GetClusterInfoResponse.history_shard_count", "configured", "<count>"),
        Rule("GetClusterInfoResponse.failover_version_increment", "replication between clusters"),
        Rule("GetClusterInfoResponse.initial_failover_version", "replication between clusters"),
        Rule("GetClusterInfoResponse.supported_clients", "versions of clients that a server supports", "<clients>"),
    )
)
async def cluster_info(s: Session) -> None:
    """The cluster."""
    await s.call(ws.GetClusterInfoRequest())


@scenario(rules=(Rule("GetSearchAttributesResponse.keys", "other scenarios add their own"),))
async def search_attributes_known(s: Session) -> None:
    """Search attributes of the system and the suite's own."""
    reply: ws.GetSearchAttributesResponse = await s.call(ws.GetSearchAttributesRequest())
    for name in ("WorkflowId", "ExecutionStatus", "StartTime", "CustomKeywordField", "CustomIntField"):
        kind = enums.IndexedValueType.Name(reply.keys[name]) if name in reply.keys else "missing"
        s.note(f"{name} {kind}")


@scenario()
async def search_attributes_of_the_system(s: Session) -> None:
    """Attributes that every namespace has."""
    reply = await s.quiet(operator.ListSearchAttributesRequest(namespace=NAMESPACE))
    for name in sorted(reply.system_attributes):
        s.note(f"{name} {enums.IndexedValueType.Name(reply.system_attributes[name])}")


@scenario()
async def search_attribute_added_and_removed(s: Session) -> None:
    """An attribute is added, listed, added again, and removed."""
    name = s.unique("Attribute")
    request = operator.AddSearchAttributesRequest(
        namespace=NAMESPACE, search_attributes={name: enums.INDEXED_VALUE_TYPE_KEYWORD}
    )
    await s.call(request)

    async def listed() -> bool:
        reply = await s.quiet(operator.ListSearchAttributesRequest(namespace=NAMESPACE))
        return name in reply.custom_attributes

    await until("the attribute to be listed", listed)
    await s.attempt(request)
    await s.call(operator.RemoveSearchAttributesRequest(namespace=NAMESPACE, search_attributes=[name]))

    async def gone() -> bool:
        return not await listed()

    await until("the attribute to be gone", gone)


@scenario()
async def search_attributes_refused(s: Session) -> None:
    """Names of the system, unknown names and types, and empty requests."""
    keyword = enums.INDEXED_VALUE_TYPE_KEYWORD
    await s.attempt(operator.AddSearchAttributesRequest(namespace=NAMESPACE))
    system = {"WorkflowId": keyword}
    await s.attempt(operator.AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=system))
    untyped = {"Untyped": enums.INDEXED_VALUE_TYPE_UNSPECIFIED}
    await s.attempt(operator.AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=untyped))
    await s.attempt(operator.RemoveSearchAttributesRequest(namespace=NAMESPACE, search_attributes=["NoSuchAttribute"]))
    await s.attempt(operator.RemoveSearchAttributesRequest(namespace=NAMESPACE, search_attributes=["WorkflowId"]))
    await s.attempt(operator.RemoveSearchAttributesRequest(namespace=NAMESPACE))
    await s.attempt(operator.ListSearchAttributesRequest(namespace="no-such-namespace"))
