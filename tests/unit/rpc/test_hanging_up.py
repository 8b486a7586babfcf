"""Callers of a listener that stops hear UNAVAILABLE, or their answer, and nothing else."""

import asyncio
import socket
from collections import Counter
from typing import Any

import grpc
import grpc.aio
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse

from perdure.rpc.call import CallMeta, Method
from perdure.rpc.hanging_up import hang_up
from perdure.rpc.server import RpcServer

METHOD = "/temporal.api.workflowservice.v1.WorkflowService/DescribeNamespace"
REQUEST = DescribeNamespaceRequest(namespace="one").SerializeToString()


async def _answer(request: DescribeNamespaceRequest, _meta: CallMeta) -> DescribeNamespaceResponse:
    return DescribeNamespaceResponse(failover_version=len(request.namespace))


async def test_who_goes_on_calling_is_never_cancelled() -> None:
    server = RpcServer({METHOD: Method(DescribeNamespaceRequest, _answer)})
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    codes: Counter[grpc.StatusCode] = Counter()
    enough = asyncio.Event()

    async def go_on() -> None:
        async with grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            call: Any = channel.unary_unary(METHOD)
            while True:
                try:
                    reply = DescribeNamespaceResponse.FromString(await call(REQUEST, timeout=20))
                    assert reply.failover_version == 3
                    codes[grpc.StatusCode.OK] += 1
                    enough.set()
                except grpc.aio.AioRpcError as error:
                    codes[error.code()] += 1

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(go_on()) for _ in range(8)]
        await enough.wait()
        await server.stop(5)
        for caller in callers:
            caller.cancel()
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


async def test_only_connections_of_the_port_are_ended() -> None:
    reached: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.put_nowait(writer)

    ports, readers, writers = [], [], []
    servers = [await asyncio.start_server(accept, "127.0.0.1", 0) for _ in range(2)]
    for server in servers:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        there = await reached.get()
        there.write(b"last words\n")
        await there.drain()
        ports.append(port)
        readers.append(reader)
        writers += [writer, there]
    assert hang_up(ports[0]) == 1
    assert await readers[0].read() == b"last words\n"
    assert await readers[1].readline() == b"last words\n"
    writers[3].write(b"still here\n")
    assert await readers[1].readline() == b"still here\n"
    with socket.create_connection(("127.0.0.1", ports[0])) as again:
        assert again.getpeername()[1] == ports[0]
        writers.append(await reached.get())
    for each in writers:
        each.close()
    for server in servers:
        server.close()
