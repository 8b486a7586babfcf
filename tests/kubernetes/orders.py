"""Workflows that an official SDK runs outside of Kubernetes, without a pause, while the cluster in it is changed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

QUEUE = "orders"
_AT_ONCE = 8


@activity.defn
async def charge(order: int) -> int:
    """What an order costs."""
    return order * 2


@workflow.defn
class Order:
    """Charges, waits, and charges again."""

    @workflow.run
    async def run(self, order: int) -> int:
        first = await workflow.execute_activity(charge, order, start_to_close_timeout=timedelta(seconds=30))
        await workflow.sleep(1)
        return first + await workflow.execute_activity(charge, order, start_to_close_timeout=timedelta(seconds=30))


@dataclass
class Tally:
    """What became of the workflows."""

    begun: int = 0
    right: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        errors = "".join(f", {count} x {error}" for error, count in self.errors.items())
        return f"{self.right} of {self.begun} workflows finished with the right result{errors}"


class Load:
    """`async with`: a worker, and clients that start a workflow and wait for it, again and again. It ends when all that
    was begun is over.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._name = name
        self.tally = Tally()
        self._client = client
        self._ending = asyncio.Event()
        self._one_more = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._worker = Worker(self._client, task_queue=QUEUE, workflows=[Order], activities=[charge])
        await self._worker.__aenter__()
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        for _ in range(_AT_ONCE):
            self._group.create_task(self._go_on())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._ending.set()
        await self._group.__aexit__(None, None, None)
        await self._worker.__aexit__(None, None, None)

    async def finished(self, more: int) -> None:
        """Wait until so many more have finished: it goes on."""
        wanted = self.tally.right + more
        async with asyncio.timeout(120), self._one_more:
            await self._one_more.wait_for(lambda: self.tally.right >= wanted)

    async def _go_on(self) -> None:
        while not self._ending.is_set():
            self.tally.begun += 1
            number = self.tally.begun
            try:
                result = await self._client.execute_workflow(
                    Order.run, number, id=f"{self._name}-{number}", task_queue=QUEUE
                )
            except Exception as error:  # noqa: BLE001 - whatever a client sees is what is asked here
                self.tally.errors[f"{type(error).__name__}: {error}"] += 1
                continue
            if result == number * 4:
                async with self._one_more:
                    self.tally.right += 1
                    self._one_more.notify_all()
