"""A gRPC client that costs next to nothing, because the driver shares the processors with what it measures.

Unary calls over plain HTTP/2 on one connection: `await calls.call("PollWorkflowTaskQueue", body)`. Requests and
replies are encoded messages. Headers are indexed as any client's are. It trusts its server: of a failed call it tells
only the bytes of the trailers.
"""

import asyncio
import time
from collections import deque
from typing import Any

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

_SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WINDOW_MAX = 2**31 - 1
_WINDOW_START = 65_535
_TOP_UP = 1 << 20
_INITIAL_WINDOW = 4
_CANCEL = 8
_STATIC_ENTRIES = 61
_POST, _HTTP = b"\x83", b"\x86"  # :method and :scheme, of the static table


class CallFailed(Exception):
    """A call that has no reply."""


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def _text(value: str) -> bytes:
    encoded = value.encode()
    assert len(encoded) < 127  # longer ones are written otherwise
    return bytes((len(encoded),)) + encoded


class Calls(asyncio.Protocol):
    """One connection."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._transport: Any = None
        self._rest = b""
        self._stream = -1
        self._waiting: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self._data: dict[int, bytes] = {}
        self._entries: dict[tuple[str, str], int] = {}  # of the dynamic table, by the order of their coming
        self._window = _WINDOW_START
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._consumed = 0

    @classmethod
    async def connect(cls, address: str, within_s: float = 60.0) -> "Calls":
        """Connect, as soon as the server answers."""
        host, _, port = address.rpartition(":")
        end = time.monotonic() + within_s
        while True:
            try:
                _, calls = await asyncio.get_running_loop().create_connection(lambda: cls(address), host, int(port))
                await asyncio.wait_for(calls.call("GetSystemInfo", GetSystemInfoRequest().SerializeToString()), 5)
                return calls
            except (OSError, CallFailed, TimeoutError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def call(self, method: str, body: bytes, timeout_s: int = 0) -> bytes:
        """The encoded reply. Raises CallFailed."""
        self._stream += 2
        stream = self._stream
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = method, reply
        message = b"\0" + len(body).to_bytes(4, "big") + body
        self._transport.write(_frame(_HEADERS, _END_HEADERS, stream, self._headers(method, timeout_s)))
        self._unsent.append((len(message), _frame(_DATA, _END_STREAM, stream, message)))
        self._send()
        try:
            return await reply
        except asyncio.CancelledError:
            if self._waiting.pop(stream, None) is not None:
                self._transport.write(_frame(_RESET, 0, stream, _CANCEL.to_bytes(4, "big")))
            raise

    def close(self) -> None:
        """End the connection; calls that wait fail."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        setting = _INITIAL_WINDOW.to_bytes(2, "big") + _WINDOW_MAX.to_bytes(4, "big")
        credit = (_WINDOW_MAX - _WINDOW_START).to_bytes(4, "big")
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, setting) + _frame(_WINDOW, 0, 0, credit))

    def connection_lost(self, exc: Exception | None) -> None:
        waiting, self._waiting = self._waiting, {}
        for method, reply in waiting.values():
            if not reply.done():
                reply.set_exception(CallFailed(f"{method}: the connection is lost: {exc}"))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : end])
            at = end
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _DATA:
            self._data[stream] = self._data.get(stream, b"") + body
            self._consumed += len(body)
            if self._consumed >= _TOP_UP:
                self._transport.write(_frame(_WINDOW, 0, 0, self._consumed.to_bytes(4, "big")))
                self._consumed = 0
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, body))
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(body, "big")
            self._send()
        elif kind == _RESET:
            self._finish(stream, body)
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._finish(stream, body)

    def _finish(self, stream: int, last: bytes) -> None:
        data = self._data.pop(stream, b"")
        method, reply = self._waiting.pop(stream, ("", None))
        if reply is None or reply.done():
            return
        if data:
            reply.set_result(data[5:])
        else:
            reply.set_exception(CallFailed(f"{method}: {last!r}"))

    def _send(self) -> None:
        while self._unsent and self._unsent[0][0] <= self._window:
            size, frame = self._unsent.popleft()
            self._window -= size
            self._transport.write(frame)

    def _headers(self, method: str, timeout_s: int) -> bytes:
        fields = [
            (":path", _SERVICE + method),
            (":authority", self._authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        if timeout_s:
            fields.append(("grpc-timeout", f"{timeout_s}S"))
        return _POST + _HTTP + b"".join(map(self._field, fields))

    def _field(self, field: tuple[str, str]) -> bytes:
        known = self._entries.get(field)
        if known is not None:
            return bytes((0x80 | (_STATIC_ENTRIES + len(self._entries) - known),))
        self._entries[field] = len(self._entries)
        return b"\x40" + _text(field[0]) + _text(field[1])
