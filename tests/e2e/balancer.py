"""One address for all frontends, as a load balancer gives it: each connection goes to one that takes it, in turn.

It knows of no frontend more than whether it takes connections, and never moves one that is open.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

_CHUNK = 64 * 1024
_CONNECT_S = 1.0


class Balancer:
    """In front of `addresses`, each `host:port`."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = [(host, int(port)) for host, _, port in (address.rpartition(":") for address in addresses)]
        self._open: set[asyncio.Task[None]] = set()
        self._turn = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its own address, while the context lasts."""
        server = await asyncio.start_server(self._passed_on, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _passed_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        ends = [writer]
        try:
            onward = await self._connected()
            if onward is not None:
                ends.append(onward[1])
                await asyncio.gather(_copy(reader, onward[1]), _copy(onward[0], writer))
        except asyncio.CancelledError:
            return  # only `serving` ends it: asyncio would call that an error
        finally:
            self._open.discard(task)
            for end in ends:
                end.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the next that takes one; None if none does."""
        self._turn += 1
        for at in range(len(self._addresses)):
            host, port = self._addresses[(self._turn + at) % len(self._addresses)]
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_S):
                    return await asyncio.open_connection(host, port)
        return None


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until one of both is closed; then both are."""
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    target.close()
