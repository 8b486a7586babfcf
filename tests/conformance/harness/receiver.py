"""A receiver of completion callbacks: a small HTTP server on this machine that keeps what came and answers as told.

Invariant: what depends on the machine or on the library that sent it (port, order and framing headers, times) is not in
what it shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from temporalio.api.common.v1 import message_pb2 as common

from tests.conformance.harness.session import Recorder

_FRAMING = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})
_WAIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its path, its headers by lower-case name, its body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """`answers`: (status line after the version, headers, body) for the calls to come; then 200."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def wait(self, count: int) -> list[Call]:
        """Wait until `count` calls have come in all, and return them."""
        async with asyncio.timeout(_WAIT_SECONDS), self.came:
            await self.came.wait_for(lambda: len(self.calls) >= count)
        return self.calls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                call = await _read(reader)
                status, headers, body = self.answers.pop(0) if self.answers else ("200 OK", {}, "")
                head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                await writer.drain()
                async with self.came:
                    self.calls.append(call)
                    self.came.notify_all()
        writer.close()
        self.tasks.discard(task)


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("transfer-encoding") != "chunked":
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Call(head[0].split(" ")[1], headers, body)
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return Call(head[0].split(" ")[1], headers, body)


@contextlib.asynccontextmanager
async def receiving(*answers: tuple[str, dict[str, str], str]) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own, until the context ends."""
    receiver = Receiver(answers=list(answers))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(receiver.tasks):
            task.cancel()
        await asyncio.gather(*receiver.tasks, return_exceptions=True)


def show_call(s: Recorder, call: Call) -> None:
    """Record a call that came."""
    clean = s.transcript.names.clean
    names = sorted(call.headers.keys() - _FRAMING)
    s.transcript.lines += ["", f"= POST {call.path}"]
    s.transcript.lines += [f"  {name}: {clean(_timeless(call.headers[name]))}" for name in names]
    s.transcript.lines.append(f"  {clean(_body(call))}")


def _timeless(value: str) -> str:
    if value.endswith(" GMT"):
        parsedate_to_datetime(value)  # raises if it is none
        return "<http time>"
    return value


def _body(call: Call) -> str:
    if call.headers.get("content-type") == "application/json":
        return json.dumps(json.loads(call.body), sort_keys=True)
    if call.headers.get("content-type") == "application/x-temporal-payload":
        payload = common.Payload.FromString(call.body)
        return f"{sorted(payload.metadata.items())} {payload.data!r}"
    return repr(call.body)
