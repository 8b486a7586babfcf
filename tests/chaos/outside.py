"""The world outside a real cluster: an HTTP server that takes completion callbacks as the simulator's receiver does.

Invariant: a call counts from when it came, whatever the cluster heard of it. What the receiver makes of a call is
drawn: most are answered, some refused, some answered by a connection that ends, some never.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from perdure.base.clock import SECOND_NS
from perdure.history.callbacks import NotSent
from perdure.history.completions import Completion
from perdure.testing.entropy import SeededEntropy
from perdure.testing.receiver import HOST, WorldOutside

# Longer than a caller waits by default.
_HANGS_NS = 15 * SECOND_NS


class Outside:
    """Receives at `address`, host:port. `world`: who is owed a call, and what came."""

    def __init__(self, address: str, entropy: SeededEntropy) -> None:
        self.address = address
        self.world = WorldOutside(entropy)

    def url(self, url: str) -> str:
        """Where the address of a simulated receiver is here."""
        return url.replace(f"//{HOST}/", f"//{self.address}/", 1)

    @property
    def told(self) -> list[tuple[str, Mapping[str, str]]]:
        """Address and headers of each call that came."""
        return [(url, call.headers) for url, calls in self.world.calls.items() for call in calls]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """While the context lasts."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._called)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        host, _, port = self.address.rpartition(":")
        try:
            await web.TCPSite(runner, host, int(port)).start()
            yield
        finally:
            await runner.cleanup()

    async def _called(self, request: web.Request) -> web.Response:
        url = f"http://{HOST}{request.path}"
        body = await request.read()
        try:
            answer = await self.world.post(Completion(url, request.headers, body), _HANGS_NS)
        except NotSent:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        return web.Response(status=answer.status, reason=answer.reason or None)
