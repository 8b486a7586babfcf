"""Search attributes with values that no type has, at the edge of their types and beyond, in starts and in commands."""

import pytest
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, upsert_search_attributes
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.waiting import until
from tests.e2e.siege import Siege, fresh, in_turns

pytestmark = pytest.mark.asyncio(loop_scope="session")

_TYPES = {
    "EdgeText": enums.INDEXED_VALUE_TYPE_TEXT,
    "EdgeKeyword": enums.INDEXED_VALUE_TYPE_KEYWORD,
    "EdgeInt": enums.INDEXED_VALUE_TYPE_INT,
    "EdgeDouble": enums.INDEXED_VALUE_TYPE_DOUBLE,
    "EdgeBool": enums.INDEXED_VALUE_TYPE_BOOL,
    "EdgeDatetime": enums.INDEXED_VALUE_TYPE_DATETIME,
    "EdgeKeywordList": enums.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}
_JSON = (
    b"",
    b"null",
    b"true",
    b'"x"',
    b'""',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\xff\xfe"',
    b"\xff",
    b"0",
    b"-1",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"9" * 400,
    b"9" * 5000,
    b"1e400",
    b"-1e400",
    b"1e308",
    b"1.5",
    b"NaN",
    b"Infinity",
    b"[]",
    b"{}",
    b'["a", "b"]',
    b'["a", null]',
    b"[[1]]",
    b"[1, 2]",
    b"[" * 2000 + b"]" * 2000,
    b"[" * 2000,
    b'"0001-01-01T00:00:00Z"',
    b'"0000-01-01T00:00:00Z"',
    b'"9999-12-31T23:59:59.999999999Z"',
    b'"2262-04-11T23:47:16.854775808Z"',
    b'"2020-01-01T00:00:00+99:99"',
    b'"2020-01-01T00:00:00-23:59"',
    b'"9999-12-31T23:59:59-23:59"',
    b'"0001-01-01T00:00:00+23:59"',
    b'"2020-02-30T00:00:00Z"',
    b'"' + b"x" * 3000 + b'"',
)


async def _used(siege: Siege, name: str, payload: common.Payload) -> str:
    """What is wrong with what became of a value; "" if nothing is."""
    attributes = common.SearchAttributes(indexed_fields={name: payload})
    try:
        task = await siege.started_task()
        await siege.complete(task, upsert_search_attributes(attributes), complete_workflow())
    except CallFailed as failed:
        if failed.code != "INVALID_ARGUMENT":
            return f"command {name} {payload}: {failed}"
    try:
        await siege.client.call(siege.start_request(search_attributes=attributes))
    except CallFailed as failed:
        if failed.code != "INVALID_ARGUMENT":
            return f"start {name} {payload}: {failed}"
    return ""


async def _use_all(siege: Siege, payloads: list[common.Payload]) -> None:
    fates = await in_turns([_used(siege, name, payload) for payload in payloads for name in (*_TYPES, "BuildIds")])
    assert not (wrong := [fate for fate in fates if fate]), "\n".join(wrong)


async def _listed(siege: Siege, workflow_id: str) -> bool:
    query = f"WorkflowId = '{workflow_id}'"
    request = ws.ListWorkflowExecutionsRequest(namespace="default", query=query)
    found: ws.ListWorkflowExecutionsResponse = await siege.client.call(request)
    return bool(found.executions)


async def test_values_are_refused_or_kept_and_found(siege: Siege) -> None:
    await siege.client.call(operator.AddSearchAttributesRequest(namespace="default", search_attributes=_TYPES))
    await _use_all(siege, [common.Payload(metadata={"encoding": b"json/plain"}, data=data) for data in _JSON])
    # What lists show is written behind the calls: one value that can't be written would stop all of it.
    last = fresh("last")
    await siege.start(last)
    await until("the list to go on", lambda: _listed(siege, last))
    everything = ws.ListWorkflowExecutionsRequest(namespace="default", page_size=1000)
    await siege.client.call(everything)
    await siege.unharmed()


async def test_values_in_no_known_encoding(siege: Siege) -> None:
    await siege.client.call(operator.AddSearchAttributesRequest(namespace="default", search_attributes=_TYPES))
    encodings = (b"", b"binary/null", b"binary/plain", b"json/protobuf", b"\xff\xfe", b"x" * 10_000)
    await _use_all(
        siege,
        [common.Payload(metadata={"encoding": encoding, "type": b"\xff"}, data=b'"x"') for encoding in encodings],
    )
    await siege.unharmed()


async def test_attributes_of_no_name_or_type(siege: Siege) -> None:
    for name, kind in (("", 1), ("x" * 10_000, 1), ("\x00", 1), ("New", 0), ("New", 999), ("New", -1), ("a b'c\"`", 2)):
        request = operator.AddSearchAttributesRequest(namespace="default")
        request.search_attributes[name] = kind  # type: ignore[assignment]  # no number of the enum
        try:
            await siege.client.call(request)
        except CallFailed as failed:
            assert failed.code == "INVALID_ARGUMENT", failed  # noqa: PT017 - odd names are nobody's harm
        await siege.unharmed()


async def test_too_many_attributes(siege: Siege) -> None:
    many = {f"Many{n}": enums.INDEXED_VALUE_TYPE_KEYWORD for n in range(101)}
    await siege.client.call(operator.AddSearchAttributesRequest(namespace="another", search_attributes=many))
    fields = {name: common.Payload(metadata={"encoding": b"json/plain"}, data=b'"x"') for name in many}
    request = siege.start_request(search_attributes=common.SearchAttributes(indexed_fields=fields))
    request.namespace = "another"
    await siege.refused(request, "INVALID_ARGUMENT", "exceeds limit 100")
    await siege.client.call(operator.RemoveSearchAttributesRequest(namespace="another", search_attributes=many))
