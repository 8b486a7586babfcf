"""Callbacks over HTTP, to receivers that behave in every way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from perdure.base.clock import SECOND_NS
from perdure.history.callbacks import NotSent
from perdure.history.completions import Completion
from perdure.server.http_sender import ANSWER_BYTES_MAX, HttpSender

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[HttpSender]:
    found = HttpSender()
    yield found
    await found.close()


async def _receiver(answer: bytes) -> tuple[asyncio.Server, str, list[bytes]]:
    """(server, url, what it got): it answers whatever comes with these bytes and hangs up; nothing with none."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if answer:
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", got


async def _post(sender: HttpSender, answer: bytes, path: str = "/", seconds: float = 10) -> tuple[object, bytes]:
    server, url, got = await _receiver(answer)
    try:
        found = await sender.post(Completion(url + path, {"One": "1"}, b"body"), int(seconds * SECOND_NS))
    except NotSent as error:
        return error, got[0] if got else b""
    finally:
        server.close()
    return found, got[0]


async def test_only_what_it_is_given_is_sent(sender: HttpSender) -> None:
    answer, got = await _post(
        sender, b"HTTP/1.1 200 Fine\r\nX: y\r\nContent-Length: 2\r\n\r\nhi", "/a b?x=%41#fragment"
    )
    lines = got.decode().split("\r\n")
    assert lines[0] == "POST /a%20b?x=%41 HTTP/1.1"
    names = {line.partition(":")[0] for line in lines[1:] if line}
    assert names == {"Host", "One", "Content-Length"}
    assert (answer.status, answer.reason, answer.body) == (200, "Fine", b"hi")  # type: ignore[attr-defined]  # an Answer
    assert answer.headers["x"] == "y"  # type: ignore[attr-defined]  # an Answer


async def test_an_answer_that_sends_elsewhere_is_an_answer(sender: HttpSender) -> None:
    answer, _ = await _post(sender, b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    assert answer.status == 307  # type: ignore[attr-defined]  # an Answer


async def test_no_more_of_an_answer_is_read_than_is_kept(sender: HttpSender) -> None:
    head = b"HTTP/1.1 500 Bad\r\nContent-Length: 10000000\r\n\r\n"
    answer, _ = await _post(sender, head + b"x" * 2 * ANSWER_BYTES_MAX)
    assert len(answer.body) == ANSWER_BYTES_MAX  # type: ignore[attr-defined]  # an Answer


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"\x00" * 9])
async def test_nonsense_is_no_answer(sender: HttpSender, answer: bytes) -> None:
    found, _ = await _post(sender, answer)
    assert isinstance(found, NotSent)


async def test_a_receiver_that_hangs_is_given_up(sender: HttpSender) -> None:
    found, _ = await _post(sender, b"", seconds=0.1)
    assert str(found) == "context deadline exceeded"


async def test_where_nobody_listens_is_said_in_known_words(sender: HttpSender) -> None:
    server, url, _ = await _receiver(b"")
    server.close()
    await server.wait_closed()
    with pytest.raises(NotSent, match="connect: connection refused"):
        await sender.post(Completion(url, {}, b""), SECOND_NS)
    with pytest.raises(NotSent):
        await sender.post(Completion("http://", {}, b""), SECOND_NS)
