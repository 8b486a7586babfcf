"""Workflows of every outcome, for metrics to count: what a cluster in use does, in a few seconds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from tests.e2e.outcomes import Outcomes, stumble

QUEUE = "load"


@asynccontextmanager
async def workers(client: Client) -> AsyncIterator[None]:
    """Workers of one queue, sticky and without eager activities, so that matching has both kinds of tasks."""
    async with Worker(
        client, task_queue=QUEUE, workflows=[Outcomes], activities=[stumble], disable_eager_activity_execution=True
    ):
        yield


async def play(client: Client, name: str) -> None:
    """One workflow of each outcome, and calls that fail as callers make them fail."""

    async def run(outcome: str) -> None:
        with contextlib.suppress(WorkflowFailureError):
            await client.execute_workflow(
                Outcomes.run, outcome, id=f"{name}-{outcome}", task_queue=QUEUE,
                run_timeout=timedelta(seconds=2) if outcome == "times out" else None,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )  # fmt: skip

    async def end() -> None:
        for how in ("terminate", "cancel"):
            handle = await client.start_workflow(Outcomes.run, "waits", id=f"{name}-{how}", task_queue=QUEUE)
            await handle.signal(Outcomes.nudge)
            assert await handle.query(Outcomes.nudges) >= 0
            await getattr(handle, how)()
            with contextlib.suppress(WorkflowFailureError):
                await handle.result()

    async def err() -> None:
        await client.start_workflow(Outcomes.run, "nobody", id=f"{name}-taken", task_queue="nobody-polls")
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await client.start_workflow(
                Outcomes.run, "nobody", id=f"{name}-taken", task_queue="nobody-polls",
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )  # fmt: skip
        with contextlib.suppress(RPCError):
            await client.get_workflow_handle(f"{name}-none").describe()
        with contextlib.suppress(RPCError):
            await client.count_workflows("this is no query")
        assert await client.count_workflows("") is not None

    await asyncio.gather(
        *map(run, ("completes", "fails", "times out", "goes on")), end(), err(), _answer_badly(client, name)
    )


async def _answer_badly(client: Client, name: str) -> None:
    """A worker whose workflow tasks fail: by a bad command, and by its own word."""
    queue = f"{QUEUE}-raw"
    for at in ("command", "word"):
        await client.start_workflow("Bad", id=f"{name}-{at}", task_queue=queue)
        task = await client.workflow_service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=queue))
        )
        with contextlib.suppress(RPCError):
            if at == "command":
                bad = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
                await client.workflow_service.respond_workflow_task_completed(
                    ws.RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=[bad])
                )
            else:
                await client.workflow_service.respond_workflow_task_failed(
                    ws.RespondWorkflowTaskFailedRequest(task_token=task.task_token)
                )
        await client.get_workflow_handle(task.workflow_execution.workflow_id).terminate()
