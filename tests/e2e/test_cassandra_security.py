"""Roles in processes of their own that know one another by certificates, and nobody else."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.base.clock import SystemClock
from perdure.rpc.lines import PATH
from perdure.rpc.tls import ChannelTls
from tests.cassandra.fixtures import Keyspace
from tests.e2e.commands import Running
from tests.e2e.processes import free_port
from tests.e2e.test_security import Greeting, Place, key
from tests.unit.frontend.issuers import AUDIENCE, GOOD_SET, ISSUER
from tests.unit.rpc.certificates import Folder

ROLES = ("history", "matching", "frontend")
UNAVAILABLE, DENIED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED


@asynccontextmanager
async def role(name: str, configuration: Path) -> AsyncIterator[Process]:
    """A process of the role, to its end."""
    with (configuration.parent / f"{name}.log").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "perdure.server.main", "server", "start", "--role", name, "-c", str(configuration),
            stdin=DEVNULL, stdout=PIPE, stderr=errors,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ready(process: Process) -> None:
    """Wait until it serves."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"serves" not in (line := await process.stdout.readline()):
            assert line, "it ended before it served"


async def refusals(channel: grpc.aio.Channel) -> set[grpc.StatusCode]:
    """How calls end that only another role may make."""
    found = set()
    async with channel:
        for path in ("/perdure.internal.History/Transact", "/perdure.internal.ShardHost/LetGo"):
            method: Any = channel.unary_unary(path)
            try:
                await method(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                found.add(error.code())
        stream: Any = channel.stream_stream(PATH)(timeout=10)
        found.add(await stream.code())
    return found


@pytest.mark.slow
async def test_roles_let_in_one_another_and_nobody_else(tmp_path: Path, keyspace: Keyspace) -> None:
    folder, ports = Folder(tmp_path / "tls"), {name: free_port() for name in ROLES}
    certificate, private = folder.issue("server")
    shown, own = folder.issue("role", "perdure.internal")
    keys, path = tmp_path / "keys.json", tmp_path / "perdure.yaml"
    keys.write_bytes(GOOD_SET)
    path.write_text(
        f"store: {{cassandra: {{contact_points: {keyspace.contact.host}, port: {keyspace.contact.port}, "
        f"keyspace: {keyspace.name}, replication: 1}}}}\n"
        f"frontend: {{port: {ports['frontend']}}}\nhistory: {{port: {ports['history']}, shards: 4}}\n"
        f"matching: {{port: {ports['matching']}}}\nmetrics: {{port: 0}}\n"
        "tls:\n"
        f"  frontend: {{certificate: {certificate}, key: {private}, client_authority: {folder.ca}}}\n"
        f"  internode: {{certificate: {shown}, key: {own}, authority: {folder.ca}, server_name: perdure.internal}}\n"
        f"auth: {{issuer: {ISSUER}, audience: {AUDIENCE}, keys: {keys}}}\n"
    )
    async with AsyncExitStack() as stack:
        # A role serves once calls have where to go: they wait for one another.
        processes = [await stack.enter_async_context(role(name, path)) for name in ROLES]
        await asyncio.gather(*(ready(process) for process in processes))
        place = Place(Running(processes[-1], tmp_path / "frontend.log", "127.0.0.1", ports["frontend"]), folder)
        client, worker = await place.sdk(key("default:write")), await place.sdk(key("default:worker"))
        async with Worker(worker, task_queue="q", workflows=[Greeting], workflow_runner=UnsandboxedWorkflowRunner()):
            handle = await client.start_workflow(Greeting.run, id="wf", task_queue="q")
            await handle.signal(Greeting.go, "roles")
            assert await handle.result() == "Hello, roles"
        for name in ("history", "matching"):
            address = f"127.0.0.1:{ports[name]}"
            stranger = folder.channel("client", "client.example", server_name="perdure.internal")
            nobody = folder.channel(server_name="perdure.internal")
            assert await refusals(grpc.aio.insecure_channel(address)) == {UNAVAILABLE}
            assert await refusals(ChannelTls(nobody, SystemClock()).open(address)) == {UNAVAILABLE}
            found = await refusals(ChannelTls(stranger, SystemClock()).open(address))
            assert found == ({DENIED} if name == "history" else {DENIED, grpc.StatusCode.UNIMPLEMENTED})
