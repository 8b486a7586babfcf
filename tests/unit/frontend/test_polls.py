"""Polls: how long they wait, what matching learns, and how they end."""

import asyncio
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueKind, TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueMetadata
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    ShutdownWorkerRequest,
)

from perdure.base.errors import FailedPrecondition, InvalidArgument, Unimplemented
from perdure.base.limits import Limits
from perdure.cluster.roles import Call
from perdure.frontend.polls import Polls, poll_time_ns
from perdure.rpc.call import CallMeta
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.frontend.fakes import HOME, FakeEntropy, FakeMatching, open_desk

SECOND_NS = 1_000_000_000
STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY


def poll(**fields: Any) -> PollWorkflowTaskQueueRequest:
    plain: dict[str, Any] = {"namespace": "default", "task_queue": TaskQueue(name="queue"), "identity": "me"}
    return PollWorkflowTaskQueueRequest(**(plain | fields))


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


async def test_versioned_workers_are_not_taken_for_unversioned_ones() -> None:
    desk = await open_desk()
    versioned = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    with pytest.raises(Unimplemented, match="worker versioning"):
        await desk.call(poll(deployment_options=WorkerDeploymentOptions(worker_versioning_mode=versioned)))
    with pytest.raises(Unimplemented, match="worker versioning"):
        await desk.call(poll(worker_version_capabilities=WorkerVersionCapabilities(use_versioning=True)))
    assert desk.matching.polls == []


async def test_draining_ends_polls_empty_and_later_ones_at_once() -> None:
    desk = await open_desk()
    entered = asyncio.Event()

    async def forever() -> bytes:
        entered.set()
        await asyncio.get_running_loop().create_future()
        return b"never"

    desk.matching.poll_with = forever
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(desk.call(poll()))
        await entered.wait()
        assert desk.frontend.waiting_polls == 1
        desk.frontend.drain()
    assert waiting.result() == b""
    assert desk.frontend.waiting_polls == 0
    assert await desk.call(poll()) == b""
    assert len(desk.matching.polls) == 1


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
    polls.drain()
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
            task_queue_types=[TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY],
        )
    )
    ended = [(HOME.id, "w", "sticky")]
    assert [role.ended for role in desk.directory.roles.values()] == [ended, ended]
    assert desk.matching.ended == []
