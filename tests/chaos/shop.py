"""Orders by the official SDK, round after round, with a worker and a client at each frontend, while things fail.

Invariant: what was acknowledged is written down when it is; what a call's answer doesn't tell may have been done.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from tests.e2e.clusters import passes
from tests.e2e.histories import broken_chains, broken_rules
from tests.e2e.killing import AWAY, expected_receipt, orders
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

T = TypeVar("T")
_ROUND = 50
_EMPTIED_S = 60.0
# Of a query that was repeated the one before may still wait, in the only place that there is for queries.
_AGAIN = AWAY | {RPCStatusCode.RESOURCE_EXHAUSTED}
_Handle = WorkflowHandle[OrderWorkflow, Receipt]


class Shop:
    """`done`: acknowledged calls by kind. `errors`: what calls ended with that the SDK had repeated until then, by
    code. `receipts`, `acknowledged`, `uncertain`: by the order's number; signals and updates by their texts.
    """

    def __init__(self, clients: Sequence[Client], seed: int, in_flight: int) -> None:
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.told: dict[str, str] = {}
        self.orders: dict[int, Order] = {}
        self.receipts: dict[int, Receipt] = {}
        self.acknowledged: dict[int, set[str]] = {}
        self.uncertain: dict[int, set[str]] = {}
        self.runs: dict[str, list[HistoryEvent]] = {}
        self._clients = clients
        self._seed = seed
        self._chance = random.Random(seed)
        self._in_flight = in_flight
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more orders."""
        self._ending.set()

    async def run(self) -> None:
        """Take orders until `end`, and finish those taken."""
        async with AsyncExitStack() as stack:
            for client in self._clients:
                worker = Worker(
                    client,
                    task_queue=QUEUE,
                    workflows=[OrderWorkflow, ParcelWorkflow, LeafletWorkflow, InspectionWorkflow],
                    activities=[charge, refund],
                    graceful_shutdown_timeout=timedelta(seconds=0),
                )
                await stack.enter_async_context(worker)
            async with asyncio.TaskGroup() as group:
                for _ in range(self._in_flight):
                    group.create_task(self._serve())
            await self._emptied()

    async def _emptied(self) -> None:
        """Return when no run is open, or a while later: a leaflet outlives its order, and needs a worker."""
        deadline = asyncio.get_running_loop().time() + _EMPTIED_S
        while asyncio.get_running_loop().time() < deadline:
            open_runs = await self._persist(
                "count", partial(self._client().count_workflows, 'ExecutionStatus = "Running"')
            )
            if not open_runs.count:
                return
            await passes(0.5)

    async def _serve(self) -> None:
        """One order after the other."""
        while not self._ending.is_set():
            number = len(self.orders)
            drawn = orders(_ROUND, self._seed + number // _ROUND)[number % _ROUND]
            self.orders[number] = replace(drawn, number=number)
            self.receipts[number] = await self._order(self.orders[number])

    async def _order(self, order: Order) -> Receipt:
        handle = await self._start(order)
        for at in range(order.signals):
            await self._tell(order, f"{order.number}-{at}")
        await self._persist("query", lambda: handle.query(OrderWorkflow.progress))
        if order.cancelled:
            while not (await self._persist("query", lambda: handle.query(OrderWorkflow.progress))).startswith("until"):
                await passes(0.1)
            await self._persist("cancel", self._handle(order).cancel)
        return await self._persist("result", self._handle(order).result)

    async def _start(self, order: Order) -> _Handle:
        client = self._client()
        start = partial(
            client.start_workflow, OrderWorkflow.run, order, id=_id(order), task_queue=QUEUE, retry_policy=RETRY
        )
        try:
            return await self._persist("start", start)
        except WorkflowAlreadyStartedError:  # an attempt of ours whose answer was lost
            return self._handle(order)

    async def _tell(self, order: Order, text: str) -> None:
        """A signal, or an update."""
        handle = self._handle(order)
        if self._chance.random() < 0.5:
            kind, call = "signal", partial(handle.signal, OrderWorkflow.note, text)
        else:
            kind, call = "update", partial(handle.execute_update, OrderWorkflow.amend, text, id=text)
        try:
            await self._persist(kind, call)
        except RPCError as error:
            # An attempt of this call was the last thing that the order waited for, and its answer was lost.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            self.uncertain.setdefault(order.number, set()).add(text)
        else:
            self.acknowledged.setdefault(order.number, set()).add(text)

    async def _persist(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat `call` while its error only says that the server is away."""
        while True:
            try:
                answer = await call()
            except RPCError as error:
                if error.status not in _AGAIN:
                    raise
                self.errors[error.status.name] += 1
                self.told.setdefault(error.status.name, f"{kind}: {error}")
                await passes(0.5)
            else:
                self.done[kind] += 1
                return answer

    def _client(self) -> Client:
        return self._chance.choice(self._clients)

    def _handle(self, order: Order) -> _Handle:
        return self._client().get_workflow_handle_for(OrderWorkflow.run, _id(order))

    def missing(self) -> list[str]:
        """The orders that have no end."""
        return [f"order {number} has no end" for number in self.orders if number not in self.receipts]

    async def check(self) -> list[str]:
        """What is wrong: results, signals, the rules of every history, and lists that don't agree."""
        wrong = [found for order in self.orders.values() for found in self.judge(order)]
        client = self._clients[0]
        listed: set[str] = set()
        async for row in client.list_workflows():
            handle = client.get_workflow_handle(row.id, run_id=row.run_id)
            if row.status is WorkflowExecutionStatus.RUNNING:
                wrong.append(f"{row.id} {row.run_id} is still open")
                continue
            self.runs[row.run_id] = list((await handle.fetch_history()).events)
            wrong += [f"{row.id} {row.run_id}: {rule}" for rule in broken_rules(self.runs[row.run_id])]
            listed.add(row.id)
        counted = (await client.count_workflows()).count
        if counted != len(self.runs):
            wrong.append(f"{counted} runs are counted, {len(self.runs)} listed")
        wrong += [f"order {number} is not listed" for number in self.receipts if f"order-{number}" not in listed]
        return wrong + broken_chains(self.runs)

    def unanswered(self) -> Counter[str]:
        """Of the runs that were checked, how many tasks were lost on their way to a worker, or with it, by kind."""
        found: Counter[str] = Counter()
        for events in self.runs.values():
            for event in events:
                late = event.workflow_task_timed_out_event_attributes
                retried = event.activity_task_started_event_attributes.last_failure
                found["workflow tasks"] += late.timeout_type == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
                found["activities"] += retried.HasField("timeout_failure_info")
        return found

    def judge(self, order: Order) -> list[str]:
        """What is wrong with what an order came to."""
        receipt = self.receipts.get(order.number)
        if receipt is None:
            return []
        texts = self.acknowledged.get(order.number, set())
        texts = texts | (self.uncertain.get(order.number, set()) & set(receipt.signals))
        expected = expected_receipt(order, receipt, texts)
        return [] if receipt == expected else [f"order {order.number}: {receipt} instead of {expected}"]


def quiet() -> None:
    """Have the SDK not log what fails as planned, nor the store's driver what it meets."""
    for name in ("temporalio.activity", "temporalio.workflow", "temporalio.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


class Warnings(logging.Handler):
    """Counts what the SDK's core warns of, by its text: a worker that comes too late says so, and nothing is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        # "[target] text {fields}": the text alone is the same each time.
        self.counts[record.getMessage().partition("] ")[2].partition(" {")[0][:80]] += 1

    def runtime(self) -> Runtime:
        """A runtime of the SDK that tells this one, and nobody else."""
        logger = logging.getLogger("chaos.core")
        logger.propagate = False
        logger.addHandler(self)
        told = LoggingConfig(
            TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=LogForwardingConfig(logger)
        )
        return Runtime(telemetry=TelemetryConfig(logging=told))


def _id(order: Order) -> str:
    return f"order-{order.number}"
