"""Queues with several partitions, as frontends see them."""

import asyncio
from collections.abc import Sequence

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.enums.v1 import ResourceExhaustedCause, TaskQueueKind
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue, TaskQueueMetadata
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import PerdureError, QueueSpread, ResourceExhausted, Unavailable
from perdure.cluster.branches import branch_of
from perdure.cluster.roles import PartitionView, Poll
from perdure.frontend.spreads import KNOWN_MAX, Spreads
from perdure.rpc.call import CallMeta
from perdure.testing.loop import run_virtual
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.frontend.fakes import HOME, Desk, FakeEntropy, open_desk

QUEUE = QueueKey(HOME.id, "q", QueueKind.ACTIVITY)
ROOT = QueueKey(HOME.id, "q", QueueKind.WORKFLOW)


def spread(count: int) -> QueueSpread:
    return QueueSpread("it has others", count)


def says(desk: Desk, *answers: bytes | PerdureError) -> None:
    """Matching answers polls so, the last again and again."""
    left = list(answers)

    async def answer() -> bytes:
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, PerdureError):
            raise said
        return said

    desk.matching.poll_with = answer


async def poll(desk: Desk) -> Sequence[tuple[QueueKey, int]]:
    """Where a poll went, and what it said it knew."""
    desk.matching.polls.clear()
    metadata = TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=7))
    request = PollActivityTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name="q"), task_queue_metadata=metadata
    )
    await desk.call(request)
    assert all(each.max_tasks_per_second == 7 for each in desk.matching.polls)
    return [(each.partition, each.partitions) for each in desk.matching.polls]


async def test_a_poll_goes_where_it_is_told_and_the_next_goes_there_at_once() -> None:
    desk = await open_desk()
    says(desk, spread(4), b"")
    desk.entropy.value = 0.99
    assert await poll(desk) == [(QUEUE, 1), (branch_of(QUEUE, 3), 4)]
    desk.entropy.value = 0.5
    assert await poll(desk) == [(branch_of(QUEUE, 2), 4)]
    desk.entropy.value = 0.0
    assert await poll(desk) == [(QUEUE, 4)]
    says(desk, spread(1), b"")
    assert await poll(desk) == [(QUEUE, 4), (QUEUE, 1)]


async def test_a_poll_that_is_sent_to_and_fro_is_served_by_the_root() -> None:
    desk = await open_desk()
    desk.entropy.value = 0.99
    says(desk, spread(2), spread(3), spread(2), spread(3), b"")
    *_, (last, known) = await poll(desk)
    assert (last, known) == (QUEUE, 0)
    assert len(desk.matching.polls) == 5


async def test_what_a_worker_has_for_itself_is_not_spread() -> None:
    desk = await open_desk()
    sticky = TaskQueue(name="s", kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name="q")
    await desk.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=sticky))
    await desk.call(PollNexusTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q")))
    assert [each.partitions for each in desk.matching.polls] == [0, 0]


def test_so_many_queues_are_known_and_no_more() -> None:
    spreads = Spreads(FakeEntropy(0.99))
    queues = [QueueKey("ns", f"q{number}", QueueKind.WORKFLOW) for number in range(KNOWN_MAX + 1)]
    for queue in queues:
        spreads.learn(queue, 2)
    assert spreads.place(Poll(queues[0], "w", 1)).partitions == 1
    assert spreads.place(Poll(queues[-1], "w", 1)).partition == branch_of(queues[-1], 1)


def poller(identity: str, seconds: int) -> PollerInfo:
    return PollerInfo(identity=identity, last_access_time=Timestamp(seconds=seconds))


async def test_a_description_has_the_pollers_of_all_partitions_and_the_figures_of_the_root() -> None:
    desk = await open_desk()
    views: dict[QueueKey, PartitionView | PerdureError] = {
        ROOT: PartitionView([poller("a", 10), poller("b", 5)], 7, 0, partitions=3),
        branch_of(ROOT, 1): PartitionView([poller("b", 20), poller("c", 1)], 99, 0),
        branch_of(ROOT, 2): Unavailable("it moves"),
    }

    async def describe(partition: QueueKey) -> PartitionView:
        view = views[partition]
        if isinstance(view, PerdureError):
            raise view
        return view

    desk.matching.describe = describe  # type: ignore[method-assign]  # a fake of a fake
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), report_stats=True)
    reply = await desk.call(request)
    assert [(each.identity, each.last_access_time.seconds) for each in reply.pollers] == [
        ("b", 20),
        ("a", 10),
        ("c", 1),
    ]
    assert reply.stats.approximate_backlog_count == 7


@pytest.mark.parametrize("timeout_ns", [0, SECOND_NS, 60 * SECOND_NS])
def test_a_partition_that_hangs_or_refuses_costs_no_more_than_its_pollers(timeout_ns: int) -> None:
    async def describe(partition: QueueKey) -> PartitionView:
        if partition == branch_of(ROOT, 1):
            await asyncio.get_running_loop().create_future()
        if partition == branch_of(ROOT, 2):
            raise ResourceExhausted("too many calls", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT)
        return PartitionView([poller(partition.name, 1)], 7, 0, partitions=4)

    async def ask() -> list[str]:
        desk = await open_desk()
        desk.matching.describe = describe  # type: ignore[method-assign]  # a fake of a fake
        request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"))
        async with asyncio.timeout(timeout_ns / SECOND_NS or 5.0):
            reply = await desk.call(request, CallMeta(timeout_ns=timeout_ns))
        return [each.identity for each in reply.pollers]

    assert run_virtual(ask()) == ["q", "/_sys/q/3"]


async def test_partitions_are_listed_by_their_names() -> None:
    desk = await open_desk()
    desk.matching.view = PartitionView([], 0, 0, partitions=3)
    reply = await desk.call(ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name="q")))
    names = ["q", "/_sys/q/1", "/_sys/q/2"]
    assert [one.key for one in reply.workflow_task_queue_partitions] == names
    assert [one.key for one in reply.activity_task_queue_partitions] == names
