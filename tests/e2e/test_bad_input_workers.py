"""What workers and operators say of themselves, of queues and of namespaces: too much, too deep, too often."""

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.enums.v1 import task_queue_pb2 as queue_enums
from temporalio.api.namespace.v1 import message_pb2 as namespaces
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.worker.v1 import message_pb2 as worker
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.rpc import CallFailed
from tests.e2e.good_requests import GOOD, beat
from tests.e2e.siege import MIB, OTHER_NAMESPACE, Siege, fresh

pytestmark = pytest.mark.asyncio(loop_scope="session")

_ACTIVITY = queue_enums.TASK_QUEUE_TYPE_ACTIVITY


def _heartbeats(*beats: worker.WorkerHeartbeat, namespace: str = "default") -> ws.RecordWorkerHeartbeatRequest:
    return ws.RecordWorkerHeartbeatRequest(namespace=namespace, worker_heartbeat=beats)


def _both(query: str) -> tuple[Message, Message]:
    return (
        ws.ListWorkersRequest(namespace="default", query=query),
        ws.CountWorkersRequest(namespace="default", query=query),
    )


# --------------------------------------------------------------------------------------------------------- heartbeats


async def test_a_giant_heartbeat_is_refused_with_all_that_came_with_it(siege: Siege) -> None:
    key = fresh("key")
    plugins = [worker.PluginInfo(name="p", version="1") for _ in range(100_000)]
    for giant in (beat("giant", sdk_version="x" * MIB), beat("giant", plugins=plugins), beat("x" * MIB)):
        await siege.refused(_heartbeats(beat(key), giant), "INVALID_ARGUMENT", "exceeds")
    await siege.refused(ws.DescribeWorkerRequest(namespace="default", worker_instance_key=key), "NOT_FOUND")


async def test_hundreds_of_thousands_of_heartbeats_in_one_call(siege: Siege) -> None:
    nothing = ws.RecordWorkerHeartbeatRequest(namespace="default")
    body = nothing.SerializeToString() + b"\x1a\x00" * 500_000
    await siege.refused_bytes("RecordWorkerHeartbeat", body, "INVALID_ARGUMENT", "more than 1000 worker heartbeats")


async def test_times_and_numbers_beyond_all_are_kept_and_searched(siege: Siege) -> None:
    key = fresh("key")
    for seconds, status in ((1 << 62, 999), (-(1 << 62), -1)):
        odd = beat(
            key,
            start_time=Timestamp(seconds=seconds, nanos=-1),
            heartbeat_time=Timestamp(seconds=seconds),
            status=status,
        )
        await siege.client.call(_heartbeats(odd))
        for query in ("StartTime > '2020-01-01T00:00:00Z'", "Status = '999'", "HeartbeatTime IS NULL", "status != 'x'"):
            for request in _both(query):
                await siege.client.call(request)
        found: ws.DescribeWorkerResponse = await siege.client.call(
            ws.DescribeWorkerRequest(namespace="default", worker_instance_key=key)
        )
        assert found.worker_info.worker_heartbeat == odd
    await siege.unharmed()


async def test_large_workers_come_page_by_page(siege: Siege) -> None:
    """A page that no client takes would hide every worker of the namespace."""
    large = [beat(fresh("large"), sdk_version="x" * 60_000) for _ in range(60)]
    await siege.client.call(_heartbeats(*large, namespace=OTHER_NAMESPACE))
    shown, token = set(), b""
    while True:
        request = ws.ListWorkersRequest(namespace=OTHER_NAMESPACE, next_page_token=token)
        page: ws.ListWorkersResponse = await siege.client.call(request)
        assert page.ByteSize() < 4 * MIB
        shown |= {info.worker_instance_key for info in page.workers}
        token = page.next_page_token
        if not token:
            break
    assert shown == {one.worker_instance_key for one in large}
    await siege.unharmed()


_QUERIES = {
    "deep parentheses": "(" * 2_000 + "TaskQueue = 'x'" + ")" * 2_000,
    "parentheses without an end": "(" * 4_000,
    "as many conditions as the length permits": " OR ".join(["status='x'"] * 280),
    "as long as may be": "TaskQueue = '" + "x" * 4_082 + "'",
    "far too long": "TaskQueue = '" + "x" * MIB + "'",
    "spaces": " " * 1_000_000,
    "a text without an end": "TaskQueue = '" + "\\" * 4_000,
    "an escape at the end": "TaskQueue = 'x\\'",
    "a long number": "TaskQueue = " + "9" * 4_000,
    "a name of nothing": "``  = 'x'",
    "many backticks": "`" * 4_000,
    "no letters": "\U0001f4a5 = '\U0001f4a5'",
    "NUL": "TaskQueue = '\x00'",
    "a line's end": "TaskQueue = '\\\n'",
    "another statement": "TaskQueue = 'x'; DROP TABLE workers",
    "the year 0": "StartTime > '0000-01-01T00:00:00Z'",
    "the year 9999": "StartTime BETWEEN '9999-12-31T23:59:59Z' AND '0001-01-01T00:00:00+23:59'",
    "a long fraction": "StartTime = '2020-01-01T00:00:00." + "9" * 4_000 + "Z'",
    "half a range": "StartTime NOT BETWEEN '2020-01-01T00:00:00Z' AND",
}


@pytest.mark.parametrize("kind", _QUERIES)
async def test_a_query_of_workers_is_understood_or_refused(siege: Siege, kind: str) -> None:
    await siege.client.call(_heartbeats(beat()))
    for request in _both(_QUERIES[kind]):
        try:
            await siege.client.call(request)
        except CallFailed as failed:
            assert failed.code == "INVALID_ARGUMENT", failed  # noqa: PT017 - no error is fine too
        await siege.unharmed()


@pytest.mark.parametrize(
    "token",
    [
        b"\x81",
        b"nonsense",
        b"\x81\xa5after\xa2\xff\xfe",
        b"\x81\xa5after\x01",
        b"\x81\xa1z" + b"\x91" * 100_000,
        b"\xff" * MIB,
    ],
    ids=["cut short", "text", "no UTF-8", "a number", "deep", "giant"],
)
async def test_a_forged_token_of_a_page_of_workers(siege: Siege, token: bytes) -> None:
    request = ws.ListWorkersRequest(namespace="default", next_page_token=token)
    await siege.refused(request, "INVALID_ARGUMENT", "invalid next_page_token")


# -------------------------------------------------------------------------------------------------------- task queues


async def test_a_queue_asked_for_by_a_million_kinds(siege: Siege) -> None:
    kinds = [queue_enums.TASK_QUEUE_TYPE_WORKFLOW, _ACTIVITY] * 500_000
    describe = ws.DescribeTaskQueueRequest(
        namespace="default",
        task_queue=taskqueue.TaskQueue(name="nothing"),
        api_mode=queue_enums.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
        task_queue_types=kinds,
        report_stats=True,
        report_pollers=True,
    )
    reply: ws.DescribeTaskQueueResponse = await siege.client.call(describe)
    assert len(reply.versions_info[""].types_info) == 2
    gone = ws.ShutdownWorkerRequest(namespace="default", worker_instance_key="gone", task_queue_types=kinds)
    await siege.client.call(gone)
    await siege.unharmed()


@pytest.mark.parametrize("rate", [0.0, 1e-38, 3e38, float("inf"), float("nan"), -1.0])
async def test_a_rate_of_a_queue_is_refused_or_kept(siege: Siege, rate: float) -> None:
    """And whoever polls there afterwards is answered."""
    queue = fresh("queue")
    limit = ws.UpdateTaskQueueConfigRequest.RateLimitUpdate(rate_limit=taskqueue.RateLimit(requests_per_second=rate))
    update = ws.UpdateTaskQueueConfigRequest(
        namespace="default", task_queue=queue, task_queue_type=_ACTIVITY, update_queue_rate_limit=limit
    )
    if not rate >= 0:
        await siege.refused(update, "INVALID_ARGUMENT", "must be non-negative")
        return
    await siege.client.call(update)
    where: dict[str, Any] = {"namespace": "default", "task_queue": taskqueue.TaskQueue(name=queue)}
    await siege.client.call(ws.PollActivityTaskQueueRequest(**where), 2.2)
    asked = ws.DescribeTaskQueueRequest(**where, task_queue_type=_ACTIVITY, report_stats=True, report_config=True)
    shown: ws.DescribeTaskQueueResponse = await siege.client.call(asked)
    assert shown.config.queue_rate_limit.rate_limit.requests_per_second == pytest.approx(rate)
    await siege.unharmed()


async def test_ten_thousand_fairness_weights(siege: Siege) -> None:
    update = ws.UpdateTaskQueueConfigRequest(namespace="default", task_queue="q", task_queue_type=_ACTIVITY)
    update.set_fairness_weight_overrides.update({str(n): 1.0 for n in range(10_000)})
    await siege.refused(update, "INVALID_ARGUMENT", "too many fairness weight overrides")


# --------------------------------------------------------------------------------------------------------- namespaces


async def test_a_namespace_of_megabytes(siege: Siege) -> None:
    """Neither at once nor bit by bit: it is read with every call that names it."""
    many = {f"key-{n}": "a value of some length" for n in range(100_000)}
    update: Any = await GOOD["UpdateNamespace"](siege)
    update.update_info.data.update(many)
    await siege.refused(update, "INVALID_ARGUMENT", "Namespace data size exceeds limit.")
    register: Any = await GOOD["RegisterNamespace"](siege)
    register.data.update(many)
    await siege.refused(register, "INVALID_ARGUMENT", "Namespace data size exceeds limit.")
    add = operator.AddSearchAttributesRequest(namespace=update.namespace)
    add.search_attributes.update({f"Attribute{n:030}": enums.INDEXED_VALUE_TYPE_KEYWORD for n in range(50_000)})
    await siege.refused(add, "INVALID_ARGUMENT", "Namespace data size exceeds limit.")
    shown: ws.DescribeNamespaceResponse = await siege.client.call(
        ws.DescribeNamespaceRequest(namespace=update.namespace)
    )
    assert not shown.namespace_info.data


async def test_many_aliases_that_nobody_can_have(siege: Siege) -> None:
    update: Any = await GOOD["UpdateNamespace"](siege)
    aliases = {f"Keyword{n}": f"Name{n}" for n in range(50_000)}
    update.config.CopyFrom(namespaces.NamespaceConfig(custom_search_attribute_aliases=aliases))
    await siege.refused(update, "INVALID_ARGUMENT", "Unknown search attribute field")
