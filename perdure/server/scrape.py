"""`/metrics` over HTTP, and beside it `/live` and `/ready`: for orchestrators that don't speak gRPC, or not its TLS.

A request is a line and headers, of which only the line is read, bounded in bytes and time; every answer closes its
connection. Invariant: whoever connects costs little and holds nothing; only GET and HEAD of one path get the page.
`/live` is answered with 200 by any process whose loop turns; `/ready` with 200 or 503. Refuses to know what is on the
page, and what makes a process ready.
"""

import asyncio
from collections.abc import Callable, Iterator
from http import HTTPStatus

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

PATH = "/metrics"
LIVE_PATH = "/live"
READY_PATH = "/ready"
REQUEST_BYTES_MAX = 16 * 1024
_REQUEST_S = 5.0
_CONNECTIONS_MAX = 64


class Scrape:
    """Serves `page()`, whose parts may take long to make: the loop runs between them. `is_ready`: whether this is a
    place for calls.
    """

    def __init__(self, page: Callable[[], Iterator[bytes]], is_ready: Callable[[], bool] = lambda: True) -> None:
        self._page = page
        self._is_ready = is_ready
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}
        self._over = asyncio.Event()
        self._over.set()

    async def start(self, host: str, port: int) -> int:
        """Listen (port 0: any free one) and return the port. Raises OSError."""
        server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES_MAX)
        self._server = server
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Take no more requests, and hang up on who is there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        await self._over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        self._over.clear()
        try:
            if len(self._open) > _CONNECTIONS_MAX:
                return
            async with asyncio.timeout(_REQUEST_S):
                line = await self._request(reader)
            answer = await self._answer(line)
            async with asyncio.timeout(_REQUEST_S):
                writer.write(answer)
                await writer.drain()
        except (OSError, TimeoutError):
            return  # whoever asked is gone, or never said what it wants
        finally:
            writer.close()
            del self._open[writer]
            if not self._open:
                self._over.set()

    async def _request(self, reader: asyncio.StreamReader) -> bytes | HTTPStatus:
        """The request's first line, once its headers are over; or what is wrong with it."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        except asyncio.IncompleteReadError:
            return HTTPStatus.BAD_REQUEST
        return head.partition(b"\r\n")[0]

    async def _answer(self, line: bytes | HTTPStatus) -> bytes:
        if isinstance(line, HTTPStatus):
            return _response(line)
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        path = target.partition(b"?")[0].decode("latin-1")
        if path not in (PATH, LIVE_PATH, READY_PATH):
            return _response(HTTPStatus.NOT_FOUND)
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n")
        if path == LIVE_PATH:
            return _response(HTTPStatus.OK)
        if path == READY_PATH:
            return _response(HTTPStatus.OK if self._is_ready() else HTTPStatus.SERVICE_UNAVAILABLE)
        parts = []
        for part in self._page():
            parts.append(part)
            await asyncio.sleep(0)
        body = b"".join(parts)
        head = _response(HTTPStatus.OK, f"Content-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\n", len(body))
        return head + body if method == b"GET" else head


def _response(status: HTTPStatus, headers: str = "", length: int = 0) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()
