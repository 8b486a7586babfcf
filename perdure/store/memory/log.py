"""Log segments in memory. Every write compares the segment's header first, as the contract says."""

from heapq import nsmallest

import msgspec

from perdure.base.errors import StoreUnavailable
from perdure.store.contract import GROUP_BYTES_MAX, Group, SegmentHeader, SegmentId, Written

_places = msgspec.msgpack.Decoder(SegmentId)


class _Segment:
    """A header, and the groups with n = first, first + 1, … without a gap, since each append demands the one before."""

    __slots__ = ("first", "groups", "header")

    def __init__(self, header: SegmentHeader) -> None:
        self.header = header
        self.first = header.last + 1
        self.groups: list[Group] = []


class MemoryLog:
    """`perdure.store.contract.LogStore` in a dict."""

    def __init__(self) -> None:
        self._segments: dict[SegmentId, _Segment] = {}

    async def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Written:
        found = self._segments.get(segment)
        if found is not None:
            return Written(False, found.header)
        self._segments[segment] = _Segment(header)
        return Written(True, header)

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        if len(group.body) > GROUP_BYTES_MAX:
            raise StoreUnavailable(
                f"A group of {len(group.body)} bytes is over the store's limit of {GROUP_BYTES_MAX}."
            )
        found = self._segments.get(segment)
        if found is None:
            return Written(False, None)
        header = found.header
        if header.epoch != epoch or header.last != group.n - 1 or header.next is not None:
            return Written(False, header)
        found.groups.append(group)
        found.header = SegmentHeader(epoch, group.n, group.ceiling_us)
        return Written(True, found.header)

    async def link(self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int) -> Written:
        found = self._segments.get(segment)
        if found is None:
            return Written(False, None)
        header = found.header
        if header.epoch != epoch or header.last != last or header.next is not None:
            return Written(False, header)
        found.header = SegmentHeader(new_epoch, last, header.ceiling_us, following, last)
        return Written(True, found.header)

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        found = self._segments.get(segment)
        return found.header if found is not None else None

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        found = self._segments.get(segment)
        if found is None:
            return []
        start = max(0, after + 1 - found.first)
        return found.groups[start : start + limit]

    async def drop_segment(self, segment: SegmentId) -> None:
        self._segments.pop(segment, None)

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        after = _places.decode(place) if place else None
        found = nsmallest(limit + 1, (segment for segment in self._segments if after is None or segment > after))
        return found[:limit], msgspec.msgpack.encode(found[limit - 1]) if len(found) > limit else b""
