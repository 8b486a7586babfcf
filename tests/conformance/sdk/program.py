"""Run one case with the official Python SDK, and print what came out: `program.py HOST:PORT CASE NONCE`.

The last line of the output is a JSON object: `result`, what the client saw, and `history`, the events as base64 of a
History message.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.worker import Worker

from tests.conformance.sdk import workflows as flows

Case = Callable[[Client, str, str], Awaitable[tuple[Any, WorkflowHandle[Any, Any]]]]


def _told(error: BaseException | None) -> list[str]:
    """The chain of causes, outermost first."""
    told = []
    while error is not None:
        told.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return told


async def timer_and_activity(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """A timer and a retried activity."""
    handle = await client.start_workflow(flows.TimerAndActivity.run, "you", id=name, task_queue=queue)
    return await handle.result(), handle


async def signal_and_query(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """Queries between two signals, one of them unknown."""
    handle = await client.start_workflow(flows.SignalAndQuery.run, id=name, task_queue=queue)
    seen: list[Any] = [await handle.query(flows.SignalAndQuery.items)]
    await handle.signal(flows.SignalAndQuery.add, "one")
    seen.append(await handle.query(flows.SignalAndQuery.items))
    try:
        await handle.query("unknown")
    except WorkflowQueryFailedError as error:
        seen.append(_told(error)[0].partition(",")[0])
    await handle.signal(flows.SignalAndQuery.add, "two")
    seen.append(await handle.result())
    seen.append(await handle.query(flows.SignalAndQuery.items))
    return seen, handle


async def cancelled_timer(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """A workflow is cancelled, cleans up, and ends as cancelled."""
    handle = await client.start_workflow(flows.CancelledTimer.run, id=name, task_queue=queue)
    await _after_first_task(handle)
    await handle.cancel()
    return await _failure(handle), handle


async def cancelled_activity(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """An activity learns of its cancellation by a heartbeat."""
    handle = await client.start_workflow(flows.CancelledActivity.run, id=name, task_queue=queue)
    await flows.BEATING.wait()
    await handle.signal(flows.CancelledActivity.end)
    return await handle.result(), handle


async def failing_activity(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """The failure of an activity goes all the way to the client."""
    handle = await client.start_workflow(flows.FailingActivity.run, id=name, task_queue=queue)
    return await _failure(handle), handle


async def attributes(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """Search attributes, memo and patches; then the errors of starting it again."""
    handle = await client.start_workflow(flows.Attributes.run, id=name, task_queue=queue, memo={"note": "old"})
    seen: list[Any] = [await handle.result()]
    described = await handle.describe()
    status = described.status.name if described.status else ""
    seen += [status, await described.memo(), described.typed_search_attributes[flows.KEYWORD]]
    try:
        rejecting = WorkflowIDReusePolicy.REJECT_DUPLICATE
        await client.start_workflow(flows.Attributes.run, id=name, task_queue=queue, id_reuse_policy=rejecting)
    except WorkflowAlreadyStartedError as error:
        seen.append(f"already started: {error.workflow_id == name}")
    return seen, handle


async def children(client: Client, name: str, queue: str) -> tuple[Any, WorkflowHandle[Any, Any]]:
    """Children that end in every way, and one that ends with its parent."""
    handle = await client.start_workflow(flows.Parent.run, id=name, task_queue=queue)
    seen: list[Any] = [await handle.result()]
    seen.append(await _failure(client.get_workflow_handle(f"{name}-left")))
    described = await client.get_workflow_handle(f"{name}-return").describe()
    seen.append([described.parent_id == name, described.root_id == name])
    return seen, handle


async def _after_first_task(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the first workflow task is completed: a history read that waits for events."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("workflow_task_completed_event_attributes"):
            return


async def _failure(handle: WorkflowHandle[Any, Any]) -> list[str]:
    try:
        await handle.result()
    except WorkflowFailureError as error:
        return _told(error)
    return ["no failure"]


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        timer_and_activity,
        signal_and_query,
        cancelled_timer,
        cancelled_activity,
        failing_activity,
        attributes,
        children,
    )
}


async def main(address: str, case: str, nonce: str) -> None:
    """Run a case beside a worker of its own, and print its result and history."""
    client = await Client.connect(address, identity="sdk")
    name, queue = f"wf-{nonce}", f"queue-{nonce}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=flows.WORKFLOWS,
        activities=flows.ACTIVITIES,
        max_heartbeat_throttle_interval=timedelta(milliseconds=200),
    ):
        result, handle = await CASES[case](client, name, queue)
    events = [event async for event in handle.fetch_history_events()]
    history = base64.b64encode(History(events=events).SerializeToString()).decode()
    sys.stdout.write(json.dumps({"result": result, "history": history}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    # The SDK's threads may still be running, and then the interpreter's own end can abort the process.
    os._exit(0)
