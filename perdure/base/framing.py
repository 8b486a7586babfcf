"""Frames for stored bytes: a format byte, a checksum, a body. A wrong one is an error, never a guess."""

import xxhash

from perdure.base.errors import Bug

_HEAD = 9


class CorruptFrame(Bug):
    """Stored bytes have a format this version does not know, or a checksum that does not match."""


def frame(kind: int, body: bytes) -> bytes:
    """`body` with its format (0..255) and checksum (xxh64) in front."""
    return bytes((kind,)) + xxhash.xxh64_digest(body) + body


def unframe(kind: int, data: bytes, what: str) -> bytes:
    """The body of a frame of format `kind`; `what` names it in the error. Raises CorruptFrame."""
    if len(data) < _HEAD or data[0] != kind:
        raise CorruptFrame(f"{what} of format {data[0] if data else None}; this version reads {kind}")
    body = data[_HEAD:]
    if xxhash.xxh64_digest(body) != data[1:_HEAD]:
        raise CorruptFrame(f"{what} whose checksum does not match its body")
    return body
