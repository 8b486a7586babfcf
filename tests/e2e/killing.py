"""SDK workflows while their server is killed with -9 at random moments.

`python -m tests.e2e.killing --workflows 500 --kills 30` runs a campaign. Afterwards every workflow has its right
result, every acknowledged signal is there, and every history keeps its rules.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from tests.e2e.histories import broken_chains, broken_rules
from tests.e2e.orders import (
    QUEUE,
    RETRY,
    InspectionWorkflow,
    LeafletWorkflow,
    Order,
    OrderWorkflow,
    ParcelWorkflow,
    Receipt,
    charge,
    refund,
)
from tests.e2e.processes import ServerProcess, free_port

T = TypeVar("T")

AWAY = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.ABORTED,
}


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat `call` while its error only says that the server is away."""
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status not in AWAY:
                raise


def orders(count: int, seed: int) -> list[Order]:
    """`count` orders of every kind."""
    chance = random.Random(seed)
    return [_order(n, chance) for n in range(count)]


def _order(number: int, chance: random.Random) -> Order:
    retried = chance.choice((0, 0, 0, 1, 2))
    rounds = 0 if retried else chance.choice((0, 0, 1, 2))
    signals = 0 if retried else chance.randrange(4)
    return Order(number, chance.randrange(4), signals, chance.random() < 0.2, rounds, retried)


def expected_receipt(order: Order, receipt: Receipt, acknowledged: Iterable[str]) -> Receipt:
    """What the order should have returned; only an activity's attempts may be more than planned."""
    return Receipt(
        order.number,
        max(receipt.attempts, order.failures + 1),
        sorted(acknowledged),
        f"refunded {order.number}" if order.cancelled else "completed",
        [f"packed {order.number}"],
        f"parcel {order.number}",
        order.retried + 1,
    )


class Campaign:
    """One run: `in_flight` orders at a time on a server that is killed `kills` times, spread over the whole run."""

    def __init__(self, server: ServerProcess, count: int, kills: int, seed: int) -> None:
        self.server = server
        self.kills = kills
        self.orders = orders(count, seed)
        self.acknowledged: dict[int, list[str]] = {}
        self.receipts: dict[int, Receipt] = {}
        self.runs: dict[str, list[HistoryEvent]] = {}
        self._chance = random.Random(seed + 1)
        self._finished = asyncio.Event()

    async def run(self, in_flight: int) -> None:
        """Run all orders to their ends while the server dies and comes back."""
        client = await Client.connect(self.server.address)
        gate = asyncio.Semaphore(in_flight)

        async def one(order: Order) -> None:
            async with gate:
                self.receipts[order.number] = await self._order(client, order)

        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[OrderWorkflow, ParcelWorkflow, LeafletWorkflow, InspectionWorkflow],
            activities=[charge, refund],
            graceful_shutdown_timeout=timedelta(seconds=0),
        )
        async with worker, asyncio.TaskGroup() as group:  # a server that does not start again ends it all
            group.create_task(self._kill())
            await asyncio.gather(*(one(order) for order in self.orders))
            self._finished.set()

    async def _kill(self) -> None:
        """Kill and restart after random waits, each time once some more orders have finished."""
        for kill in range(1, self.kills + 1):
            enough = len(self.orders) * kill // (self.kills + 1)
            while len(self.receipts) < enough and not self._finished.is_set():
                await self._pause(0.05)
            await self._pause(self._chance.random() * 0.3)
            await self.server.kill()
            await self.server.start()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._finished.wait()
        except TimeoutError:
            return

    async def _order(self, client: Client, order: Order) -> Receipt:
        handle = await self._start(client, order)
        for number in range(order.signals):
            text = f"{order.number}-{number}"
            await persist(partial(handle.signal, OrderWorkflow.note, text))
            self.acknowledged.setdefault(order.number, []).append(text)
        await persist(lambda: handle.query(OrderWorkflow.progress))
        if order.cancelled:
            await persist(lambda: self._until_cancellable(handle))
            await persist(handle.cancel)
        return await persist(handle.result)

    async def _start(self, client: Client, order: Order) -> WorkflowHandle[OrderWorkflow, Receipt]:
        workflow_id = f"order-{order.number}"
        try:
            return await persist(
                lambda: client.start_workflow(
                    OrderWorkflow.run, order, id=workflow_id, task_queue=QUEUE, retry_policy=RETRY
                )
            )
        except WorkflowAlreadyStartedError:  # an attempt of ours whose answer was lost
            return client.get_workflow_handle_for(OrderWorkflow.run, workflow_id)

    async def _until_cancellable(self, handle: WorkflowHandle[OrderWorkflow, Receipt]) -> None:
        while not (await handle.query(OrderWorkflow.progress)).startswith("until cancelled"):
            await self._pause(0.05)

    async def check(self) -> list[str]:
        """What is wrong: results, signals, and the rules of every history."""
        client = await Client.connect(self.server.address)
        wrong = [f"order {order.number}: {found}" for order in self.orders for found in self._judge(order)]
        async for row in client.list_workflows():
            if row.status is WorkflowExecutionStatus.RUNNING:
                leaflet = client.get_workflow_handle(row.id, run_id=row.run_id)
                await leaflet.result()
            history = await client.get_workflow_handle(row.id, run_id=row.run_id).fetch_history()
            self.runs[row.run_id] = list(history.events)
            wrong += [f"{row.id} {row.run_id}: {rule}" for rule in broken_rules(list(history.events))]
        return wrong + broken_chains(self.runs)

    async def stuck(self) -> list[str]:
        """Where the orders stand that have no end: the newest event and what is pending, of every open run."""
        missing = [order.number for order in self.orders if order.number not in self.receipts]
        found = [f"after {self.server.kills} kills these orders have no end: {missing}"]
        try:
            client = await Client.connect(self.server.address)
        except RuntimeError as error:
            return [*found, str(error), self.server.output[-4000:]]
        async for row in client.list_workflows("ExecutionStatus = 'Running'"):
            handle = client.get_workflow_handle(row.id, run_id=row.run_id)
            described = (await handle.describe()).raw_description
            newest = (await handle.fetch_history()).events[-1]
            found.append(f"{row.id} {row.run_id}: newest event {newest}")
            found.append(f"pending: {described.pending_workflow_task} {described.pending_activities}")
        return [*found, self.server.output[-4000:]]

    def _judge(self, order: Order) -> Iterator[str]:
        """What is wrong with an order's receipt."""
        receipt = self.receipts[order.number]
        expected = expected_receipt(order, receipt, self.acknowledged.get(order.number, []))
        if receipt != expected:
            yield f"{receipt} instead of {expected}"


async def campaign(
    count: int, kills: int, seed: int, in_flight: int = 50, patience_seconds: float | None = None, store: str = ""
) -> tuple[Campaign, list[str]]:
    """Run and check, on a file or on a store by its address; the campaign and what is wrong. After
    `patience_seconds`: where it is stuck.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "perdure.db"
        server = ServerProcess(store or file, free_port(), log=file.with_suffix(".log"))
        await server.start()
        try:
            run = Campaign(server, count, kills, seed)
            return run, await judged(run, in_flight, patience_seconds)
        finally:
            await server.stop()


async def judged(run: Campaign, in_flight: int, patience_seconds: float | None) -> list[str]:
    """Run a campaign to its end on its server, which runs; what is wrong, or where it is stuck."""
    try:
        async with asyncio.timeout(patience_seconds):
            await run.run(in_flight)
    except TimeoutError:
        return await run.stuck()
    return await run.check()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workflows", type=int, default=500)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", default="", help="an address as `perdure dev --store` takes it; else a file")
    given = parser.parse_args()
    run, wrong = asyncio.run(campaign(given.workflows, given.kills, given.seed, store=given.store))
    summary = (
        f"{len(run.receipts)} workflows completed ({len(run.runs)} runs with their children), "
        f"{run.server.kills} kills, {len(wrong)} findings"
    )
    sys.stdout.write("\n".join([summary, *wrong]) + "\n")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
