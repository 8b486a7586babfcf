"""Whether task queues are at several hosts while things fail: a run without branches says nothing of them."""

from collections import Counter
from collections.abc import Sequence

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import ListTaskQueuePartitionsRequest

from tests.conformance.harness.rpc import CallFailed, Client

_CALL_S = 5.0


class Spreads:
    """Of `queues`: (namespace, name). `seen`: how often a queue had so many partitions when it was looked at."""

    def __init__(self, address: str, queues: Sequence[tuple[str, str]]) -> None:
        self.seen: Counter[int] = Counter()
        self._client = Client(address)
        self._queues = queues

    async def look(self) -> list[str]:
        """Count now; nothing of it can be wrong."""
        for namespace, name in self._queues:
            request = ListTaskQueuePartitionsRequest(namespace=namespace, task_queue=TaskQueue(name=name))
            try:
                found = await self._client.call(request, _CALL_S)
            except CallFailed:
                continue
            self.seen[len(found.workflow_task_queue_partitions)] += 1
            self.seen[len(found.activity_task_queue_partitions)] += 1
        return []

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
