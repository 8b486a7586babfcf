"""Fairness keys by an official SDK against a server: shares are as weights, over all of its shards."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.e2e.commands import running

# Of each key, in each workflow: how many tasks, and what each weighs.
_KEYS = {"a": (40, 1.0), "b": (8, 1.0), "c": (12, 3.0)}
_WORKFLOWS = 5


@workflow.defn
class Crowd:
    """Schedules all of its activities at once."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    "serve",
                    key,
                    task_queue="served",
                    start_to_close_timeout=timedelta(minutes=1),
                    priority=Priority(fairness_key=key, fairness_weight=weight),
                )
                for key, (count, weight) in _KEYS.items()
                for _ in range(count)
            )
        )


async def _order(client: Client) -> list[str]:
    """The keys of the activities in the order in which one worker got them, once all of them wait."""
    order: list[str] = []

    @activity.defn
    async def serve(key: str) -> None:
        order.append(key)

    runner = UnsandboxedWorkflowRunner()
    async with Worker(client, task_queue="flows", workflows=[Crowd], workflow_runner=runner):
        handles = [await client.start_workflow(Crowd.run, id=f"w{n}", task_queue="flows") for n in range(_WORKFLOWS)]
        for handle in handles:
            while len((await handle.describe()).raw_description.pending_activities) < 60:
                pass
        async with Worker(
            client,
            task_queue="served",
            activities=[serve],
            max_concurrent_activities=1,
            max_concurrent_activity_task_polls=1,
        ):
            await asyncio.gather(*(handle.result() for handle in handles))
    return order


async def test_keys_have_their_shares(tmp_path: Path) -> None:
    switch = ("--dynamic-config-value", "matching.enableFairness=true")
    async with running(["dev", "--port", "0", *switch], tmp_path) as server:
        order = await _order(await Client.connect(server.address))
    # While all have tasks: three of c for each of a and b, give or take one.
    shares = Counter(order[:50])
    assert sum(Counter(order).values()) == _WORKFLOWS * 60
    assert abs(shares["c"] - 30) <= 2
    assert abs(shares["a"] - 10) <= 1
    assert abs(shares["b"] - 10) <= 1
