"""What an update of a namespace changes, and what it refuses."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import ArchivalState, IndexedValueType, NamespaceState, ReplicationState
from temporalio.api.namespace.v1 import BadBinaries, BadBinaryInfo, NamespaceConfig, UpdateNamespaceInfo
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.replication.v1 import ClusterReplicationConfig, NamespaceReplicationConfig
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DescribeNamespaceRequest,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)

from perdure.base.errors import InvalidArgument, NamespaceInvalidState, NamespaceNotFound, Unimplemented
from perdure.base.limits import Limits
from perdure.frontend.services import FrontendOptions
from tests.unit.frontend.fakes import Desk, open_desk, with_limits

HANDOVER = ReplicationState.REPLICATION_STATE_HANDOVER
ENABLED = ArchivalState.ARCHIVAL_STATE_ENABLED
NOT_GLOBAL = "global namespace is not enabled on this cluster"
DELETED = NamespaceState.NAMESPACE_STATE_DELETED


def update(**fields: Any) -> UpdateNamespaceRequest:
    return UpdateNamespaceRequest(**({"namespace": "away"} | fields))


def info(**fields: Any) -> UpdateNamespaceRequest:
    return update(update_info=UpdateNamespaceInfo(**fields))


def config(**fields: Any) -> UpdateNamespaceRequest:
    return update(config=NamespaceConfig(**fields))


def replication(**fields: Any) -> UpdateNamespaceRequest:
    return update(replication_config=NamespaceReplicationConfig(**fields))


async def attributes(desk: Desk) -> dict[str, int]:
    listed = await desk.call(ListSearchAttributesRequest(namespace="away"))
    return dict(listed.custom_attributes)


async def test_what_is_given_changes_and_the_rest_stays() -> None:
    desk = await open_desk()
    await desk.call(info(description="d", data={"a": "1", "b": "2"}))
    await desk.call(info(owner_email="o", data={"b": "3"}))
    reply = await desk.call(config(workflow_execution_retention_ttl=Duration(seconds=3600)))
    shown = await desk.call(DescribeNamespaceRequest(namespace="away"))
    assert reply.namespace_info == shown.namespace_info
    assert (shown.namespace_info.description, shown.namespace_info.owner_email) == ("d", "o")
    assert dict(shown.namespace_info.data) == {"a": "1", "b": "3"}
    assert shown.config.workflow_execution_retention_ttl == Duration(seconds=3600)
    (listed, _) = (await desk.call(ListNamespacesRequest())).namespaces
    assert listed == shown


@pytest.mark.parametrize(
    ("request_message", "error", "message"),
    [
        (update(namespace=""), InvalidArgument, "Namespace not set on request."),
        (update(namespace="nope"), NamespaceNotFound, "Namespace nope is not found."),
        (
            config(workflow_execution_retention_ttl=Duration(seconds=3599)),
            InvalidArgument,
            "A valid retention period is not set on request.",
        ),
        (
            update(promote_namespace=True),
            InvalidArgument,
            f"{NOT_GLOBAL}, cannot update global namespace or promote local namespace: away",
        ),
        (replication(active_cluster_name="zz"), InvalidArgument, "Invalid cluster name: zz"),
        (
            replication(clusters=[ClusterReplicationConfig(cluster_name="active")] * 2),
            InvalidArgument,
            "Invalid local namespace clusters",
        ),
        (replication(state=HANDOVER), InvalidArgument, "Handover can only be set for global namespace"),
        (update(delete_bad_binary="x"), InvalidArgument, "Bad binary checksum x doesn't exists."),
        (info(state=7), InvalidArgument, "Invalid namespace state update."),
        (info(state=DELETED), Unimplemented, "UpdateNamespaceRequest.update_info.state DELETED is not supported yet"),
        (
            config(history_archival_state=ENABLED),
            Unimplemented,
            "UpdateNamespaceRequest.config.history_archival_state is not supported yet",
        ),
        (
            config(bad_binaries=BadBinaries(binaries={"x": BadBinaryInfo()})),
            Unimplemented,
            "UpdateNamespaceRequest.config.bad_binaries is not supported yet",
        ),
        (
            config(custom_search_attribute_aliases={"Colour": "x"}),
            InvalidArgument,
            "Unknown search attribute field: Colour.",
        ),
        (
            config(custom_search_attribute_aliases={"Int01": "WorkflowId"}),
            InvalidArgument,
            "Search attribute WorkflowId is reserved by system.",
        ),
    ],
    ids=[str(number) for number in range(14)],
)
async def test_refusals_change_nothing(request_message: Any, error: type[Exception], message: str) -> None:
    desk = await open_desk()
    request_message.update_info.description = "changed"
    with pytest.raises(error) as refused:
        await desk.call(request_message)
    assert str(refused.value) == message
    assert (await desk.call(DescribeNamespaceRequest(namespace="away"))).namespace_info.description == ""


async def test_data_merged_again_and_again_has_a_limit() -> None:
    desk = await open_desk(with_limits(blob_bytes_max=1000))
    await desk.call(info(data={"a": "x" * 600}))
    with pytest.raises(InvalidArgument, match="Namespace data size exceeds limit"):
        await desk.call(info(data={"b": "x" * 600}))
    assert FrontendOptions().limits == Limits()


async def test_an_alias_is_a_search_attribute_of_its_fields_type() -> None:
    desk = await open_desk()
    reply = await desk.call(config(custom_search_attribute_aliases={"Int01": "Size", "KeywordList02": "Tags"}))
    assert dict(reply.config.custom_search_attribute_aliases) == {"Int01": "Size", "KeywordList02": "Tags"}
    number, words = (
        IndexedValueType.INDEXED_VALUE_TYPE_INT,
        IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    )
    assert await attributes(desk) == {"Size": number, "Tags": words}
    with pytest.raises(InvalidArgument, match="field name already allocated"):
        await desk.call(config(custom_search_attribute_aliases={"Int01": "Other"}))
    await desk.call(config(custom_search_attribute_aliases={"Int01": "", "Int02": "Tags"}))
    assert await attributes(desk) == {"Tags": words}
    await desk.call(RemoveSearchAttributesRequest(namespace="away", search_attributes=["Tags"]))
    shown = await desk.call(DescribeNamespaceRequest(namespace="away"))
    assert not shown.config.custom_search_attribute_aliases


@pytest.mark.parametrize(
    "deprecation",
    [DeprecateNamespaceRequest(namespace="away"), info(state=NamespaceState.NAMESPACE_STATE_DEPRECATED)],
    ids=["deprecate", "update"],
)
async def test_a_deprecated_namespace_begins_nothing_and_goes_on_with_the_rest(deprecation: Any) -> None:
    desk = await open_desk()
    await desk.call(deprecation)
    with pytest.raises(NamespaceInvalidState) as refused:
        await desk.call(StartWorkflowExecutionRequest(namespace="away"))
    assert refused.value.message == "Namespace has invalid state: Deprecated. Must be Registered."
    desk.history.reply = SignalWorkflowExecutionResponse()
    signal = SignalWorkflowExecutionRequest(namespace="away", signal_name="s")
    signal.workflow_execution.workflow_id = "wf"
    assert await desk.call(signal) == SignalWorkflowExecutionResponse()
    with pytest.raises(InvalidArgument, match="Invalid namespace state update"):
        await desk.call(info(state=NamespaceState.NAMESPACE_STATE_REGISTERED))
    with pytest.raises(NamespaceNotFound):
        await desk.call(DeprecateNamespaceRequest(namespace="nope"))


async def test_a_new_namespace_has_a_limit_too() -> None:
    desk = await open_desk(with_limits(blob_bytes_max=1000))
    request = RegisterNamespaceRequest(namespace="large", workflow_execution_retention_period=Duration(seconds=86_400))
    request.data["a"] = "x" * 1000
    with pytest.raises(InvalidArgument, match="Namespace data size exceeds limit"):
        await desk.call(request)
    with pytest.raises(NamespaceNotFound):
        await desk.call(DescribeNamespaceRequest(namespace="large"))


async def test_a_page_of_large_namespaces_is_short() -> None:
    desk = await open_desk()
    for name in ("away", "default"):
        large = UpdateNamespaceInfo(data={"a": "x" * (1 << 20)})
        await desk.call(UpdateNamespaceRequest(namespace=name, update_info=large))
    first = await desk.call(ListNamespacesRequest())
    second = await desk.call(ListNamespacesRequest(next_page_token=first.next_page_token))
    assert [one.namespace_info.name for one in (*first.namespaces, *second.namespaces)] == ["away", "default"]
    assert not second.next_page_token


async def test_attributes_added_again_and_again_have_a_limit() -> None:
    desk = await open_desk(with_limits(blob_bytes_max=1000))
    kinds = dict.fromkeys((f"Name{n}" for n in range(200)), IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    with pytest.raises(InvalidArgument, match="Namespace data size exceeds limit"):
        await desk.call(AddSearchAttributesRequest(namespace="away", search_attributes=kinds))
    listed = await desk.call(ListSearchAttributesRequest(namespace="away"))
    assert not listed.custom_attributes
