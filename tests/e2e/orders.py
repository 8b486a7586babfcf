"""The programs that run while their server is killed.

Activities that fail and retry, timers, signals, queries, cancellation; children that continue as new, are retried, are
cancelled or outlive their parent; signals between workflows; orders that continue as new or are retried themselves.
Every effect of a workflow is visible in its result, so that a lost or doubled step shows.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ParentClosePolicy

QUEUE = "orders"
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1.5, maximum_attempts=0)


@dataclass
class Order:
    """What one workflow does: `failures` before its activity succeeds, `signals` to wait for, whether it is
    cancelled, how many `rounds` it continues as new before, how many of its runs fail and are `retried`.

    `received`: the signals that earlier rounds took. A retried run begins with nothing, so it waits for no signals.
    """

    number: int
    failures: int
    signals: int
    cancelled: bool
    rounds: int = 0
    retried: int = 0
    received: list[str] = field(default_factory=list)


@dataclass
class Receipt:
    """What one workflow did."""

    number: int
    attempts: int
    signals: list[str] = field(default_factory=list)
    ended: str = "completed"
    packed: list[str] = field(default_factory=list)
    parcel: str = ""
    run_attempt: int = 1


@activity.defn
async def charge(number: int, failures: int) -> int:
    """Fails its first `failures` attempts; returns the attempt that succeeded."""
    attempt = activity.info().attempt
    activity.heartbeat(attempt)
    if attempt <= failures:
        raise ApplicationError(f"attempt {attempt} of order {number} fails as planned")
    return attempt


@activity.defn
async def refund(number: int) -> str:
    """What a cancelled order does last."""
    return f"refunded {number}"


@workflow.defn
class ParcelWorkflow:
    """A child of an order: it packs, tells its parent by a signal, and returns what it packed."""

    @workflow.run
    async def run(self, number: int, again: bool, fails: bool) -> str:
        """`again`: continue as new first. `fails`: the first attempt of a run fails."""
        if again:
            workflow.continue_as_new(args=[number, False, fails])
        if fails and workflow.info().attempt == 1:
            raise ApplicationError(f"parcel {number} fails as planned")
        await workflow.execute_activity(
            charge, args=[number, number % 2], start_to_close_timeout=timedelta(seconds=20), retry_policy=RETRY
        )
        parent = workflow.info().parent
        if parent is not None:
            await workflow.get_external_workflow_handle(parent.workflow_id).signal("pack", f"packed {number}")
        return f"parcel {number}"


@workflow.defn
class LeafletWorkflow:
    """A child that outlives its parent."""

    @workflow.run
    async def run(self, number: int) -> str:
        """Sleep, and be done."""
        await asyncio.sleep(0.5)
        return f"leaflet {number}"


@workflow.defn
class InspectionWorkflow:
    """A child that goes on until it is cancelled."""

    @workflow.run
    async def run(self) -> None:
        """Never returns."""
        await asyncio.sleep(3600)


@workflow.defn
class OrderWorkflow:
    """One order."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.packed: list[str] = []
        self.stage = "new"

    @workflow.signal
    def note(self, text: str) -> None:
        """Remember a text, once."""
        if text not in self.received:
            self.received.append(text)

    @workflow.update
    def amend(self, text: str) -> str:
        """As `note`; says so."""
        self.note(text)
        return f"amended {text}"

    @workflow.signal
    def pack(self, text: str) -> None:
        """Remember what a parcel says, as often as it comes."""
        self.packed.append(text)

    @workflow.query
    def progress(self) -> str:
        """The stage and the number of signals."""
        return f"{self.stage} {len(self.received)}"

    @workflow.run
    async def run(self, order: Order) -> Receipt:
        """Charge, pack, wait, collect signals; or wait until cancelled, and refund."""
        info = workflow.info()
        self.received += [text for text in order.received if text not in self.received]
        if info.attempt <= order.retried:
            raise ApplicationError(f"attempt {info.attempt} of order {order.number} fails as planned")
        self.stage = "charging"
        attempts = await workflow.execute_activity(
            charge,
            args=[order.number, order.failures],
            start_to_close_timeout=timedelta(seconds=20),
            heartbeat_timeout=timedelta(seconds=3),
            retry_policy=RETRY,
        )
        if order.rounds:
            workflow.continue_as_new(replace(order, rounds=order.rounds - 1, received=self.received))
        self.stage = "packing"
        parcel = await self._pack(order)
        self.stage = "waiting"
        await asyncio.sleep(0.2 + order.number % 5 / 10)
        await workflow.wait_condition(lambda: len(self.received) >= order.signals)
        receipt = Receipt(
            order.number, attempts, sorted(self.received), packed=self.packed, parcel=parcel, run_attempt=info.attempt
        )
        if not order.cancelled:
            return receipt
        self.stage = "until cancelled"
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as error:
            if not is_cancelled_exception(error):
                raise
            receipt.ended = await workflow.execute_activity(
                refund, order.number, start_to_close_timeout=timedelta(seconds=20), retry_policy=RETRY
            )
        return receipt

    async def _pack(self, order: Order) -> str:
        """Have children do their parts; what the parcel said."""
        name, number = workflow.info().workflow_id, order.number
        if number % 5 == 0:
            await workflow.start_child_workflow(
                LeafletWorkflow.run, number, id=f"{name}/leaflet", parent_close_policy=ParentClosePolicy.ABANDON
            )
        if number % 7 == 0:
            inspection = await workflow.start_child_workflow(InspectionWorkflow.run, id=f"{name}/inspection")
            inspection.cancel()
            with contextlib.suppress(ChildWorkflowError):
                await inspection
        parcel = await workflow.execute_child_workflow(
            ParcelWorkflow.run,
            args=[number, number % 3 == 0, number % 4 == 1],
            id=f"{name}/parcel",
            retry_policy=RETRY,
        )
        await workflow.wait_condition(lambda: bool(self.packed))
        return parcel
