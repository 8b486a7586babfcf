"""A first workflow: greet by an activity, sleep on a durable timer, then wait for a signal."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def compose_greeting(name: str) -> str:
    return f"Hello, {name}"


@workflow.defn
class Greeting:
    def __init__(self) -> None:
        self._state = "greeting"
        self._approved_by = ""

    @workflow.run
    async def run(self, name: str) -> str:
        greeting = await workflow.execute_activity(compose_greeting, name, start_to_close_timeout=timedelta(seconds=10))
        self._state = "sleeping"
        await asyncio.sleep(1)  # a durable timer: it fires even if the worker and the server restart meanwhile
        self._state = "waiting for approval"
        await workflow.wait_condition(lambda: bool(self._approved_by))
        return f"{greeting}! Approved by {self._approved_by}."

    @workflow.signal
    def approve(self, by: str) -> None:
        self._approved_by = by

    @workflow.query
    def state(self) -> str:
        return self._state


async def main() -> None:
    client = await Client.connect("localhost:7233")
    async with Worker(client, task_queue="greetings", workflows=[Greeting], activities=[compose_greeting]):
        handle = await client.start_workflow(Greeting.run, "world", id=f"greeting-{uuid4()}", task_queue="greetings")
        print("state:", await handle.query(Greeting.state))
        await handle.signal(Greeting.approve, "you")
        print("result:", await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
