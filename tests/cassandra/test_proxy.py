"""The proxy carries frames as they are, knows conditional writes, and loses what it is told to lose."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from tests.cassandra import wire
from tests.cassandra.proxy import Fate, Faults, Proxy
from tests.cassandra.wire import BATCH, EXECUTE, OPTIONS, PREPARE, QUERY, RESULT, Frame, read_frame

_VOID = struct.pack(">I", 1)
_CONDITIONAL = "UPDATE t SET a = ? WHERE k = ? IF a = ?"
_PLAIN = "UPDATE t SET a = ? WHERE k = ?"


class FakeNode:
    """Answers every frame: PREPARE with an id made of the text, everything else with a void result."""

    def __init__(self) -> None:
        self.seen: list[Frame] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (frame := await read_frame(reader)) is not None:
            self.seen.append(frame)
            body = _VOID
            if frame.opcode == PREPARE:
                (length,) = struct.unpack_from(">I", frame.body)
                body = struct.pack(">IH", 4, length) + frame.body[4:]
            writer.write(Frame(0x84, 0, frame.stream, RESULT, body).packed)
        writer.close()


class FakeClient:
    """A connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, stream: int, opcode: int, body: bytes, version: int = wire.VERSION, flags: int = 0) -> None:
        self.writer.write(Frame(version, flags, stream, opcode, body).packed)

    async def reply(self) -> Frame:
        frame = await read_frame(self.reader)
        assert frame is not None, "the connection ended"
        return frame

    async def replies(self, count: int) -> list[int]:
        """The streams of so many replies, in their order."""
        return [(await self.reply()).stream for _ in range(count)]


@asynccontextmanager
async def proxied(faults: Faults, seed: int = 1) -> AsyncIterator[tuple[FakeClient, Proxy, FakeNode]]:
    node = FakeNode()
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    proxy = Proxy(("127.0.0.1", server.sockets[0].getsockname()[1]), seed, faults)
    await proxy.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield FakeClient(reader, writer), proxy, node
    finally:
        writer.close()
        await proxy.stop()
        server.close()


def long_string(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode()


def execute(statement: str) -> bytes:
    return struct.pack(">H", len(statement)) + statement.encode() + b"\0\1\0"


def batch(statements: Iterable[tuple[str, bool]]) -> bytes:
    """A batch's body: each statement as a prepared one or as text, with a value of three bytes and a null."""
    listed = list(statements)
    parts = [struct.pack(">BH", 1, len(listed))]
    for text, prepared in listed:
        parts.append(b"\1" + struct.pack(">H", len(text)) + text.encode() if prepared else b"\0" + long_string(text))
        parts.append(struct.pack(">HI", 2, 3) + b"abc" + struct.pack(">i", -1))
    return b"".join(parts)


async def test_frames_arrive_as_they_were_sent_and_in_their_order() -> None:
    async with proxied(Faults()) as (client, proxy, node):
        bodies = [long_string("SELECT " + "x" * size) for size in (0, 1, 100_000, 7, 2_000_000)]
        for stream, body in enumerate(bodies):
            client.send(stream, QUERY, body)
        assert await client.replies(len(bodies)) == list(range(len(bodies)))
        assert [(frame.stream, frame.opcode, frame.body) for frame in node.seen] == [
            (stream, QUERY, body) for stream, body in enumerate(bodies)
        ]
        assert proxy.met(Fate.PASSED) == len(bodies)


async def test_only_replies_of_conditional_writes_are_dropped_and_what_they_ask_for_happens() -> None:
    async with proxied(Faults(dropped=1.0)) as (client, proxy, node):
        client.send(1, PREPARE, long_string(_CONDITIONAL))
        client.send(2, PREPARE, long_string(_PLAIN))
        assert await client.replies(2) == [1, 2]
        client.send(3, EXECUTE, execute(_CONDITIONAL))
        client.send(4, EXECUTE, execute(_PLAIN))
        client.send(5, QUERY, long_string("insert into t (k) values (1) if not exists"))
        client.send(6, BATCH, batch([(_PLAIN, True), (_CONDITIONAL, True)]))
        client.send(7, BATCH, batch([(_PLAIN, False), (_PLAIN, True)]))
        client.send(8, QUERY, long_string("SELECT a FROM t"))
        assert await client.replies(3) == [4, 7, 8]
        assert [frame.stream for frame in node.seen] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert proxy.met(Fate.DROPPED, conditional=True) == proxy.met(Fate.DROPPED) == 3
        assert proxy.met(Fate.PASSED, conditional=False) == 3


async def test_a_lost_request_does_not_reach_the_node() -> None:
    async with proxied(Faults(lost=1.0, only_conditional=False)) as (client, proxy, node):
        client.send(1, QUERY, long_string("SELECT a FROM t"))
        client.send(2, OPTIONS, b"")
        assert await client.replies(1) == [2]
        assert [frame.stream for frame in node.seen] == [2]
        assert proxy.met(Fate.LOST) == 1


async def test_a_cut_ends_the_connection_in_place_of_the_reply() -> None:
    async with proxied(Faults(cut=1.0, only_conditional=False)) as (client, proxy, node):
        client.send(1, QUERY, long_string("SELECT a FROM t"))
        assert await read_frame(client.reader) is None
        assert [frame.stream for frame in node.seen] == [1]
        assert proxy.met(Fate.CUT) == 1


async def test_a_delayed_reply_is_overtaken() -> None:
    async with proxied(Faults(delayed=1.0, delay_seconds=0.2)) as (client, _, _):
        client.send(1, QUERY, long_string("DELETE FROM t WHERE k = 1 IF EXISTS"))
        client.send(2, QUERY, long_string(_PLAIN))
        assert await client.replies(2) == [2, 1]


async def test_a_black_hole_says_nothing_until_it_ends() -> None:
    async with proxied(Faults(black_hole=True)) as (client, proxy, node):
        client.send(1, OPTIONS, b"")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.reply()
        assert not node.seen
        proxy.faults.black_hole = False
        client.send(2, OPTIONS, b"")
        assert await client.replies(1) == [2]


async def test_the_same_seed_gives_the_same_fates() -> None:
    async def passed(seed: int) -> list[int]:
        async with proxied(Faults(lost=0.2, dropped=0.3, only_conditional=False), seed) as (client, proxy, _):
            for stream in range(200):
                client.send(stream, QUERY, long_string("SELECT a FROM t"))
            client.send(200, OPTIONS, b"")
            streams: list[int] = []
            while (stream := (await client.reply()).stream) != 200:
                streams.append(stream)
            assert proxy.met(Fate.PASSED) == len(streams)
            assert 20 < proxy.met(Fate.LOST) < 60
            assert 35 < proxy.met(Fate.DROPPED) < 85
            return streams

    first, again, other = await passed(1), await passed(1), await passed(2)
    assert first == again != other


async def test_a_newer_version_is_refused_and_a_compressed_frame_ends_the_connection() -> None:
    async with proxied(Faults()) as (client, proxy, node):
        client.send(9, OPTIONS, b"", version=5)
        refusal = await client.reply()
        assert (refusal.stream, refusal.opcode, refusal.version) == (9, wire.ERROR, 0x84)
        assert b"unsupported protocol version (5)" in refusal.body
        client.send(1, QUERY, b"??", flags=1)
        assert await read_frame(client.reader) is None
        assert not node.seen
        assert "compressed" in proxy.unreadable[0]


@pytest.mark.parametrize(
    ("cql", "expected"),
    [
        (_CONDITIONAL, True),
        (_PLAIN, False),
        ("  insert into t (k) values (?) if not exists using ttl 3", True),
        ("BEGIN BATCH UPDATE t SET a = 1 WHERE k = 1 IF EXISTS; APPLY BATCH", True),
        ("SELECT a FROM t WHERE k = 1", False),
        ("CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY)", False),
        ("UPDATE gifts SET swift = 1 WHERE k = 1", False),
    ],
)
def test_conditional_writes_are_told_by_their_text(cql: str, expected: bool) -> None:
    assert wire.is_conditional(cql) is expected
