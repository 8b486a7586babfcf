"""A server on a Cassandra as operators see it: what it costs, what it refuses, what happens when Cassandra is away."""

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.cassandra import cql
from tests.cassandra.fixtures import Keyspace
from tests.cassandra.proxy import Faults, Proxy
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.commands import Ended, Running, running, spawn
from tests.e2e.health import health
from tests.e2e.processes import free_port

SHARDS = 64
_LOOK_S = 0.1


def _configuration(folder: Path, keyspace: Keyspace, port: int = 0, replication: int = 1) -> list[str]:
    """The command that serves a keyspace."""
    path = folder / "perdure.yaml"
    path.write_text(
        f"store: {{cassandra: {{contact_points: {keyspace.contact.host}, port: {keyspace.contact.port}, "
        f"keyspace: {keyspace.name}, replication: {replication}}}}}\n"
        f"frontend: {{port: {port}}}\nmetrics: {{port: 0}}\nhistory: {{shards: {SHARDS}, port: 0}}\n"
        f"matching: {{port: 0}}\nlog: {{level: warn}}\n"
    )
    return ["server", "start", "--config", str(path)]


def _rows(keyspace: Keyspace, text: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in cql.rows(keyspace.contact.host, text, port=keyspace.contact.port)]


async def _passes(seconds: float) -> None:
    moment = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, moment.set)
    await moment.wait()


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Look again and again. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await _passes(_LOOK_S)


async def _asked(metrics: str) -> float:
    """How many statements a server has sent, by its own page of metrics."""
    host, port = re.findall(r"http://([\d.]+):(\d+)", metrics)[0]
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    page = (await reader.read()).decode()
    writer.close()
    assert 'cassandra_nodes{service_name="history",state="up"} 1.0' in page
    return sum(float(value) for value in re.findall(r"^cassandra_requests\{.*\} (\S+)$", page, re.MULTILINE))


async def _start(client: Client, workflow_id: str) -> None:
    await client.call(
        ws.StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id=workflow_id,
            workflow_type=common.WorkflowType(name="flow"),
            task_queue=taskqueue.TaskQueue(name="q"),
            request_id=workflow_id,
        )
    )


async def _signalled(client: Client, workflow_id: str) -> str:
    """`done`, or the status of the error."""
    execution = common.WorkflowExecution(workflow_id=workflow_id)
    request = ws.SignalWorkflowExecutionRequest(namespace="default", workflow_execution=execution, signal_name="s")
    try:
        await client.call(request, 30)
    except CallFailed as failed:
        return failed.code
    return "done"


async def _ends(server: Running) -> None:
    server.send(signal.SIGTERM)
    assert await server.ended(60) == 0
    assert "Traceback" not in server.errors, server.errors


@pytest.mark.timeout(300)
async def test_idle_costs_two_queries_a_second_whatever_the_number_of_shards(
    keyspace: Keyspace, tmp_path: Path
) -> None:
    async with running(_configuration(tmp_path, keyspace), tmp_path) as server:
        metrics = await server.line()
        assert f"keyspace {keyspace.name} of Cassandra at {keyspace.contact.host}" in metrics
        client = Client(server.address)
        info: ws.GetClusterInfoResponse = await client.call(ws.GetClusterInfoRequest())
        assert (info.persistence_store, info.visibility_store) == ("cassandra", "cassandra")
        assert info.history_shard_count == SHARDS
        before = await _asked(metrics)
        assert before > SHARDS  # it counts
        seconds = 12.0
        await _passes(seconds)
        # The members each second, the map of shards each five, the lease each one and a half.
        assert await _asked(metrics) - before < 2.5 * seconds
        await client.close()
        await _ends(server)
    # It has let go of its shards, so that the next one doesn't wait.
    assert not await asyncio.to_thread(_rows, keyspace, f"SELECT host FROM {keyspace.name}.host_lease")


@pytest.mark.timeout(300)
async def test_a_server_is_not_healthy_until_its_shards_are_here(keyspace: Keyspace, tmp_path: Path) -> None:
    """The one before it was killed, so that they are waited for."""
    port = free_port()
    command = _configuration(tmp_path, keyspace, port)
    async with running(command, tmp_path) as server:
        client = Client(server.address)
        await _start(client, "kept")
        assert await health(port) == "SERVING"
        await client.close()
    told: list[str] = []

    async def is_serving() -> bool:
        told.append(await health(port))
        return told[-1] == "SERVING"

    watching = asyncio.ensure_future(_until(is_serving, 120))
    async with running(command, tmp_path) as server:
        await watching
        assert list(dict.fromkeys(told)) in (["away", "NOT_SERVING", "SERVING"], ["NOT_SERVING", "SERVING"])
        client = Client(server.address)
        assert await _signalled(client, "kept") == "done"
        await client.close()
        await _ends(server)


@pytest.mark.timeout(300)
async def test_a_cassandra_that_goes_away_and_comes_back(keyspace: Keyspace, tmp_path: Path) -> None:
    proxy = Proxy((keyspace.contact.host, keyspace.contact.port), 7, Faults())
    await proxy.start("127.0.0.1", 0)
    command = ["dev", "--port", "0", "--log-format", "json", "--store", f"cassandra://{proxy.address}/{keyspace.name}"]
    try:
        async with running(command, tmp_path) as server:
            client = Client(server.address)
            await _start(client, "outlives")
            proxy.faults.black_hole = True
            loop = asyncio.get_running_loop()
            for _ in range(3):
                begun = loop.time()
                fates = await asyncio.gather(*(_signalled(client, "outlives") for _ in range(20)))
                # Told while an SDK still asks again, and not by its own deadline.
                assert set(fates) == {"UNAVAILABLE"}
                assert loop.time() - begun < 15
            assert await health(server.port) == "SERVING"
            proxy.faults.black_hole = False

            async def is_back() -> bool:
                return await _signalled(client, "outlives") == "done"

            await _until(is_back, 30)
            await _start(client, "afterwards")
            await client.close()
            proxy.faults.black_hole = True
            await _ends(server)  # also if what it would do last can't be done
            assert not [line for line in server.errors.splitlines() if orjson.loads(line)["level"] == "error"]
    finally:
        await proxy.stop()


@pytest.mark.timeout(300)
async def test_what_a_cluster_is_refused_for_is_one_line(keyspace: Keyspace, tmp_path: Path) -> None:
    async def refused(command: list[str]) -> str:
        with pytest.raises(Ended) as ended:
            (await spawn(command, tmp_path)).send(signal.SIGKILL)
        assert ended.value.code == 1, ended.value
        (tmp_path / "errors.log").unlink()
        (line,) = ended.value.errors.splitlines()
        return line

    url = keyspace.url.removesuffix(keyspace.name)
    many = await refused(["dev", "--port", "0", "--log-level", "error", "--store", f"{url}test_nowhere?replication=90"])
    assert many.startswith("Error: Replication 90 of keyspace test_nowhere is more than the datacenter")
    async with running(_configuration(tmp_path, keyspace), tmp_path) as server:
        await _ends(server)
    (tmp_path / "errors.log").unlink()
    assert "has replication 1" in await refused(_configuration(tmp_path, keyspace, replication=2))
    newer = f"UPDATE {keyspace.name}.installation SET version = version_ WHERE name = 'perdure' IF EXISTS"
    ((version,),) = await asyncio.to_thread(_rows, keyspace, f"SELECT version FROM {keyspace.name}.installation")
    await asyncio.to_thread(_rows, keyspace, newer.replace("version_", "99"))
    try:
        assert "schema version 99" in await refused(_configuration(tmp_path, keyspace))
    finally:
        await asyncio.to_thread(_rows, keyspace, newer.replace("version_", str(version)))
