"""Log segments in Cassandra: a partition each, whose static columns are the header and whose rows are the groups.

Invariant: one conditional statement changes header and group together, so a group is there exactly if `last` says so;
a body that is too large for it was durable in `log_body` before. Only dropping a segment has no condition: its time
stamp is beyond every other, so that it is final whatever is still on its way, and its id is never used again. Knows
nothing of what a group holds.
"""

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from perdure.base.errors import StoreUnavailable
from perdure.base.framing import CorruptFrame
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.statements import conditional, read, settled_read, stamped
from perdure.store.contract import GROUP_BYTES_MAX, Group, OutcomeUnknown, SegmentHeader, SegmentId, Written

# A body up to here travels in the conditional statement, which Cassandra writes three times. A larger one costs a round
# trip more and a third of the bytes; measured, the two are even between 128 and 512 KiB.
INLINE_BYTES_MAX = 128 << 10
# Pieces of a larger one. Part of what is stored: the same body must always be cut alike.
PIECE_BYTES = 512 << 10
# Beyond the time stamp of every write, of plain ones (microseconds) and of conditional ones (ballots).
FINAL_US = 1 << 62
# Rows a page: 2 MiB of them at most.
_GROUPS_A_PAGE = 16
_PIECES_A_PAGE = 4

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SegmentId)

_KEY = "shard = ? AND opened_epoch = ? AND number = ?"
# The last two hold whenever the others do; they are there because a refusal tells the columns of its condition.
_AT_OPEN_END = "IF epoch = ? AND last = ? AND next = null AND end_n = null AND ceiling_us >= 0"
_HEADER = "epoch, last, ceiling_us, next, end_n"

_OPEN = conditional(
    "INSERT INTO log_segment (shard, opened_epoch, number, epoch, last, ceiling_us) VALUES (?, ?, ?, ?, ?, ?)"
    " IF NOT EXISTS"
)
_APPEND = conditional(
    f"UPDATE log_segment SET last = ?, ceiling_us = ?, group_ceiling_us = ?, body = ?"
    f" WHERE {_KEY} AND n = ? {_AT_OPEN_END}"
)
_APPEND_REFERENCE = conditional(
    f"UPDATE log_segment SET last = ?, ceiling_us = ?, group_ceiling_us = ?, digest = ?, body_bytes = ?"
    f" WHERE {_KEY} AND n = ? {_AT_OPEN_END}"
)
_LINK = conditional(f"UPDATE log_segment SET next = ?, end_n = ?, epoch = ? WHERE {_KEY} {_AT_OPEN_END}")
_READ_HEADER = settled_read(f"SELECT {_HEADER} FROM log_segment WHERE {_KEY} LIMIT 1")
_READ_LINKED = read(f"SELECT {_HEADER} FROM log_segment WHERE {_KEY} LIMIT 1")
_READ_GROUPS = read(
    f"SELECT n, group_ceiling_us, body, digest, body_bytes, end_n FROM log_segment WHERE {_KEY} AND n > ? LIMIT ?"
)
_DROP = stamped(f"DELETE FROM log_segment USING TIMESTAMP {FINAL_US} WHERE {_KEY}")
# The key names the bytes, so any time stamp would do.
_WRITE_PIECE = stamped(
    "INSERT INTO log_body (shard, opened_epoch, number, n, digest, piece, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " USING TIMESTAMP 1"
)
_READ_PIECES = read(f"SELECT body FROM log_body WHERE {_KEY} AND n = ? AND digest = ?")
# A walk over all segments: a query sees a slice of the ring, so that it passes few of those that were dropped lately.
_TOKEN = "token(shard, opened_epoch, number)"
_LISTS = tuple(
    read(
        f"SELECT DISTINCT shard, opened_epoch, number, {_TOKEN} FROM {table}"
        f" WHERE {_TOKEN} > ? AND {_TOKEN} <= ? LIMIT ?"
    )
    for table in ("log_segment", "log_body")
)
_PLACE = struct.Struct(">Bq")  # which of the lists, the token behind which to go on
_FIRST_TOKEN, _LAST_TOKEN = -(1 << 63), (1 << 63) - 1
_SLICE_BITS = 60
_DROP_BODIES = stamped(f"DELETE FROM log_body USING TIMESTAMP {FINAL_US} WHERE {_KEY}")


class CassandraLog:
    """`perdure.store.contract.LogStore`. Bodies over `inline_bytes_max` are written apart."""

    def __init__(self, session: Session, inline_bytes_max: int = INLINE_BYTES_MAX) -> None:
        self._session = session
        self._inline_bytes_max = inline_bytes_max

    async def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Written:
        assert header.next is None
        assert header.end is None
        values = (*_key(segment), header.epoch, header.last, header.ceiling_us)
        applied, row = await self._session.compare(_OPEN, values)
        return Written(True, header) if applied else Written(False, _header(row))

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        body = group.body
        if len(body) > GROUP_BYTES_MAX:
            raise StoreUnavailable(f"A group of {len(body)} bytes is over the store's limit of {GROUP_BYTES_MAX}.")
        header = (group.n, group.ceiling_us, group.ceiling_us)
        condition = (*_key(segment), group.n, epoch, group.n - 1)
        if len(body) <= self._inline_bytes_max:
            applied, row = await self._session.compare(_APPEND, (*header, body, *condition))
        else:
            digest = await self._write_body(segment, group.n, body)
            values = (*header, digest, len(body), *condition)
            applied, row = await self._session.compare(_APPEND_REFERENCE, values)
        if applied:
            return Written(True, SegmentHeader(epoch, group.n, group.ceiling_us))
        return Written(False, _header(row))

    async def link(self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int) -> Written:
        values = (_encoder.encode(following), last, new_epoch, *_key(segment), epoch, last)
        applied, row = await self._session.compare(_LINK, values)
        if not applied:
            return Written(False, _header(row))
        # A header that has a successor never changes again, so that an ordinary read sees the one that stands.
        try:
            rows = await self._session.run(_READ_LINKED, _key(segment))
        except StoreUnavailable as error:
            raise OutcomeUnknown(f"The segment is linked, its header was not read: {error.message}") from error
        return Written(True, _first_header(rows))

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        return _first_header(await self._session.run(_READ_HEADER, _key(segment)))

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        groups: list[Group] = []
        page: bytes | None = None
        while True:
            values = (*_key(segment), after, limit)
            rows = await self._session.run(_READ_GROUPS, values, page=page, fetch=_GROUPS_A_PAGE)
            for n, ceiling_us, inline, digest, size, end in rows:
                if end is not None and n > end:
                    return groups
                body = inline if digest is None else await self._read_body(segment, n, digest, size)
                groups.append(Group(n, body, ceiling_us))
            page = rows.next_page
            if page is None:
                return groups

    async def drop_segment(self, segment: SegmentId) -> None:
        # Bodies first: whoever finds the segment after a crash in between drops both.
        await self._session.run(_DROP_BODIES, _key(segment))
        await self._session.run(_DROP, _key(segment))

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        number, behind = _PLACE.unpack(place) if place else (0, _FIRST_TOKEN)
        end = ((((behind + 1) >> _SLICE_BITS) + 1) << _SLICE_BITS) - 1
        rows = await self._session.run(_LISTS[number], (behind, end, limit), fetch=limit)
        behind = end if len(rows) < limit else rows[-1][3]
        if behind == _LAST_TOKEN:
            number, behind = number + 1, _FIRST_TOKEN
        return [SegmentId(*row[:3]) for row in rows], _PLACE.pack(number, behind) if number < len(_LISTS) else b""

    async def _write_body(self, segment: SegmentId, n: int, body: bytes) -> bytes:
        """Make a group's body durable apart from the group, which can't be found by it yet; its digest."""
        digest = _digest(body)
        key = (*_key(segment), n, digest)
        starts = range(0, len(body), PIECE_BYTES)
        await self._session.all(
            (_WRITE_PIECE, (*key, number, body[start : start + PIECE_BYTES])) for number, start in enumerate(starts)
        )
        return digest

    async def _read_body(self, segment: SegmentId, n: int, digest: bytes, size: int) -> bytes:
        """A body that lies apart. Raises StoreUnavailable (it is not there, or is being dropped), CorruptFrame."""
        pieces: list[bytes] = []
        page: bytes | None = None
        while True:
            rows = await self._session.run(_READ_PIECES, (*_key(segment), n, digest), page=page, fetch=_PIECES_A_PAGE)
            pieces += (piece for (piece,) in rows)
            page = rows.next_page
            if page is None:
                break
        body = b"".join(pieces)
        if len(body) < size:
            raise StoreUnavailable(f"Group {n} of a log has {size} bytes, and {len(body)} of them are there.")
        if len(body) > size or _digest(body) != digest:
            raise CorruptFrame(f"the body of group {n} of a log has other bytes than were written")
        return body


def _key(segment: SegmentId) -> tuple[str, int, int]:
    return segment.shard, segment.epoch, segment.number


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


def _first_header(rows: Sequence[Sequence[Any]]) -> SegmentHeader | None:
    return _header(dict(zip(_HEADER.split(", "), rows[0], strict=True))) if rows else None


def _header(row: Mapping[str, Any] | None) -> SegmentHeader | None:
    """The header in the columns of a row; None where the segment does not exist."""
    if row is None or row["epoch"] is None:
        return None
    following = row["next"]
    return SegmentHeader(
        row["epoch"],
        row["last"],
        row["ceiling_us"],
        None if following is None else _decoder.decode(following),
        row["end_n"],
    )
