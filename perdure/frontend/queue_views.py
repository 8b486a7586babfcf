"""A task queue as a whole: what its root tells, and who polls at its other partitions.

Invariant: all figures are the root's. A partition that can't be reached at once has no pollers to show.
"""

import asyncio
from collections.abc import Iterable

from temporalio.api.taskqueue.v1 import PollerInfo

from perdure.base.errors import Unavailable
from perdure.cluster.branches import branch_of
from perdure.cluster.roles import PartitionView
from perdure.frontend.services import Services
from perdure.workflow.tasks import QueueKey


async def describe_partition(services: Services, partition: QueueKey, timeout_ns: int) -> PartitionView:
    """What a partition's owner tells; within `timeout_ns`, 0 = the caller has no deadline."""
    return await services.routing.on_matching(partition, lambda role: role.describe(partition), timeout_ns)


async def describe_queue(services: Services, root: QueueKey, timeout_ns: int) -> PartitionView:
    """The queue with the pollers of all its partitions."""
    view = await describe_partition(services, root, timeout_ns)
    branches = [_pollers(services, branch_of(root, index)) for index in range(1, view.partitions)]
    if branches:
        _merge(view.pollers, await asyncio.gather(*branches))
    return view


async def _pollers(services: Services, branch: QueueKey) -> list[PollerInfo]:
    try:
        return (await services.directory.matching(branch).describe(branch)).pollers
    except Unavailable:
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
