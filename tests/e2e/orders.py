"""The program that runs while its server is killed.

Activities that fail and retry, timers, signals, queries, cancellation. Every effect of a workflow is visible in its
result, so that a lost or doubled step shows.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, is_cancelled_exception

QUEUE = "orders"
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1.5, maximum_attempts=0)


@dataclass
class Order:
    """What one workflow does: `failures` before its activity succeeds, `signals` to wait for, whether it is
    cancelled.
    """

    number: int
    failures: int
    signals: int
    cancelled: bool


@dataclass
class Receipt:
    """What one workflow did."""

    number: int
    attempts: int
    signals: list[str] = field(default_factory=list)
    ended: str = "completed"


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
class OrderWorkflow:
    """One order."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.stage = "new"

    @workflow.signal
    def note(self, text: str) -> None:
        """Remember a text, once."""
        if text not in self.received:
            self.received.append(text)

    @workflow.query
    def progress(self) -> str:
        """The stage and the number of signals."""
        return f"{self.stage} {len(self.received)}"

    @workflow.run
    async def run(self, order: Order) -> Receipt:
        """Charge, wait, collect signals; or wait until cancelled, and refund."""
        self.stage = "charging"
        attempts = await workflow.execute_activity(
            charge,
            args=[order.number, order.failures],
            start_to_close_timeout=timedelta(seconds=20),
            heartbeat_timeout=timedelta(seconds=3),
            retry_policy=RETRY,
        )
        self.stage = "waiting"
        await asyncio.sleep(0.2 + order.number % 5 / 10)
        await workflow.wait_condition(lambda: len(self.received) >= order.signals)
        receipt = Receipt(order.number, attempts, sorted(self.received))
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
