"""Where the key set that tokens are signed by comes from: a file, or an address on the network.

Invariant: a bounded answer within a bounded time, from the address that was configured and no other. Refuses to know
what a key is.
"""

import asyncio
from pathlib import Path

import aiohttp

from perdure.frontend.authorization_keys import SET_BYTES_MAX, Fetch

_TIMEOUT_S = 8.0


def key_source(place: str) -> Fetch:
    """How the key set at `place`, a file or an http(s) address, is got."""
    is_address = place.startswith(("http://", "https://"))

    async def fetch() -> bytes:
        return await _get(place) if is_address else await asyncio.to_thread(_read, place)

    return fetch


async def _get(address: str) -> bytes:
    """Raises OSError, ValueError, aiohttp.ClientError."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get(address, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise ValueError(f"{address} answered {response.status}")
        return await _bounded(response.content)


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    while len(found) <= SET_BYTES_MAX:
        part = await content.read(SET_BYTES_MAX + 1 - len(found))
        if not part:
            break
        found += part
    return bytes(found)


def _read(path: str) -> bytes:
    with Path(path.removeprefix("file://")).open("rb") as file:
        return file.read(SET_BYTES_MAX + 1)
