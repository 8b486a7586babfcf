"""What costs next to nothing: many polls that wait, and quiet connections that are kept alive by pings.

All of it happens at once, in one quiet stretch of `_QUIET_S`; each test looks at one side of it. An SDK pings every
10 s. gRPC's own servers, which expect no more than a ping in 5 minutes, end a connection after some that come too
early, in about 50 s; here a ping every 5 s, the most that Perdure permits, finds out in less than half of that.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.rpc import Client
from tests.e2e.commands import running
from tests.e2e.siege import SERVICE

pytestmark = pytest.mark.asyncio(loop_scope="module")

_POLLS = 2_000
_CHANNELS = 10
_QUIET_S = 24.0
_PINGS = (("grpc.keepalive_time_ms", 5_000), ("grpc.http2.max_pings_without_data", 0))


@dataclass
class Quiet:
    """What was seen: results of the polls and their number, and of the pinging ones here and at a server that
    minds them; the processor time that was used while nothing happened; memory per poll; the time a call took.
    """

    polls: Counter[str]
    pinging: str
    pinging_elsewhere: str
    idle_cpu_s: float
    poll_kib: float
    call_s: float


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _rss_kib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def _channel(address: str, *options: tuple[str, int]) -> grpc.aio.Channel:
    """A connection of its own."""
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1), *options])


async def _poll(channel: grpc.aio.Channel, queue: str) -> str:
    """`empty`, or what else became of a poll."""
    request = ws.PollActivityTaskQueueRequest(namespace="default", task_queue=taskqueue.TaskQueue(name=queue))
    invoke: Any = channel.unary_unary(f"{SERVICE}/PollActivityTaskQueue")
    try:
        reply: bytes = await invoke(request.SerializeToString(), timeout=_QUIET_S)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "a task" if reply else "empty"


class _Silent(grpc.GenericRpcHandler):
    """Answers every call empty after `_QUIET_S`."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def answer(_request: bytes, _context: Any) -> bytes:
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=_QUIET_S - 1)
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


async def _pinging_elsewhere() -> str:
    server = grpc.aio.server(options=[("grpc.http2.max_ping_strikes", 1)])
    server.add_generic_rpc_handlers((_Silent(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = _channel(f"127.0.0.1:{port}", *_PINGS)
    try:
        return await _poll(channel, "q")
    finally:
        await channel.close()
        await server.stop(None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quiet]:
    async with running(["dev", "--port", "0"], tmp_path_factory.mktemp("quiet")) as server:
        client = Client(server.address)
        await client.call(ws.GetSystemInfoRequest())
        memory = _rss_kib(server.pid)
        channels = [_channel(server.address) for _ in range(_CHANNELS)]
        pinging = asyncio.ensure_future(_poll(_channel(server.address, *_PINGS), "pinged"))
        elsewhere = asyncio.ensure_future(_pinging_elsewhere())
        polls = [asyncio.ensure_future(_poll(channels[n % _CHANNELS], f"q{n % 50}")) for n in range(_POLLS)]
        await asyncio.wait([pinging], timeout=6)  # until the polls have arrived
        cpu, loop = _cpu_s(server.pid), asyncio.get_running_loop()
        memory = _rss_kib(server.pid) - memory
        await asyncio.wait([pinging], timeout=5)
        cpu = _cpu_s(server.pid) - cpu
        begun = loop.time()
        await client.call(ws.GetSystemInfoRequest())
        took = loop.time() - begun
        yield Quiet(Counter(await asyncio.gather(*polls)), await pinging, await elsewhere, cpu, memory / _POLLS, took)
        for channel in channels:
            await channel.close()
        await client.close()
        assert not server.errors


async def test_polls_that_wait_for_nothing_are_all_answered_empty(quiet: Quiet) -> None:
    assert quiet.polls == {"empty": _POLLS}


async def test_polls_that_wait_cost_memory_and_nothing_else(quiet: Quiet) -> None:
    assert quiet.idle_cpu_s < 0.5  # of 5 s; most of the time nothing is used at all
    assert quiet.poll_kib < 64
    assert quiet.call_s < 2


async def test_a_quiet_poll_outlives_the_pings_of_its_client(quiet: Quiet) -> None:
    assert quiet.pinging == "empty"
    assert "Too many pings" in quiet.pinging_elsewhere, "this test would not find out"
