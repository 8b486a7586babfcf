"""Namespaces, their search attributes, lists, and what the server says of itself."""

from typing import Any

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Memo, Payload
from temporalio.api.enums.v1 import ArchivalState, IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    GetSearchAttributesRequest,
    GetSystemInfoRequest,
    ListNamespacesRequest,
    ListWorkflowExecutionsRequest,
    RegisterNamespaceRequest,
    ScanWorkflowExecutionsRequest,
)

from perdure.base.errors import Aborted, InvalidArgument, NamespaceAlreadyExists, NamespaceNotFound, Unimplemented
from perdure.store.contract import Document
from perdure.visibility.attributes import BOOL, INT, KEYWORD, TEXT
from perdure.visibility.rows import VisibilityPage, VisibilityRow
from perdure.visibility.tree import Equals
from tests.unit.frontend.fakes import HOME, Desk, open_desk

DAY = Duration(seconds=86_400)
NS = 1_000_000_000
UNSPECIFIED = IndexedValueType.INDEXED_VALUE_TYPE_UNSPECIFIED


def register(name: str = "new", **fields: Any) -> RegisterNamespaceRequest:
    plain: dict[str, Any] = {"namespace": name, "workflow_execution_retention_period": DAY}
    return RegisterNamespaceRequest(**(plain | fields))


async def test_a_registered_namespace_is_described_by_name_and_by_id() -> None:
    desk = await open_desk()
    await desk.call(register(description="d", owner_email="o", data={"a": "b"}))
    by_name = await desk.call(DescribeNamespaceRequest(namespace="new"))
    info = by_name.namespace_info
    assert (info.name, info.description, info.owner_email, dict(info.data)) == ("new", "d", "o", {"a": "b"})
    assert by_name.config.workflow_execution_retention_ttl == DAY
    assert info.limits.blob_size_limit_error == 2 * 1024 * 1024
    assert await desk.call(DescribeNamespaceRequest(id=info.id)) == by_name


@pytest.mark.parametrize(
    ("request_message", "error", "message"),
    [
        (register(""), InvalidArgument, "Namespace not set on request."),
        (register("x" * 1001), InvalidArgument, "Namespace length exceeds limit."),
        (
            register(workflow_execution_retention_period=Duration(seconds=60)),
            InvalidArgument,
            "A valid retention period is not set on request.",
        ),
        (
            register(is_global_namespace=True),
            InvalidArgument,
            "Cannot register global namespace when not enabled",
        ),
        (register(active_cluster_name="zz"), InvalidArgument, "Invalid cluster name: zz"),
        (register("default"), NamespaceAlreadyExists, 'Namespace "default" already exists'),
        (register("temporal-system"), NamespaceAlreadyExists, 'Namespace "temporal-system" already exists'),
        (DescribeNamespaceRequest(), InvalidArgument, "Namespace not set on request."),
        (DescribeNamespaceRequest(namespace="nope"), NamespaceNotFound, "Namespace nope is not found."),
        (DescribeNamespaceRequest(id="nope"), NamespaceNotFound, "Namespace nope is not found."),
    ],
    ids=[str(number) for number in range(10)],
)
async def test_refusals_are_the_references(request_message: Any, error: type[Exception], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(error) as refused:
        await desk.call(request_message)
    assert str(refused.value) == message


async def test_an_archive_is_not_promised() -> None:
    desk = await open_desk()
    with pytest.raises(Unimplemented):
        await desk.call(register(history_archival_state=ArchivalState.ARCHIVAL_STATE_ENABLED))


async def test_namespaces_are_listed_in_pages() -> None:
    desk = await open_desk()
    names, token, pages = [], b"", 0
    while not pages or token:
        page = await desk.call(ListNamespacesRequest(page_size=1, next_page_token=token))
        names += [one.namespace_info.name for one in page.namespaces]
        token, pages = page.next_page_token, pages + 1
    assert (names, pages) == (["away", "default"], 2)
    assert len((await desk.call(ListNamespacesRequest())).namespaces) == 2


async def test_search_attributes_are_added_listed_and_removed() -> None:
    desk = await open_desk()
    await desk.call(AddSearchAttributesRequest(namespace="away", search_attributes={"A": KEYWORD, "B": INT}))
    await desk.call(AddSearchAttributesRequest(namespace="away", search_attributes={"A": BOOL}))
    await desk.call(RemoveSearchAttributesRequest(namespace="away", search_attributes=["B", "Unknown"]))
    listed = await desk.call(ListSearchAttributesRequest(namespace="away"))
    assert dict(listed.custom_attributes) == {"A": 2}
    assert listed.system_attributes["WorkflowId"] == 2
    everywhere = await desk.call(GetSearchAttributesRequest())
    assert everywhere.keys["WorkflowId"] == 2
    assert "A" not in everywhere.keys


@pytest.mark.parametrize(
    ("request_message", "message"),
    [
        (AddSearchAttributesRequest(), "SearchAttributes are not set on request."),
        (AddSearchAttributesRequest(search_attributes={"a": TEXT}), "Namespace is not set on request."),
        (
            AddSearchAttributesRequest(namespace="default", search_attributes={"a": UNSPECIFIED}),
            "Unable to create search attributes: cannot have more than 0 search attribute of type Unspecified.",
        ),
        (
            AddSearchAttributesRequest(namespace="default", search_attributes={"a": 99}),  # type: ignore[dict-item]  # not of the enum
            "Unknown search attribute type: 99.",
        ),
        (
            AddSearchAttributesRequest(namespace="default", search_attributes={"TemporalX": TEXT}),
            "Search attribute TemporalX is reserved by system.",
        ),
        (
            RemoveSearchAttributesRequest(namespace="default", search_attributes=["WorkflowId"]),
            "Unable to remove non-custom search attributes: WorkflowId.",
        ),
        (ListSearchAttributesRequest(), "Namespace is not set on request."),
    ],
    ids=[str(number) for number in range(7)],
)
async def test_bad_search_attributes_are_refused(request_message: Any, message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(request_message)
    assert refused.value.message == message


def overtake(desk: Desk) -> None:
    """Another process writes the namespace just before the next write here."""
    (present,) = [row for row in desk.documents.rows.values() if row.key == "default"]
    desk.documents.rows["namespace", "default"] = Document("namespace", "default", present.version + 1, present.body)


async def test_two_operators_at_once_both_succeed() -> None:
    desk = await open_desk()
    meetings = iter([True])

    def once() -> None:
        if next(meetings, False):
            overtake(desk)

    desk.documents.before_write = once
    await desk.call(AddSearchAttributesRequest(namespace="default", search_attributes={"New": KEYWORD}))
    listed = await desk.call(ListSearchAttributesRequest(namespace="default"))
    assert dict(listed.custom_attributes) == HOME.search_attributes | {"New": 2}


async def test_an_operator_who_always_loses_is_told() -> None:
    desk = await open_desk()
    desk.documents.before_write = lambda: overtake(desk)
    with pytest.raises(Aborted):
        await desk.call(AddSearchAttributesRequest(namespace="default", search_attributes={"New": KEYWORD}))


OPEN = VisibilityRow(
    HOME.id,
    "wf",
    "run",
    1,
    workflow_type="flow",
    task_queue="queue",
    start_time_ns=5 * NS,
    execution_time_ns=7 * NS,
    memo=Memo(fields={"m": Payload(data=b"1")}).SerializeToString(),
    search_attributes={"K1": Payload(data=b'"a"').SerializeToString()},
    root_workflow_id="wf",
    root_run_id="run",
)
CLOSED = msgspec.structs.replace(
    OPEN, status=2, close_time_ns=9 * NS, history_length=5, history_bytes=100, state_transitions=3
)


async def test_a_scan_is_a_list() -> None:
    desk = await open_desk()
    desk.visibility.page = VisibilityPage([OPEN, CLOSED], b"more")
    asked: dict[str, Any] = {"namespace": "default", "query": "K1 = 'a'", "page_size": 7, "next_page_token": b"before"}
    listed = await desk.call(ListWorkflowExecutionsRequest(**asked))
    scanned = await desk.call(ScanWorkflowExecutionsRequest(**asked))
    assert (scanned.executions, scanned.next_page_token) == (listed.executions, b"more")
    first, second = desk.visibility.queries
    assert first == second


async def test_a_list_shows_rows_and_passes_the_filter_on() -> None:
    desk = await open_desk()
    desk.visibility.page = VisibilityPage([OPEN, CLOSED], b"more")
    request = ListWorkflowExecutionsRequest(
        namespace="default", query="K1 = 'a'", page_size=7, next_page_token=b"before"
    )
    reply = await desk.call(request)
    running, closed = reply.executions
    assert reply.next_page_token == b"more"
    assert (running.start_time.seconds, running.execution_time.seconds) == (5, 7)
    assert not running.HasField("close_time")
    assert running.search_attributes.indexed_fields["K1"].data == b'"a"'
    assert (closed.close_time.seconds, closed.execution_duration.seconds, closed.history_length) == (9, 2, 5)
    (query,) = desk.visibility.queries
    assert (query.namespace_id, query.filter, query.limit, query.token) == (HOME.id, Equals("K1", "a"), 7, b"before")


async def test_counts_and_page_sizes_have_bounds() -> None:
    desk = await open_desk()
    desk.visibility.page = VisibilityPage([OPEN], b"")
    assert (await desk.call(CountWorkflowExecutionsRequest(namespace="default"))).count == 1
    grouped = await desk.call(CountWorkflowExecutionsRequest(namespace="default", query="GROUP BY ExecutionStatus"))
    assert grouped.count == 1
    assert [(group.group_values[0].data, group.count) for group in grouped.groups] == [(b'"Running"', 1)]
    for size in (0, -1, 5000):
        await desk.call(ListWorkflowExecutionsRequest(namespace="default", page_size=size))
        assert desk.visibility.queries[-1].limit == 1000
    with pytest.raises(InvalidArgument, match="invalid query"):
        await desk.call(CountWorkflowExecutionsRequest(namespace="default", query="K1 ="))


async def test_the_server_says_only_what_it_can() -> None:
    desk = await open_desk()
    capabilities = (await desk.call(GetSystemInfoRequest())).capabilities
    assert capabilities.internal_error_differentiation
    assert capabilities.build_id_based_versioning
    assert capabilities.eager_workflow_start
    for missing in ("supports_schedules", "nexus"):
        assert not getattr(capabilities, missing)
    assert (await desk.call(GetClusterInfoRequest())).cluster_name == "active"
