"""A cluster of processes by role: each is restarted, one is killed, and the official SDK's workflows notice nothing."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from tests.cassandra.fixtures import Keyspace
from tests.e2e.balancer import Balancer
from tests.e2e.clusters import ClusterProcesses, cluster_of

pytestmark = pytest.mark.slow

_QUEUE = "cluster"
_STEPS = 6
_SDK_TRIES = timedelta(seconds=10)


class Ledger:
    """What activities have done, by workflow and step."""

    def __init__(self) -> None:
        self.done: dict[tuple[str, int], int] = {}

    @activity.defn(name="enter")
    async def enter(self, step: int) -> int:
        """Count it."""
        key = (activity.info().workflow_id or "", step)
        self.done[key] = self.done.get(key, 0) + 1
        return step


@workflow.defn(name="Steady", sandboxed=False)
class Steady:
    """Activities and timers in turn; counts its signals."""

    def __init__(self) -> None:
        self._signals: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> list[int]:
        """The steps done, and the signals, once each."""
        done = []
        for step in range(_STEPS):
            done.append(await workflow.execute_activity("enter", step, start_to_close_timeout=timedelta(seconds=20)))
            await workflow.sleep(0.5)
        await workflow.wait_condition(lambda: len(self._signals) >= wanted)
        return [*done, len(self._signals)]

    @workflow.signal
    def note(self, text: str) -> None:
        """Add one."""
        self._signals.append(text)


async def _restart_each(cluster: ClusterProcesses) -> None:
    """One of each role, after the other; and one history without a word."""
    for name in ("history-1", "matching-1", "frontend-1"):
        assert await cluster[name].stop() == 0, cluster[name].errors[-4000:]
        await cluster[name].start()
        await cluster[name].serves()
    await cluster["history-2"].kill()
    await cluster["history-2"].start()
    await cluster["history-2"].serves()


async def _signal(client: Client, name: str, text: str) -> None:
    """Through this frontend, which is away for longer than the SDK tries where processes start slowly."""
    while True:
        try:
            await client.get_workflow_handle(name).signal(Steady.note, text)
            return
        except RPCError as error:
            if error.status is not RPCStatusCode.UNAVAILABLE:
                raise


async def _go_on(clients: Sequence[Client], name: str, wanted: int) -> list[int]:
    """A workflow from start to end: started through one frontend, signalled through each in turn."""
    handle: WorkflowHandle[Steady, list[int]] = await clients[0].start_workflow(
        Steady.run, wanted, id=name, task_queue=_QUEUE
    )
    for number in range(wanted):
        await _signal(clients[number % len(clients)], name, f"{name}-{number}")
    return await handle.result()


@pytest.mark.timeout(300)
async def test_workflows_go_on_while_each_role_is_restarted_and_a_history_is_killed(
    keyspace: Keyspace, tmp_path: Path
) -> None:
    settings: dict[str, object] = {"history": {"shards": 8}}
    async with cluster_of(keyspace, tmp_path, settings=settings, frontend=2, history=2, matching=2) as cluster:
        clients = [await Client.connect(address) for address in cluster.frontends]
        ledger = Ledger()
        results: dict[str, list[int]] = {}
        # A worker at each frontend, so that neither has to be there.
        workers = [
            Worker(client, task_queue=_QUEUE, workflows=[Steady], activities=[ledger.enter]) for client in clients
        ]
        # Within the workers: pytest's own timeout cancels everything at once, after which they never end.
        async with workers[0], workers[1], asyncio.timeout(240):
            disturbance = asyncio.ensure_future(_restart_each(cluster))
            number = 0
            while not disturbance.done() or number < 3:
                names = [f"w-{number}-{each}" for each in range(5)]
                found = await asyncio.gather(*(_go_on(clients[::-1], name, 4) for name in names))
                results.update(zip(names, found, strict=True))
                number += 1
            await disturbance
        assert all(result == [*range(_STEPS), 4] for result in results.values())
        assert set(ledger.done) == {(name, step) for name in results for step in range(_STEPS)}
        assert set((await cluster.stop()).values()) == {0}
        for process in cluster.by_name.values():
            assert "Traceback" not in process.errors, process.errors


@workflow.defn(name="Patient", sandboxed=False)
class Patient:
    """Longer than an SDK repeats a call, and then until it is told."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> str:
        """Once told."""
        await workflow.sleep(_SDK_TRIES + timedelta(seconds=2))
        await workflow.execute_activity("enter", 0, start_to_close_timeout=timedelta(seconds=20))
        await workflow.wait_condition(lambda: self._told)
        return "told"

    @workflow.signal
    def tell(self) -> None:
        """It ends."""
        self._told = True


@pytest.mark.timeout(200)
async def test_who_has_waited_long_for_a_result_gets_it_when_the_frontend_it_waits_at_stops(
    keyspace: Keyspace, tmp_path: Path
) -> None:
    settings: dict[str, object] = {"history": {"shards": 4}}
    async with (
        cluster_of(keyspace, tmp_path, settings=settings, frontend=2, history=1, matching=1) as cluster,
        Balancer(cluster.frontends).serving() as address,
    ):
        entered = asyncio.Event()

        @activity.defn(name="enter")
        async def enter(step: int) -> int:
            entered.set()
            return step

        waiter, worker = [await Client.connect(each) for each in (address, cluster.frontends[0])]
        async with (
            Worker(worker, task_queue=_QUEUE, workflows=[Patient], activities=[enter]),
            asyncio.timeout(150),
        ):
            handle = await waiter.start_workflow(Patient.run, id="patient", task_queue=_QUEUE)
            result = asyncio.ensure_future(handle.result())
            await entered.wait()
            for frontend in ("frontend-2", "frontend-1"):
                assert not result.done()
                assert await cluster[frontend].stop() == 0, cluster[frontend].errors[-4000:]
                await cluster[frontend].start()
                await cluster[frontend].serves()
            await handle.signal(Patient.tell)
            assert await result == "told"
