"""Polls: how long they wait, what matching learns, and how they end."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.common.v1 import WorkerVersionCapabilities, WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueKind, TaskQueueType, WorkerVersioningMode
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueMetadata
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowExecutionTimeSkippingRequest,
    PollWorkflowExecutionTimeSkippingResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
    ShutdownWorkerRequest,
)

from perdure.base.errors import FailedPrecondition, InvalidArgument, Unavailable, Unimplemented
from perdure.base.limits import Limits
from perdure.cluster.roles import Call, HistoryPage
from perdure.frontend.polls import Polls, poll_time_ns
from perdure.rpc.call import CallMeta
from perdure.testing.loop import run_virtual
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.frontend.fakes import HOME, FakeEntropy, FakeMatching, open_desk, with_limits

SECOND_NS = 1_000_000_000
STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED


def poll(**fields: Any) -> PollWorkflowTaskQueueRequest:
    plain: dict[str, Any] = {"namespace": "default", "task_queue": TaskQueue(name="queue"), "identity": "me"}
    return PollWorkflowTaskQueueRequest(**(plain | fields))


async def nobody(_partition: QueueKey, _ids: list[str]) -> None:
    raise AssertionError("there are no polls")


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("seconds", [2, 3, 60, 70, 3600])
def test_a_poll_ends_a_second_before_its_deadline_and_within_the_servers_limit(seconds: int, fraction: float) -> None:
    timeout_ns = seconds * SECOND_NS
    waits = poll_time_ns(Call(timeout_ns=timeout_ns), Limits(), FakeEntropy(fraction))
    assert SECOND_NS // 2 < waits <= timeout_ns - SECOND_NS
    assert waits <= 60 * SECOND_NS


async def test_a_poll_needs_a_deadline_that_is_not_too_near() -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match="Context timeout is not set"):
        await desk.call(poll(), CallMeta())
    with pytest.raises(FailedPrecondition, match="Context timeout is too short"):
        await desk.call(poll(), CallMeta(timeout_ns=2 * SECOND_NS - 1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_queue": None}, "taskQueue is not set"),
        ({"task_queue": TaskQueue()}, "missing task queue name"),
        (
            {"task_queue": TaskQueue(name="/_sys/a")},
            "task queue name cannot start with reserved prefix /_sys/",
        ),
        ({"task_queue": TaskQueue(name="x" * 1001)}, "taskQueue length exceeds limit"),
        (
            {"task_queue": TaskQueue(name="s", kind=STICKY, normal_name="x" * 1001)},
            "taskQueue length exceeds limit",
        ),
        ({"identity": "x" * 1001}, "Identity length exceeds limit."),
        ({"worker_instance_key": "x" * 1001}, "WorkerInstanceKey length exceeds limit."),
        (
            {"deployment_options": WorkerDeploymentOptions(build_id="x" * 2001)},
            "DeploymentOptions exceed 2000 bytes.",
        ),
        (
            {"worker_version_capabilities": WorkerVersionCapabilities(deployment_series_name="x" * 2001)},
            "WorkerVersionCapabilities exceed 2000 bytes.",
        ),
    ],
)
async def test_a_bad_poll_is_refused(fields: dict[str, Any], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(poll(**fields))
    assert refused.value.message == message
    assert desk.matching.polls == []


async def test_matching_learns_everything_of_a_sticky_poll() -> None:
    desk = await open_desk()
    queue = TaskQueue(name="sticky", kind=STICKY, normal_name="queue")
    assert await desk.call(poll(task_queue=queue, worker_instance_key="w")) == b""
    (waiting,) = desk.matching.polls
    assert waiting.partition == QueueKey(HOME.id, "sticky", QueueKind.WORKFLOW)
    assert (waiting.normal_queue, waiting.identity, waiting.worker_instance_key) == ("queue", "me", "w")


async def test_an_activity_poll_carries_the_workers_rate() -> None:
    desk = await open_desk()
    for metadata, rate in (
        (TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=0.0)), 0.0),
        (TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=2.5)), 2.5),
        (None, None),
    ):
        await desk.call(
            PollActivityTaskQueueRequest(
                namespace="default", task_queue=TaskQueue(name="queue"), task_queue_metadata=metadata
            )
        )
        assert desk.matching.polls[-1].max_tasks_per_second == rate
        assert desk.matching.polls[-1].partition.kind is QueueKind.ACTIVITY


async def test_versioned_workers_wait_in_a_part_of_the_queue_of_their_own() -> None:
    desk = await open_desk()
    deployed = WorkerDeploymentOptions(worker_versioning_mode=VERSIONED, deployment_name="shop", build_id="7")
    unversioned = WorkerDeploymentOptions(deployment_name="shop", build_id="7")
    old = WorkerVersionCapabilities(build_id="b", use_versioning=True)
    queue = TaskQueue(name="queue")
    for request, version in (
        (poll(deployment_options=deployed), "shop:7"),
        (PollActivityTaskQueueRequest(namespace="default", task_queue=queue, deployment_options=deployed), "shop:7"),
        (PollNexusTaskQueueRequest(namespace="default", task_queue=queue, deployment_options=deployed), "shop:7"),
        (poll(worker_version_capabilities=old), "b"),
        (poll(deployment_options=unversioned), ""),
        (poll(worker_version_capabilities=WorkerVersionCapabilities(build_id="b")), ""),
    ):
        await desk.call(request)
        assert desk.matching.polls[-1].partition.version == version


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Deployment name and build id must be set together."),
        ({"deployment_name": "shop"}, "Deployment name and build id must be set together."),
        (
            {"deployment_name": "x" * 481, "build_id": "7"},
            "size of WorkerDeploymentName larger than the maximum allowed",
        ),
        ({"deployment_name": "shop", "build_id": "x" * 481}, "size of BuildID larger than the maximum allowed"),
        ({"deployment_name": "a.b", "build_id": "7"}, "worker deployment name cannot contain '.'"),
        ({"deployment_name": "a:b", "build_id": "7"}, "worker deployment name cannot contain ':'"),
        ({"deployment_name": "shop", "build_id": "__7"}, "BuildID cannot start with '__'"),
    ],
)
async def test_a_versioned_worker_says_which_version_it_is(fields: dict[str, str], message: str) -> None:
    desk = await open_desk()
    options = WorkerDeploymentOptions(worker_versioning_mode=VERSIONED, **fields)
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(poll(deployment_options=options))
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("capabilities", "message"),
    [
        ({"use_versioning": True}, "WorkerVersionStamp must be present if UseVersioning is true."),
        ({"build_id": "x" * 256}, "Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID."),
    ],
)
async def test_a_build_is_named_and_its_name_is_short(capabilities: dict[str, Any], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(poll(worker_version_capabilities=WorkerVersionCapabilities(**capabilities)))
    assert refused.value.message == message


async def test_a_sticky_queue_of_a_worker_that_says_its_version_needs_its_normal_queue() -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match="NormalName must be set on sticky queue"):
        await desk.call(
            poll(task_queue=TaskQueue(name="s", kind=STICKY), deployment_options=WorkerDeploymentOptions(build_id="7"))
        )


async def test_a_poll_for_nexus_tasks_waits_in_a_partition_of_its_own() -> None:
    desk = await open_desk()
    request = PollNexusTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name="queue"), identity="me", worker_instance_key="w"
    )
    assert await desk.call(request) == b""
    (waiting,) = desk.matching.polls
    assert waiting.partition == QueueKey(HOME.id, "queue", QueueKind.NEXUS)
    assert (waiting.identity, waiting.worker_instance_key) == ("me", "w")


@pytest.mark.parametrize("answer", [b"", b"a task"])
async def test_a_poll_that_is_released_when_draining_begins_brings_home_what_it_got(answer: bytes) -> None:
    desk = await open_desk()
    entered = asyncio.Event()
    over: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def wait() -> bytes:
        entered.set()
        return await over

    async def release() -> None:
        over.set_result(answer)

    desk.matching.poll_with, desk.matching.release_with = wait, release
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(desk.call(poll()))
        await entered.wait()
        assert desk.frontend.waiting_polls == 1
        await desk.frontend.drain()
        assert desk.frontend.waiting_polls == 0
    assert waiting.result() == answer
    (asked,) = desk.matching.polls
    assert desk.matching.released == [(asked.partition, [asked.id])]
    assert await desk.call(poll()) == b""
    assert len(desk.matching.polls) == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_poll_that_nobody_releases_ends_empty(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.frontend.polls._RELEASE_S", 0.05)
    desk = await open_desk()
    entered = asyncio.Event()

    async def forever() -> bytes:
        entered.set()
        await asyncio.get_running_loop().create_future()
        return b"never"

    async def fail() -> None:
        raise Unimplemented("unknown method")

    desk.matching.poll_with, desk.matching.release_with = forever, fail if fails else forever
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(desk.call(poll()))
        await entered.wait()
        await desk.frontend.drain()
    assert waiting.result() == b""


async def test_every_poll_has_an_id_of_its_own() -> None:
    desk = await open_desk()
    assert [await desk.call(poll()) for _ in range(2)] == [b"", b""]
    first, second = (each.id for each in desk.matching.polls)
    assert first
    assert first != second


async def test_who_waits_for_something_else_is_asked_once_more_when_draining_begins() -> None:
    polls = Polls()
    entered = asyncio.Event()
    calls: list[Call] = []

    async def ask(call: Call) -> str:
        calls.append(call)
        if not call.wait_ns:
            entered.set()
            await asyncio.get_running_loop().create_future()
        return "not yet"

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(polls.wait_for(Call(timeout_ns=9), ask))
        await entered.wait()
        await polls.drain(nobody)
    assert waiting.result() == "not yet"
    assert await polls.wait_for(Call(timeout_ns=8), ask) == "not yet"
    assert [(call.timeout_ns, 0 < call.wait_ns < SECOND_NS // 10) for call in calls] == [
        (9, False),
        (9, True),
        (8, True),
    ]


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (
            GetWorkflowExecutionHistoryRequest(
                namespace="default", execution=WorkflowExecution(workflow_id="w"), wait_new_event=True
            ),
            HistoryPage(b"", b"token"),
        ),
        (
            PollWorkflowExecutionUpdateRequest(
                namespace="default", update_ref=UpdateRef(workflow_execution=WorkflowExecution(workflow_id="w"))
            ),
            PollWorkflowExecutionUpdateResponse(),
        ),
        (
            PollWorkflowExecutionTimeSkippingRequest(
                namespace="default", workflow_execution=WorkflowExecution(workflow_id="w"), fast_forward_id="f"
            ),
            PollWorkflowExecutionTimeSkippingResponse(),
        ),
    ],
)
async def test_a_frontend_that_drains_waits_for_nothing(request_: Message, reply: object) -> None:
    desk = await open_desk(with_limits(time_skipping=True))
    desk.history.reply = reply
    await desk.frontend.drain()
    await desk.call(request_)
    assert [bool(call.wait_ns) for call in desk.history.calls] == [True]


async def test_who_waits_for_a_worker_is_sent_elsewhere_when_draining_begins() -> None:
    polls = Polls()
    entered = asyncio.Event()

    async def ask() -> str:
        entered.set()
        await asyncio.get_running_loop().create_future()
        return "answered"

    async def asks() -> None:
        with pytest.raises(Unavailable, match="the server is stopping"):
            await polls.unless_stopping(ask)

    async with asyncio.TaskGroup() as group:
        group.create_task(asks())
        await entered.wait()
        await polls.drain(nobody)


async def test_a_frontend_that_drains_asks_no_worker() -> None:
    desk = await open_desk()
    await desk.frontend.drain()
    request = QueryWorkflowRequest(
        namespace="default", execution=WorkflowExecution(workflow_id="w"), query=WorkflowQuery(query_type="q")
    )
    with pytest.raises(Unavailable, match="the server is stopping"):
        await desk.call(request)
    assert not desk.history.calls


async def test_a_callers_own_cancellation_stays_one() -> None:
    polls = Polls()
    entered = asyncio.Event()

    async def forever() -> bytes:
        entered.set()
        await asyncio.get_running_loop().create_future()
        return b"never"

    waiting = asyncio.get_running_loop().create_task(polls.wait(forever))
    await entered.wait()
    waiting.cancel()
    await polls.drain(nobody)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_shutting_a_worker_down_reaches_every_owner_of_its_partitions() -> None:
    desk = await open_desk()
    desk.directory.roles = {"queue": FakeMatching(), "sticky": FakeMatching()}
    await desk.call(
        ShutdownWorkerRequest(
            namespace="default",
            worker_instance_key="w",
            task_queue="queue",
            sticky_task_queue="sticky",
            task_queue_types=[TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_NEXUS],
        )
    )
    ended = [(HOME.id, "w", "sticky")]
    assert [role.ended for role in desk.directory.roles.values()] == [ended, ended]
    assert desk.matching.ended == []


@pytest.mark.parametrize("timeout_ns", [0, 4 * SECOND_NS])
def test_a_host_that_hangs_keeps_a_worker_that_shuts_down_from_no_other_host(timeout_ns: int) -> None:
    heartbeat = WorkerHeartbeat(worker_instance_key="w")
    request = ShutdownWorkerRequest(
        namespace="default",
        worker_instance_key="w",
        task_queue="queue",
        sticky_task_queue="sticky",
        worker_heartbeat=heartbeat,
    )

    async def shut_down() -> list[Any]:
        desk = await open_desk()
        desk.directory.roles = {name: FakeMatching() for name in ("queue", "sticky")}

        async def hang(namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
            await asyncio.get_running_loop().create_future()

        desk.directory.roles["queue"].end_polls = hang  # type: ignore[method-assign]  # a fake of a fake
        with pytest.raises(Unavailable, match="has not answered"):
            async with asyncio.timeout(timeout_ns / SECOND_NS or 10.0):
                await desk.call(request, CallMeta(timeout_ns=timeout_ns))
        return [desk.directory.roles["sticky"].ended, desk.matching.heartbeats]

    assert run_virtual(shut_down()) == [[(HOME.id, "w", "sticky")], [(HOME.id, [heartbeat])]]


async def test_what_a_worker_that_shuts_down_is_remembered_by_is_short() -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match="WorkerInstanceKey length exceeds limit"):
        await desk.call(ShutdownWorkerRequest(namespace="default", worker_instance_key="x" * 1001))
    assert desk.matching.ended == []
