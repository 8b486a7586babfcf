"""What workers tell of themselves by heartbeats, and what is shown of it."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.worker.v1 import message_pb2 as worker
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.render import Wording
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session


def beat(s: Session, name: str, **fields: Any) -> worker.WorkerHeartbeat:
    """A heartbeat of the worker called `name`."""
    plain: dict[str, Any] = {
        "worker_instance_key": s.unique(name),
        "worker_identity": f"{name}@host",
        "task_queue": s.unique("queue"),
        "sdk_name": "temporal-python",
        "sdk_version": "1.2.3",
        "status": enums.WORKER_STATUS_RUNNING,
        "start_time": Timestamp(seconds=1_700_000_000),
        "heartbeat_time": Timestamp(seconds=1_700_000_100),
        "host_info": worker.WorkerHostInfo(host_name="host", process_id="17", worker_grouping_key="group"),
        "total_sticky_cache_hit": 7,
    }
    return worker.WorkerHeartbeat(**{**plain, **fields})


def record(*beats: worker.WorkerHeartbeat, **fields: Any) -> ws.RecordWorkerHeartbeatRequest:
    """A call that brings heartbeats."""
    plain: dict[str, Any] = {"namespace": NAMESPACE, "identity": "process"}
    return ws.RecordWorkerHeartbeatRequest(**{**plain, "worker_heartbeat": beats, **fields})


def listing(s: Session, query: str = "", **fields: Any) -> ws.ListWorkersRequest:
    """Those of the scenario's queue that a query finds."""
    own = f'TaskQueue = "{s.unique("queue")}"'
    plain: dict[str, Any] = {"namespace": NAMESPACE, "query": f"{own} AND {query}" if query else own, "page_size": 10}
    return ws.ListWorkersRequest(**{**plain, **fields})


@scenario()
async def worker_described(s: Session) -> None:
    """The newest heartbeat is what is shown."""
    await s.attempt(record(beat(s, "a"), beat(s, "b", status=enums.WORKER_STATUS_SHUTTING_DOWN)))
    await s.attempt(ws.DescribeWorkerRequest(namespace=NAMESPACE, worker_instance_key=s.unique("a")))
    await s.attempt(record(beat(s, "a", total_sticky_cache_hit=9)))
    await s.attempt(ws.DescribeWorkerRequest(namespace=NAMESPACE, worker_instance_key=s.unique("a")))
    await s.attempt(listing(s))


@scenario()
async def worker_says_goodbye(s: Session) -> None:
    """A worker that has shut down is not shown any more, by its last heartbeat or by ShutdownWorker's."""
    await s.quiet(record(beat(s, "a"), beat(s, "b"), beat(s, "c")))
    await s.attempt(record(beat(s, "a", status=enums.WORKER_STATUS_SHUTDOWN)))
    await s.attempt(
        ws.ShutdownWorkerRequest(
            namespace=NAMESPACE,
            identity="b@host",
            sticky_task_queue=s.unique("sticky"),
            worker_heartbeat=beat(s, "b", status=enums.WORKER_STATUS_SHUTDOWN),
        )
    )
    await s.attempt(listing(s))
    await s.attempt(ws.DescribeWorkerRequest(namespace=NAMESPACE, worker_instance_key=s.unique("a")))


@scenario()
async def workers_found(s: Session) -> None:
    """Lists and counts by query, page by page."""
    deployment = {"deployment_name": "dep", "build_id": "b1"}
    await s.quiet(
        record(
            beat(s, "a"),
            beat(s, "b", sdk_name="temporal-go", sdk_version="2.0.0", deployment_version=deployment),
            beat(s, "c", status=enums.WORKER_STATUS_SHUTTING_DOWN, start_time=Timestamp(seconds=1_800_000_000)),
            beat(s, "d", host_info=worker.WorkerHostInfo(host_name="elsewhere")),
        )
    )
    for query in (
        'WorkerIdentity = "a@host"',
        'WorkerIdentity STARTS_WITH "b"',
        f'WorkerInstanceKey = "{s.unique("b")}"',
        'SdkName = "temporal-go"',
        'SdkName != "temporal-go"',
        'SdkVersion = "2.0.0"',
        'HostName = "elsewhere"',
        'DeploymentName = "dep"',
        'BuildId = "b1"',
        'Status = "ShuttingDown"',
        'WorkerStatus = "Running"',
        'StartTime > "2024-01-01T00:00:00Z"',
        'HeartbeatTime < "2024-01-01T00:00:00Z"',
        '(SdkName = "temporal-go" OR HostName = "elsewhere")',
        "DeploymentName IS NULL",
        "StartTime IS NOT NULL",
        'SdkName NOT STARTS_WITH "temporal-p"',
        'StartTime BETWEEN "2023-01-01T00:00:00Z" AND "2024-01-01T00:00:00Z"',
    ):
        reply: ws.ListWorkersResponse = await s.quiet(listing(s, query))
        s.note(f"{query}: {' '.join(sorted(one.worker_identity for one in reply.workers))}")
    own = f'TaskQueue = "{s.unique("queue")}"'
    await s.attempt(ws.CountWorkersRequest(namespace=NAMESPACE, query=own))
    page = await s.attempt(listing(s, page_size=3))
    await s.attempt(listing(s, page_size=3, next_page_token=page.next_page_token))


@scenario(rules=(Wording(r"malformed query: .*", "a parser's own words", "malformed query"),))
async def workers_refused(s: Session) -> None:
    """Unknown workers, namespaces, and queries that make no sense."""
    await s.quiet(record(beat(s, "a")))
    await s.attempt(ws.DescribeWorkerRequest(namespace=NAMESPACE, worker_instance_key="nobody"))
    await s.attempt(ws.DescribeWorkerRequest(namespace=NAMESPACE))
    await s.attempt(ws.DescribeWorkerRequest(namespace="no-such-namespace", worker_instance_key="nobody"))
    await s.attempt(record(beat(s, "a"), namespace="no-such-namespace"))
    await s.attempt(record())
    await s.attempt(ws.ListWorkersRequest(namespace="no-such-namespace"))
    await s.attempt(listing(s, next_page_token=b"nonsense"))
    # The reference finds nothing by a query that names an unknown field; it refuses only what is no query.
    await s.attempt(ws.ListWorkersRequest(namespace=NAMESPACE, query="TaskQueue = "))
    await s.attempt(ws.CountWorkersRequest(namespace=NAMESPACE, query="(TaskQueue = 'a'"))
