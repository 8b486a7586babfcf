"""A workflow of every outcome, in a module of its own, as the SDK's sandbox wants it."""

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError


@activity.defn
async def stumble(attempts: int) -> int:
    """Succeeds at its last attempt."""
    if activity.info().attempt < attempts:
        raise ApplicationError("again")
    return attempts


@workflow.defn
class Outcomes:
    def __init__(self) -> None:
        self._nudges = 0

    @workflow.run
    async def run(self, outcome: str) -> None:
        await workflow.execute_activity(
            stumble,
            2,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        workflow.patched("a-marker")
        if outcome in ("waits", "times out"):
            await workflow.wait_condition(lambda: False)
        await workflow.sleep(0.05)
        if outcome == "fails":
            raise ApplicationError("no")
        if outcome == "goes on":
            workflow.continue_as_new("completes")

    @workflow.signal
    def nudge(self) -> None:
        self._nudges += 1

    @workflow.query
    def nudges(self) -> int:
        return self._nudges
