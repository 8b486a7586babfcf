"""What operators see of a task queue: its partitions and their owners, and the tasks that wait.

Requests are those by which the public API describes a queue. Invariant: in bounded time and memory, however many shards
and tasks there are; a shard that doesn't answer is shown as such.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from google.protobuf.struct_pb2 import Struct
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from perdure.base.clock import SECOND_NS, from_timestamp
from perdure.base.errors import PerdureError
from perdure.cluster.branches import branch_of
from perdure.cluster.namespaces import Namespace
from perdure.cluster.operations import Operations
from perdure.cluster.roles import Call, PartitionView
from perdure.frontend.admin_fields import reply_of, seconds_of, time_text
from perdure.frontend.admin_shards import ASK_S, standing_map
from perdure.frontend.checks import fill_queue
from perdure.frontend.methods import rpc
from perdure.frontend.queue_views import describe_partition, describe_queue
from perdure.frontend.services import Services
from perdure.workflow.tasks import EVERY_LANE, Offer, QueueKey, QueueKind, lane_key

TASKS_MAX = 100
KINDS = (QueueKind.WORKFLOW, QueueKind.ACTIVITY)
_AT_ONCE = 16
_ASK_NS = int(ASK_S * SECOND_NS)


async def ask_queue(services: Services, root: QueueKey) -> PartitionView | str:
    """A task queue as its owners see it, or why nobody says."""
    return await _within(describe_queue(services, root, _ASK_NS))


async def ask_partition(services: Services, partition: QueueKey) -> PartitionView | str:
    """A partition as its owner sees it, or why nobody says."""
    return await _within(describe_partition(services, partition, _ASK_NS))


async def _within(asking: Coroutine[Any, Any, PartitionView]) -> PartitionView | str:
    try:
        async with asyncio.timeout(ASK_S):
            return await asking
    except TimeoutError:
        return f"no answer within {ASK_S:g} s"
    except PerdureError as error:
        return error.message


class QueueCalls:
    """The RPCs about task queues, for operators."""

    def __init__(self, services: Services, operations: Operations) -> None:
        self._services = services
        self._operations = operations
        self._limits = services.options.limits

    @rpc(DescribeTaskQueueRequest)
    async def Queues(self, request: DescribeTaskQueueRequest, namespace: Namespace, _call: Call) -> Struct:
        """Of the type that the request names, or of each."""
        partitions = self._partitions(request, namespace)
        await self._operations.refresh()
        views = await self._ask(partitions)
        branches = [
            branch_of(root, index)
            for root, view in zip(partitions, views, strict=True)
            if not isinstance(view, str)
            for index in range(1, view.partitions)
        ]
        partitions, views = [*partitions, *branches], [*views, *await self._ask(branches)]
        now_ns = self._services.clock.now_ns()
        return reply_of({"partitions": [self._shown(*each, now_ns) for each in zip(partitions, views, strict=True)]})

    @rpc(DescribeTaskQueueRequest)
    async def Tasks(self, request: DescribeTaskQueueRequest, namespace: Namespace, _call: Call) -> Struct:
        """The first that wait, as the shards know them: matching may have none of them yet."""
        await self._operations.refresh()
        shards = [shard for _, shard in standing_map(self._operations).shards]
        turns = asyncio.Semaphore(_AT_ONCE)
        found: list[tuple[str, Offer]] = []
        failed: dict[str, str] = {}
        waiting = 0

        async def pull(shard: str, partition: QueueKey) -> None:
            nonlocal waiting
            try:
                async with turns, asyncio.timeout(ASK_S):
                    role = self._services.directory.history_of_shard(shard)
                    pulled = await role.pull(shard, lane_key(partition, EVERY_LANE), None, TASKS_MAX)
            except TimeoutError:
                failed[shard] = f"no answer within {ASK_S:g} s"
            except PerdureError as error:
                failed[shard] = error.message
            else:
                waiting += pulled.backlog.count
                found.extend((shard, offer) for offer in pulled.offers)
                found.sort(key=lambda each: each[1].order)
                del found[TASKS_MAX:]

        partitions = self._partitions(request, namespace)
        await asyncio.gather(*(pull(shard, partition) for shard in shards for partition in partitions))
        now_ns = self._services.clock.now_ns()
        tasks = [_task(shard, offer, now_ns) for shard, offer in found]
        return reply_of({"count": waiting, "tasks": tasks, "unreachable": failed})

    async def _ask(self, partitions: Iterable[QueueKey]) -> list[PartitionView | str]:
        return await asyncio.gather(*(ask_partition(self._services, partition) for partition in partitions))

    def _partitions(self, request: DescribeTaskQueueRequest, namespace: Namespace) -> list[QueueKey]:
        fill_queue(request, self._limits.of(namespace.name), user_defined=False)
        kinds = [kind for kind in KINDS if request.task_queue_type in (0, kind)]
        return [QueueKey(namespace.id, request.task_queue.name, kind) for kind in kinds]

    def _shown(self, partition: QueueKey, view: PartitionView | str, now_ns: int) -> dict[str, Any]:
        owner = self._operations.owner_of_queue(partition)
        member = self._operations.view.member(owner)
        shown: dict[str, Any] = {
            "queue": partition.name,
            "type": partition.kind.name.lower(),
            "host": owner,
            "host_name": member.name if member is not None else "",
            "error": view if isinstance(view, str) else "",
        }
        if isinstance(view, str):
            return shown
        pollers = [
            {
                "identity": poller.identity,
                "last_access": time_text(from_timestamp(poller.last_access_time)),
                "last_access_s": seconds_of(max(0, now_ns - from_timestamp(poller.last_access_time))),
            }
            for poller in view.pollers
        ]
        return shown | {
            "pollers": pollers,
            "backlog_count": view.backlog_count,
            "backlog_age_s": seconds_of(view.backlog_age_ns),
            "add_rate": round(view.add_rate, 3),
            "dispatch_rate": round(view.dispatch_rate, 3),
            "rate_limit": view.rate,
            "held_back": view.is_held_back,
        }


def _task(shard: str, offer: Offer, now_ns: int) -> dict[str, Any]:
    return {
        "type": offer.queue.kind.name.lower(),
        "workflow_id": offer.key.workflow_id,
        "run_id": offer.run_id,
        "scheduled_event_id": offer.scheduled_event_id,
        "attempt": offer.attempt,
        "priority": offer.priority,
        "fairness_key": offer.fairness_key,
        "sticky": offer.sticky,
        "scheduled": time_text(offer.scheduled_time_ns),
        "age_s": seconds_of(max(0, now_ns - offer.scheduled_time_ns)),
        "shard": shard,
    }
