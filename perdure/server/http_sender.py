"""Sends callbacks over HTTP, for a process that is on a network.

Invariant: a receiver costs at most the time that its caller allows and a bounded piece of memory, and an answer that
sends elsewhere is only an answer: what was allowed is the address that was asked.
"""

import asyncio
import socket
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from perdure.base.clock import SECOND_NS
from perdure.history.callbacks import TIMED_OUT, NotSent
from perdure.history.completions import Answer, Completion

ANSWER_BYTES_MAX = 64 * 1024
_CONNECTIONS_MAX = 256
_SAFE = ":/?#[]@!$&'()*+,;=%-._~"
_UNWANTED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class HttpSender:
    """`perdure.history.callbacks.Sender`. Connections are kept; `close` ends them."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, completion: Completion, timeout_ns: int) -> Answer:
        """See the Protocol."""
        try:
            async with asyncio.timeout(timeout_ns / SECOND_NS):
                return await self._post(completion)
        except TimeoutError as error:
            raise NotSent(TIMED_OUT) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotSent(_words(error, completion.url)) from error

    async def _post(self, completion: Completion) -> Answer:
        url = URL(quote(completion.url, safe=_SAFE), encoded=True)
        async with self._connections().post(
            url, data=completion.body, headers=completion.headers, skip_auto_headers=_UNWANTED, allow_redirects=False
        ) as response:
            body = await _read(response.content)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, response.reason or "", headers, body)

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The body, as far as it is kept."""
    found = bytearray()
    while len(found) < ANSWER_BYTES_MAX:
        part = await content.read(ANSWER_BYTES_MAX - len(found))
        if not part:
            break
        found += part
    return bytes(found)


def _words(error: Exception, url: str) -> str:
    """What went wrong, in the words that operators know from the reference where there are some."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {parts.hostname}:{port}: connect: connection refused"
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {parts.hostname}: no such host"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    return str(error) or type(error).__name__
