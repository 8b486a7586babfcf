"""Workflows that nobody works on, spread over all slots: that each answers shows that every shard serves.

`Lamps.all_shine` is the liveness check after a fault, and says how long the last shard did not answer.
"""

import asyncio
import itertools
from collections.abc import Sequence

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from perdure.base.slots import SLOTS, slot_of
from tests.chaos.layout import PROBE_NAMESPACE
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.clusters import passes

_CALL_S = 3.0
_PAUSE_S = 0.2


class Lamps:
    """`count` workflows, one in each `count`th of the slots."""

    def __init__(self, addresses: Sequence[str], count: int) -> None:
        self._clients = [Client(address) for address in addresses]
        self._count = count
        self._names: list[str] = []
        self._numbers = itertools.count()

    async def light(self) -> None:
        """Start them."""
        self._names = await self.names("lamp", self._count)
        for name in self._names:
            await self._clients[0].call(
                StartWorkflowExecutionRequest(
                    namespace=PROBE_NAMESPACE,
                    workflow_id=name,
                    workflow_type=WorkflowType(name="lamp"),
                    task_queue=TaskQueue(name="nobody"),
                    request_id=name,
                )
            )

    async def names(self, word: str, count: int) -> list[str]:
        """So many ids of workflows that begin with a word, one in each `count`th of the slots."""
        described = await self._clients[0].call(DescribeNamespaceRequest(namespace=PROBE_NAMESPACE))
        namespace_id = described.namespace_info.id
        names: dict[int, str] = {}
        for number in itertools.count():
            name = f"{word}-{number}"
            names.setdefault(slot_of(namespace_id, name) * count // SLOTS, name)
            if len(names) == count:
                break
        return [names[part] for part in sorted(names)]

    async def all_shine(self, seconds: float) -> tuple[float, list[str]]:
        """Write to each, through each frontend, until it is acknowledged: how long that took, and what never was."""
        loop = asyncio.get_running_loop()
        begun, dark = loop.time(), list[str]()

        async def shines(client: Client, name: str) -> None:
            error = ""
            while loop.time() < begun + seconds:
                try:
                    await self._signal(client, name)
                    return
                except CallFailed as failed:
                    error = str(failed)
                    await passes(_PAUSE_S)
            dark.append(f"{name} doesn't answer through {client.address}: {error}")

        await asyncio.gather(*(shines(client, name) for client in self._clients for name in self._names))
        return loop.time() - begun, dark

    async def _signal(self, client: Client, name: str) -> None:
        execution = WorkflowExecution(workflow_id=name)
        request = SignalWorkflowExecutionRequest(
            namespace=PROBE_NAMESPACE,
            workflow_execution=execution,
            signal_name="on",
            request_id=f"{name}-{next(self._numbers)}",
        )
        await client.call(request, _CALL_S)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()
