"""What stands between two hosts in tests: a relay that can fall silent or hang up, and listeners of roles."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from perdure.rpc.call import RawMethod
from perdure.rpc.role_handlers import INTERNAL_OPTIONS
from perdure.rpc.server import RpcServer, ServerOptions
from perdure.rpc.tls import ServerTls


class Relay:
    """Passes TCP on to a port. `opened`: connections so far; `open`: those that stand."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self.address = ""
        self.opened = 0
        self.open = 0

    def hold(self) -> None:
        """Swallow nothing and pass nothing on: whoever waits for an answer gets none."""
        self._passes.clear()

    def cut(self) -> None:
        """End all connections at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def wait_open(self, count: int) -> None:
        """Return when so many connections stand."""
        while self.open != count:
            self._changed.clear()
            await self._changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._count(1)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        pair = {writer, there_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, there_writer))
                both.create_task(self._pass(there_reader, writer))
        finally:
            self._writers -= pair
            self._count(-1)

    def _count(self, more: int) -> None:
        self.open += more
        self._changed.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def relayed(port: int) -> AsyncIterator[Relay]:
    """A relay to a port of this machine."""
    relay = Relay(port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        relay.cut()
        relay._passes.set()
        server.close()
        await relay.wait_open(0)
        await server.wait_closed()


@contextlib.asynccontextmanager
async def hosting(
    methods: Mapping[str, RawMethod], tls: ServerTls | None = None, options: ServerOptions = INTERNAL_OPTIONS
) -> AsyncIterator[tuple[RpcServer, int]]:
    """A listener for other hosts, and its port."""
    server = RpcServer(methods, options=options, tls=tls)
    port = await server.start("127.0.0.1:0")
    try:
        yield server, port
    finally:
        await server.stop(0)


class FakeRole:
    """Answers any method. `answers`: by the method's name, a value, an error to raise, or a function of the arguments
    that may wait. `calls`: what was asked.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        async def answer(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            found = self.answers.get(name)
            if isinstance(found, Exception):
                raise found
            return await found(*arguments) if callable(found) else found

        return answer
