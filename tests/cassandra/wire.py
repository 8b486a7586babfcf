"""Frames of the native protocol, version 4: a header of nine bytes and a body; and which statements are conditional.

The parts of bodies that are read here are those of the protocol's specification, sections 2, 4.1.4 to 4.1.7, 4.2.5.
"""

import asyncio
import re
import struct
from dataclasses import dataclass, field

VERSION = 4
_REPLY = 0x80
_HEADER = struct.Struct(">BBhBI")
_BODY_MAX = 256 * 1024 * 1024  # of the specification
_COMPRESSED = 0x01
_PREPARED_RESULT = 4
_PROTOCOL_ERROR = 0x000A
_CONDITION = re.compile(r"\bIF\b", re.IGNORECASE)
_WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN")

ERROR, STARTUP, OPTIONS, QUERY, RESULT, PREPARE, EXECUTE, BATCH = 0x00, 0x01, 0x05, 0x07, 0x08, 0x09, 0x0A, 0x0D
# The kinds of a batch's statements: given by text, or by the id of a prepared one.
_TEXT, _PREPARED = 0, 1


class Unreadable(Exception):
    """What came isn't a frame that can be read here; the message says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `stream` pairs a reply with its request."""

    version: int
    flags: int
    stream: int
    opcode: int
    body: bytes

    @property
    def packed(self) -> bytes:
        """As it stands on the wire."""
        return _HEADER.pack(self.version, self.flags, self.stream, self.opcode, len(self.body)) + self.body

    @property
    def is_reply(self) -> bool:
        return bool(self.version & _REPLY)


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None at the end of the stream, also in the midst of a frame. Raises Unreadable."""
    try:
        version, flags, stream, opcode, length = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if length > _BODY_MAX:
            raise Unreadable(f"a frame of {length} bytes")
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    # A request of another version is told so, whatever is in it.
    if flags & _COMPRESSED and version & ~_REPLY == VERSION:
        raise Unreadable("a compressed frame: its client must not ask for compression")
    return Frame(version, flags, stream, opcode, body)


def wrong_version(request: Frame) -> Frame:
    """What a server that knows no newer version than 4 answers; drivers then come again with an older one."""
    message = (
        f"Invalid or unsupported protocol version ({request.version}); supported versions are (3/v3, 4/v4)".encode()
    )
    body = struct.pack(">iH", _PROTOCOL_ERROR, len(message)) + message
    return Frame(_REPLY | VERSION, 0, request.stream, ERROR, body)


class _Body:
    """A body, read from its beginning."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, length: int) -> bytes:
        part = self._body[self._at : self._at + length]
        if len(part) != length:
            raise Unreadable("a body that ends too early")
        self._at += length
        return part

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def text(self) -> str:
        return self.take(self.number(4)).decode(errors="replace")

    def short_bytes(self) -> bytes:
        return self.take(self.number(2))

    def value(self) -> None:
        """Skip a value; negative lengths mean null and unset."""
        length = self.number(4)
        if length < 1 << 31:
            self.take(length)


def is_conditional(cql: str) -> bool:
    """Whether a statement writes under a condition; a name in quotes that is `if` would deceive it."""
    words = cql.lstrip()
    return words[:6].upper().startswith(_WRITES) and _CONDITION.search(words) is not None


@dataclass(slots=True)
class Statements:
    """Which statements are conditional, as PREPARE and its replies tell; one for all nodes of a cluster."""

    conditional: dict[bytes, bool] = field(default_factory=dict)

    def prepared(self, request: Frame, reply: Frame) -> None:
        """Learn from a PREPARE and its reply."""
        body = _Body(reply.body)
        if reply.opcode == RESULT and body.number(4) == _PREPARED_RESULT:
            self.conditional[body.short_bytes()] = is_conditional(_Body(request.body).text())

    def is_conditional(self, request: Frame) -> bool:
        """Whether a request writes under a condition. Raises Unreadable."""
        body = _Body(request.body)
        if request.opcode == QUERY:
            return is_conditional(body.text())
        if request.opcode == EXECUTE:
            return self.conditional.get(body.short_bytes(), False)
        return request.opcode == BATCH and self._any_of(body)

    def _any_of(self, body: _Body) -> bool:
        body.take(1)  # logged or not
        for _ in range(body.number(2)):
            if body.number(1) == _PREPARED:
                found = self.conditional.get(body.short_bytes(), False)
            else:
                found = is_conditional(body.text())
            if found:
                return True
            for _ in range(body.number(2)):
                body.value()
        return False
