"""Connections go to those that take them, in turn, and end with both ends."""

import asyncio
from contextlib import AsyncExitStack

from tests.e2e.balancer import Balancer


async def _answers(name: str) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode() + await reader.readline())
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def _ask(address: str) -> str:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"!\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode().strip()


async def test_each_in_turn_and_none_that_is_closed() -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(await _answers(name)) for name in ("a", "b")]
        addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
        address = await stack.enter_async_context(Balancer(addresses).serving())
        assert {await _ask(address), await _ask(address)} == {"a!", "b!"}
        servers[0].close()
        assert [await _ask(address), await _ask(address)] == ["b!", "b!"]
        servers[1].close()
        assert await _ask(address) == ""
