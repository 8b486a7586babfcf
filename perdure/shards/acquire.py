"""Taking a shard: draw an epoch, open a segment, seal the chain behind which it goes, read what the chain holds.

Invariants (L1, M5): the log is found by following the chain from the row's `first`, never by a scan; what is read was
sealed before, so the former owner can add nothing to it; a chain that a newer epoch has sealed is not touched. On a
shared store the row names the new owner only when the former one answers nothing more (L11). Knows nothing of what a
record means.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

import msgspec
import structlog

from perdure.base.entropy import new_id
from perdure.base.errors import ShardLost, Unavailable
from perdure.base.limits import MIB
from perdure.base.slots import even_ranges
from perdure.shards.claim import Claim
from perdure.shards.groups import CorruptLog, base_of, decode_group
from perdure.shards.log import LogStart, Stretch
from perdure.shards.options import World
from perdure.shards.retrying import delay_s, once, settled
from perdure.store.contract import Group, OutcomeUnknown, SegmentHeader, SegmentId, ShardRow

log = structlog.get_logger(__name__)

_GROUPS_A_PAGE = 16
# So many bytes of a log are read before its end is sealed; the rest afterwards.
_AHEAD_MAX = 8 * MIB


class Taken(msgspec.Struct, frozen=True):
    """A shard that is this process's from now on.

    `records`: (position, body) of all that may not be checkpointed; `time_ns`: the newest time in its log.
    """

    claim: Claim
    start: LogStart
    records: Sequence[tuple[int, bytes]] = ()
    time_ns: int = 0


async def create_shards(world: World) -> list[ShardRow]:
    """The shards of the store; made first if it has none. Raises StoreUnavailable."""
    rows = await settled(world, world.store.shards.list_shards)
    if rows:
        return rows
    wanted = [ShardRow(new_id(world.entropy), slots, 0, None) for slots in even_ranges(world.options.shards)]
    return await settled(world, lambda: world.store.shards.initialise(wanted))


class Drawn(msgspec.Struct, frozen=True):
    """An epoch that was drawn for `host`, with its first segment: opened, and linked by nothing yet."""

    claim: Claim
    host: str
    own: SegmentId

    @property
    def former(self) -> str:
        """The other host that may answer for the shard still; "" if none may."""
        owner = self.claim.row.owner
        return owner if owner != self.host else ""


# Groups of a log that were read before its end was sealed: of each segment those up to a number that was committed.
Ahead = Mapping[SegmentId, Sequence[Group]]
_NOTHING: Ahead = MappingProxyType({})


async def draw(world: World, shard: str) -> Drawn:
    """Draw an epoch: who has the shard goes on, but moves the begin of its log no more. Raises Unavailable."""
    host = world.tenure.host
    if world.store.is_shared and not host:
        raise Unavailable("This host has no lease.")
    claim = await Claim.draw(world, shard)
    return Drawn(claim, host, await _open_own(world, shard, claim.row.epoch))


async def drawn_for(world: World, row: ShardRow) -> Drawn:
    """The epoch with which this host has made a shard whose row nobody had before: as if it was drawn. Raises
    StoreUnavailable.
    """
    return Drawn(Claim(world, row), row.owner, await _open_own(world, row.shard, row.epoch))


async def read_ahead(world: World, drawn: Drawn) -> Ahead:
    """What is in the log while its owner still adds to it: so there is less to read once it may not. Raises
    StoreUnavailable.
    """
    found: dict[SegmentId, Sequence[Group]] = {}
    at, left = drawn.claim.row.first, _AHEAD_MAX
    while at is not None and left > 0:
        header = await settled(world, partial(world.store.log.read_header, at))
        if header is None:
            break
        end = header.end if header.end is not None else header.last
        groups: list[Group] = []
        while left > 0 and (not groups or groups[-1].n < end):
            after = groups[-1].n if groups else 0
            page = await settled(world, partial(world.store.log.read_groups, at, after, _GROUPS_A_PAGE))
            # What is beyond the newest that the header told of may not be committed.
            page = [group for group in page if group.n <= end]
            if not page:
                break
            groups += page
            left -= sum(len(group.body) for group in page)
        found[at] = groups
        at = header.next
    return found


async def take(world: World, drawn: Drawn, ahead: Ahead = _NOTHING) -> Taken:
    """Take a shard for which nobody answers any more. Raises ShardLost (a newer claim), Unavailable, CorruptLog."""
    claim, shard = drawn.claim, drawn.claim.row.shard
    taken = await _take_log(world, drawn, ahead)
    await claim.answer_as(drawn.host)
    # Whoever saw this host in the row may have taken the shard from it since.
    if world.tenure.host != drawn.host or world.tenure.is_revoked(shard, claim.row.epoch):
        raise ShardLost(f"Another owner takes the shard {shard}.")
    return taken


async def _take_log(world: World, drawn: Drawn, ahead: Ahead) -> Taken:
    """Seal and read the log of a shard whose epoch was drawn. Raises as `take`."""
    claim, own = drawn.claim, drawn.own
    shard, epoch = claim.row.shard, claim.row.epoch
    if claim.row.first is None:
        await claim.begin_at(own)
        return Taken(claim, LogStart(own, base_of(epoch), claim.row.after_us), time_ns=claim.row.time_ns)
    chain = await _seal(world, claim, own)
    try:
        stretches, tail = await _read(world, chain, ahead)
    except CorruptLog:
        await claim.check()  # a newer owner may have dropped what it needs no more
        raise
    stamped_us = max(claim.row.after_us, *(header.ceiling_us for _, header in chain))
    start = LogStart(own, base_of(epoch), stamped_us, stretches)
    records = [record for record in tail.records if record[0] >= tail.floor]
    log.info("shard taken", shard=shard, epoch=epoch, segments=len(chain), records=len(records))
    return Taken(claim, start, records, max(tail.time_ns, claim.row.time_ns))


async def _open_own(world: World, shard: str, epoch: int) -> SegmentId:
    """The first segment of an epoch. One whose opening is in doubt is abandoned, never linked."""
    attempt = 0
    while True:
        own = SegmentId(shard, epoch, attempt)
        header = SegmentHeader(epoch, base_of(epoch), 0)
        try:
            if (await once(world, partial(world.store.log.open_segment, own, header))).applied:
                return own
        except OutcomeUnknown:
            await asyncio.sleep(delay_s(world, attempt + 1))
        attempt += 1


async def _seal(world: World, claim: Claim, own: SegmentId) -> list[tuple[SegmentId, SegmentHeader]]:
    """Link `own` behind the end of the chain; the chain before it, every header with its `end`."""
    chain: list[tuple[SegmentId, SegmentHeader]] = []
    at = claim.row.first
    assert at is not None
    while at != own:
        header = await settled(world, partial(world.store.log.read_header, at))
        while header is not None and header.next is None:
            if header.epoch >= own.epoch:
                raise ShardLost(f"The shard {own.shard} has an owner of epoch {header.epoch}.")
            header = await _link(world, at, header, own)
        if header is None:
            # Either a newer claim has moved the begin of the log meanwhile, or something is gone that must not be.
            await claim.check()
            raise CorruptLog(f"The log of shard {own.shard} has no segment {at.epoch}/{at.number}.")
        if header.epoch > own.epoch:
            raise ShardLost(f"The shard {own.shard} has an owner of epoch {header.epoch}.")
        chain.append((at, header))
        assert header.next is not None
        at = header.next
    return chain


async def _link(world: World, at: SegmentId, header: SegmentHeader, own: SegmentId) -> SegmentHeader | None:
    """Try to seal `at` as it was last seen; the header that stands afterwards."""
    written = await settled(world, partial(world.store.log.link, at, header.epoch, header.last, own, own.epoch))
    return written.header


class _Tail:
    """What the groups of a chain say, read in order."""

    __slots__ = ("floor", "records", "time_ns")

    def __init__(self) -> None:
        self.floor = 0
        self.time_ns = 0
        self.records: list[tuple[int, bytes]] = []


async def _read(
    world: World, chain: Sequence[tuple[SegmentId, SegmentHeader]], ahead: Ahead
) -> tuple[list[Stretch], _Tail]:
    tail = _Tail()
    stretches: list[Stretch] = []
    for index, (segment, header) in enumerate(chain):
        end = header.end if header.end is not None else header.last
        former = chain[index - 1] if index else None
        if segment.number == 0 or (former is not None and former[0].epoch != segment.epoch):
            after: int | None = base_of(segment.epoch)
        elif former is not None:
            after = former[1].end
        else:
            after = None
        stretches.append(await _read_segment(world, Stretch(segment, end), after, ahead.get(segment, ()), tail))
    return stretches, tail


async def _read_segment(
    world: World, stretch: Stretch, after: int | None, ahead: Sequence[Group], tail: _Tail
) -> Stretch:
    """Read the groups after `after` (None: from wherever the segment begins) up to the end, but those that were read
    `ahead`. Raises CorruptLog.
    """
    segment, end = stretch.segment, stretch.last
    last = after
    while last is None or last < end:
        cursor = last or 0
        if ahead:
            groups, ahead = list(ahead), ()
        else:
            groups = await settled(world, partial(world.store.log.read_groups, segment, cursor, _GROUPS_A_PAGE))
        groups = [group for group in groups if group.n <= end]
        if not groups and last is None:
            break
        for group in groups:
            if last is not None and group.n != last + 1:
                raise CorruptLog(f"The log of shard {segment.shard} has {group.n} after {last}.")
            body = decode_group(group.body)
            tail.records += body.records
            tail.floor = max(tail.floor, body.floor)
            tail.time_ns = max(tail.time_ns, body.time_ns)
            stretch.bytes += len(group.body)
            stretch.records += len(body.records)
            last = group.n
        if not groups:
            raise CorruptLog(f"The log of shard {segment.shard} ends at {last}, its header says {end}.")
    return stretch
