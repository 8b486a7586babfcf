"""Heartbeats of workers, and lists of them."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerHostInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    DescribeNamespaceRequest,
    DescribeWorkerRequest,
    ListWorkersRequest,
    RecordWorkerHeartbeatRequest,
    ShutdownWorkerRequest,
)

from perdure.base.errors import InvalidArgument, ResourceExhausted
from perdure.cluster.roles import WorkerSearch, WorkersFound
from perdure.frontend.workers import HEARTBEATS_MAX
from tests.unit.frontend.fakes import HOME, open_desk

BEAT = WorkerHeartbeat(
    worker_instance_key="k",
    worker_identity="me",
    task_queue="q",
    sdk_name="sdk",
    start_time=Timestamp(seconds=5),
    host_info=WorkerHostInfo(host_name="h", process_id="7", worker_grouping_key="g"),
    deployment_version=WorkerDeploymentVersion(build_id="b"),
)
ENCODED = BEAT.SerializeToString()


async def test_heartbeats_are_passed_on_also_a_worker_s_last() -> None:
    desk = await open_desk()
    await desk.call(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=[BEAT, BEAT]))
    await desk.call(ShutdownWorkerRequest(namespace="default", sticky_task_queue="s", worker_heartbeat=BEAT))
    assert desk.matching.heartbeats == [(HOME.id, [BEAT, BEAT]), (HOME.id, [BEAT])]
    described = await desk.call(DescribeNamespaceRequest(namespace="default"))
    assert described.namespace_info.capabilities.worker_heartbeats


async def test_only_so_many_heartbeats_come_in_one_call() -> None:
    desk = await open_desk()
    beats = [WorkerHeartbeat()] * (HEARTBEATS_MAX + 1)
    with pytest.raises(InvalidArgument, match="more than 1000 worker heartbeats"):
        await desk.call(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=beats))
    assert desk.matching.heartbeats == []
    await desk.call(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=beats[1:]))
    assert len(desk.matching.heartbeats[0][1]) == HEARTBEATS_MAX


async def test_a_worker_goes_whether_or_not_its_last_words_are_kept() -> None:
    desk = await open_desk()
    full = ResourceExhausted("full", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED)
    desk.matching.workers_error = full
    await desk.call(ShutdownWorkerRequest(namespace="default", worker_instance_key="k", worker_heartbeat=BEAT))
    assert desk.matching.ended == [(HOME.id, "k", "")]
    with pytest.raises(ResourceExhausted):
        await desk.call(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=[BEAT]))


async def test_a_list_shows_each_worker_twice_and_goes_on_where_it_ended() -> None:
    desk = await open_desk()
    desk.matching.found = WorkersFound([ENCODED], 2, more=True)
    reply = await desk.call(ListWorkersRequest(namespace="default", query="TaskQueue = 'q'", page_size=1))
    assert reply.workers_info[0].worker_heartbeat == BEAT
    (listed,) = reply.workers
    assert (listed.worker_instance_key, listed.host_name, listed.process_id) == ("k", "h", "7")
    assert (listed.start_time, listed.deployment_version) == (BEAT.start_time, BEAT.deployment_version)
    desk.matching.found = WorkersFound([ENCODED], 2)
    token = reply.next_page_token
    last = await desk.call(ListWorkersRequest(namespace="default", page_size=5000, next_page_token=token))
    assert not last.next_page_token
    assert desk.matching.searches == [
        WorkerSearch(query="TaskQueue = 'q'", limit=1),
        WorkerSearch(after="k", limit=1000),
    ]
    with pytest.raises(InvalidArgument, match="invalid next_page_token"):
        await desk.call(ListWorkersRequest(namespace="default", next_page_token=b"nonsense"))


async def test_one_worker_is_described_and_all_are_counted() -> None:
    desk = await open_desk()
    desk.matching.found = WorkersFound([ENCODED], 7)
    described = await desk.call(DescribeWorkerRequest(namespace="default", worker_instance_key="k"))
    assert described.worker_info.worker_heartbeat == BEAT
    assert (await desk.call(CountWorkersRequest(namespace="default", include_system_workers=True))).count == 7
    assert desk.matching.searches == [WorkerSearch(key="k"), WorkerSearch(internal=True)]
