"""Two whole servers on one Cassandra: the one that stood still for longer than its lease commits nothing, and answers
nothing from what it remembers; it comes back as a member, and has everything again when the other one is gone.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.cassandra.fixtures import Keyspace
from tests.cassandra.proxy import Fate, Faults, Proxy
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.health import health
from tests.e2e.processes import ServerProcess, free_port

pytestmark = pytest.mark.slow

# What is read has nothing uncommitted in it: such a read would wait for the commit, and needed no lease.
_READ = "read"
_WRITTEN = "written"
_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
# A lease and a tenth more, and what a busy machine needs besides.
_TAKEN_S = 30.0


@asynccontextmanager
async def _served(store: str, folder: Path, name: str) -> AsyncIterator[tuple[ServerProcess, Client]]:
    server = ServerProcess(store, free_port(), log=folder / f"{name}.log")
    await server.start()
    client = Client(server.address)
    try:
        yield server, client
    finally:
        await client.close()
        server.send(signal.SIGCONT)
        await server.stop()


async def _begin(client: Client, workflow_id: str) -> None:
    await client.call(
        ws.StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id=workflow_id,
            workflow_type=common.WorkflowType(name="any"),
            task_queue=taskqueue.TaskQueue(name="nobody"),
            request_id=workflow_id,
        )
    )


async def _signal(client: Client, workflow_id: str, name: str, seconds: float = 10.0) -> bool:
    """Whether it was acknowledged."""
    request = ws.SignalWorkflowExecutionRequest(
        namespace="default",
        workflow_execution=common.WorkflowExecution(workflow_id=workflow_id),
        signal_name=name,
        request_id=name,
    )
    try:
        await client.call(request, seconds=seconds)
    except CallFailed as failed:
        if failed.code not in _PASSING:
            raise
        return False
    return True


async def _signals(client: Client, seconds: float = 10.0, workflow_id: str = _READ) -> list[str] | None:
    """The signals in history, None if the server does not say."""
    execution = common.WorkflowExecution(workflow_id=workflow_id)
    request = ws.GetWorkflowExecutionHistoryRequest(namespace="default", execution=execution)
    try:
        response = await client.call(request, seconds=seconds)
    except CallFailed as failed:
        if failed.code not in _PASSING:
            raise
        return None
    found = [event.workflow_execution_signaled_event_attributes.signal_name for event in response.history.events]
    return [name for name in found if name]


async def _length(client: Client, seconds: float = 10.0) -> int | None:
    """How many events Describe counts, None if the server does not say."""
    execution = common.WorkflowExecution(workflow_id=_READ)
    request = ws.DescribeWorkflowExecutionRequest(namespace="default", execution=execution)
    try:
        return int((await client.call(request, seconds=seconds)).workflow_execution_info.history_length)
    except CallFailed as failed:
        if failed.code not in _PASSING:
            raise
        return None


async def _until(is_so: Callable[[], AsyncIterator[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        async for done in is_so():
            if done:
                return
            turn = asyncio.Event()
            asyncio.get_running_loop().call_later(0.1, turn.set)
            await turn.wait()


@asynccontextmanager
async def _proxied(keyspace: Keyspace) -> AsyncIterator[Proxy]:
    proxy = Proxy((keyspace.contact.host, keyspace.contact.port), 7, Faults())
    await proxy.start("127.0.0.1", 0)
    try:
        yield proxy
    finally:
        await proxy.stop()


def _check_passed_on(done: list[bool], written: list[str] | None, others: list[str]) -> None:
    """What the owner was asked while it stood still, and a little later, it has passed on, once, or refused."""
    names = [*(f"late-{number}" for number in range(20)), *(f"later-{number}" for number in range(20))]
    assert written is not None
    assert len(written) == len(set(written))
    assert {name for name, is_done in zip(names, done, strict=True) if is_done} <= set(written)
    assert [name for name in written if name not in names] == others


@pytest.mark.timeout(240)
async def test_an_owner_that_stood_still_for_longer_than_its_lease(keyspace: Keyspace, tmp_path: Path) -> None:
    async with (
        _proxied(keyspace) as proxy,
        _served(f"cassandra://{proxy.address}/{keyspace.name}", tmp_path, "first") as (old_server, old),
    ):
        for workflow_id in (_READ, _WRITTEN):
            await _begin(old, workflow_id)
            assert all([await _signal(old, workflow_id, f"before-{number}") for number in range(5)])
        assert len(await _signals(old) or ()) == 5
        old_server.send(signal.SIGSTOP)
        stopped = time.monotonic()
        async with asyncio.TaskGroup() as group:
            # They lie in its sockets while it stands still, and in its hands when it goes on.
            writes = [group.create_task(_signal(old, _WRITTEN, f"late-{number}", 90)) for number in range(20)]
            begin = time.monotonic()
            async with _served(keyspace.url, tmp_path, "second") as (_, new):
                took = time.monotonic() - begin
                assert took < _TAKEN_S, took
                for workflow_id in (_READ, _WRITTEN):
                    assert all([await _signal(new, workflow_id, f"after-{number}") for number in range(5)])
                acknowledged = await _signals(new)
                length = await _length(new)
                assert acknowledged is not None
                assert length is not None
                assert len(acknowledged) == 10
                assert time.monotonic() - stopped > 6.0
                reads = [group.create_task(_signals(old, 90)) for _ in range(20)]
                counts = [group.create_task(_length(old, 90)) for _ in range(20)]
                writes += [group.create_task(_signal(old, _WRITTEN, f"later-{number}", 90)) for number in range(20)]
                # It can't learn that it has lost its shards: nothing but the time says that it may have.
                proxy.faults = Faults(lost=1.0)
                old_server.send(signal.SIGCONT)
                for _ in range(5):
                    assert await _signals(old, 1.5) in (None, acknowledged)
                    assert await _length(old, 1.5) in (None, length)
                assert proxy.met(Fate.LOST, conditional=True)
                proxy.faults = Faults()
                for _ in range(5):
                    assert await _signals(old, 1.5) in (None, acknowledged)
                    assert await _length(old, 1.5) in (None, length)
                assert all(seen in (None, acknowledged) for seen in await asyncio.gather(*reads))
                assert all(seen in (None, length) for seen in await asyncio.gather(*counts))
                _check_passed_on(await asyncio.gather(*writes), await _signals(new, workflow_id=_WRITTEN), acknowledged)
                assert await _signals(new) == acknowledged

                # It is a member again, under a new lease, and both have a part.
                async def shared() -> AsyncIterator[bool]:
                    while True:
                        yield await health(old_server.port) == "SERVING" and await _signals(old, 2) == acknowledged

                await _until(shared, _TAKEN_S)
        # Now nobody else has the shards.

        async def serves() -> AsyncIterator[bool]:
            while True:
                yield await _signals(old, 2) == acknowledged

        await _until(serves, _TAKEN_S)
        assert await _signal(old, _WRITTEN, "again")
        assert await health(old_server.port) == "SERVING"
