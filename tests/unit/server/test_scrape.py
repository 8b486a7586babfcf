"""The page over HTTP, and whatever else may be sent to its port."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio

from perdure.server import scrape
from perdure.server.scrape import REQUEST_BYTES_MAX, Scrape

PAGE = "polls 1\ntasks 2\n"


def _page() -> Iterator[bytes]:
    yield b"polls 1\n"
    yield b"tasks 2\n"


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    server = Scrape(_page)
    yield await server.start("127.0.0.1", 0)
    await server.stop()


async def _answer(port: int, request: bytes, *, eof: bool = False) -> tuple[str, str]:
    """(head, body) of the answer to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    if eof:
        writer.write_eof()
    try:
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    except ConnectionResetError:
        return "", ""  # hung up on before the request was read
    finally:
        writer.close()
    return head, body


async def test_the_page(port: int) -> None:
    head, body = await _answer(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n")
    assert body == PAGE
    assert head.splitlines() == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain; version=0.0.4; charset=utf-8",
        f"Content-Length: {len(PAGE)}",
        "Connection: close",
    ]


async def test_its_head_alone(port: int) -> None:
    head, body = await _answer(port, b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"Content-Length: {len(PAGE)}" in head
    assert body == ""


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", "404 Not Found"),
        (b"GET /metrics/x HTTP/1.1", "404 Not Found"),
        (b"POST /metrics HTTP/1.1", "405 Method Not Allowed"),
        (b"DELETE /metrics HTTP/1.1", "405 Method Not Allowed"),
        (b"GET /metrics", "400 Bad Request"),
        (b"GET /metrics HTTP/2", "400 Bad Request"),
        (b"PRI * HTTP/2.0", "400 Bad Request"),
        (b"\xff\xfe\x00", "400 Bad Request"),
    ],
)
async def test_anything_else_is_refused(port: int, request_line: bytes, status: str) -> None:
    head, body = await _answer(port, request_line + b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}\r\n")
    assert body == ""


async def test_a_request_that_never_ends_is_cut_off(port: int) -> None:
    head, _ = await _answer(port, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (2 * REQUEST_BYTES_MAX))
    assert head.startswith("HTTP/1.1 431 ")


async def test_half_a_request_is_a_bad_one(port: int) -> None:
    head, _ = await _answer(port, b"GET /met", eof=True)
    assert head.startswith("HTTP/1.1 400 ")


async def test_who_says_nothing_is_hung_up_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "_REQUEST_S", 0.05)
    assert await _answer(port, b"") == ("", "")


async def test_so_many_at_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "_CONNECTIONS_MAX", 1)
    _, silent = await asyncio.open_connection("127.0.0.1", port)
    assert (await _answer(port, b"GET /metrics HTTP/1.1\r\n\r\n")) == ("", "")
    silent.close()


async def test_its_end_is_the_end_of_who_says_nothing() -> None:
    server = Scrape(_page)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0))
    writer.write(b"GET /metrics")
    await writer.drain()
    async with asyncio.timeout(2):
        await server.stop()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_a_port_in_use_is_an_error(port: int) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await Scrape(_page).start("127.0.0.1", port)


async def test_an_orchestrator_is_told_what_lives_and_what_is_ready() -> None:
    ready = False
    server = Scrape(_page, lambda: ready)
    port = await server.start("127.0.0.1", 0)

    async def status(path: str) -> str:
        return (await _answer(port, f"GET {path} HTTP/1.1\r\n\r\n".encode()))[0].splitlines()[0]

    assert await status("/live") == "HTTP/1.1 200 OK"
    assert await status("/ready") == "HTTP/1.1 503 Service Unavailable"
    ready = True
    assert await status("/ready") == "HTTP/1.1 200 OK"
    await server.stop()
