"""A task queue as a whole: what its root tells, and who polls at its other partitions.

Invariant: all figures are the root's. A partition that can't be reached at once has no pollers to show; what the root
has told is answered within the caller's time, whatever becomes of the others.
"""

import asyncio
from collections.abc import Iterable

from temporalio.api.taskqueue.v1 import PollerInfo

from perdure.base.errors import ResourceExhausted, Unavailable
from perdure.cluster.branches import branch_of
from perdure.cluster.roles import Call, PartitionView
from perdure.cluster.routed import Timed
from perdure.frontend.services import Services
from perdure.workflow.tasks import QueueKey

# A branch tells what it has in memory: one that takes longer, or half of what the caller has left, doesn't answer.
BRANCH_S = 2.0


async def describe_partition(services: Services, partition: QueueKey, timeout_ns: int) -> PartitionView:
    """What a partition's owner tells; within `timeout_ns`, 0 = the caller has no deadline."""
    return await services.routing.on_matching(partition, lambda role: role.describe(partition), timeout_ns)


async def describe_queue(services: Services, root: QueueKey, timeout_ns: int) -> PartitionView:
    """The queue with the pollers of all its partitions."""
    timed = Timed(Call(timeout_ns=timeout_ns))
    view = await describe_partition(services, root, timeout_ns)
    branches = [branch_of(root, index) for index in range(1, view.partitions)]
    if branches:
        limit_s = timed.part_s(BRANCH_S)
        _merge(view.pollers, await asyncio.gather(*(_pollers(services, branch, limit_s) for branch in branches)))
    return view


async def _pollers(services: Services, branch: QueueKey, limit_s: float) -> list[PollerInfo]:
    try:
        async with asyncio.timeout(limit_s):
            return (await services.directory.matching(branch).describe(branch)).pollers
    except (TimeoutError, Unavailable, ResourceExhausted):
        return []


def _merge(pollers: list[PollerInfo], others: Iterable[list[PollerInfo]]) -> None:
    """Add who polls at other partitions. Of who polls at several the latest poll counts. The latest come first."""
    for each in others:
        pollers.extend(each)
    pollers.sort(key=lambda poller: poller.last_access_time.ToNanoseconds(), reverse=True)
    seen: dict[str, PollerInfo] = {}
    for poller in pollers:
        seen.setdefault(poller.identity, poller)
    pollers[:] = seen.values()
