"""Taking a shard: draw an epoch, open a segment, seal the chain behind which it goes, read what the chain holds.

Invariants (L1, M5): the log is found by following the chain from the row's `first`, never by a scan; what is read was
sealed before, so the former owner can add nothing to it; a chain that a newer epoch has sealed is not touched. On a
shared store the row names the new owner only when the former one answers nothing more (L11). Knows nothing of what a
record means.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec
import structlog

from perdure.base.entropy import new_id
from perdure.base.errors import ShardLost, Unavailable
from perdure.base.slots import even_ranges
from perdure.shards.claim import Claim
from perdure.shards.groups import CorruptLog, base_of, decode_group
from perdure.shards.log import LogStart, Stretch
from perdure.shards.options import World
from perdure.shards.retrying import delay_s, once, settled
from perdure.store.contract import OutcomeUnknown, SegmentHeader, SegmentId, ShardRow

log = structlog.get_logger(__name__)

_GROUPS_A_PAGE = 16


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
    """An epoch that was drawn for `host`. `over`: done when the former owner answers nothing more, None if there is
    none.
    """

    claim: Claim
    host: str
    over: "asyncio.Future[None] | None"


async def draw(world: World, shard: str) -> Drawn:
    """Draw an epoch, and have a living owner let go. Raises Unavailable."""
    host = world.tenure.host
    if world.store.is_shared and not host:
        raise Unavailable("This host has no lease.")
    claim = await Claim.draw(world, shard)
    former = claim.row.owner
    over = world.tenure.outlive(former, shard, claim.row.epoch) if former not in ("", host) else None
    if over is not None:
        # It confirms within a renewal's time, and commits until then.
        await asyncio.wait([over], timeout=world.options.hand_over_s)
    return Drawn(claim, host, over)


async def take(world: World, drawn: Drawn) -> Taken:
    """Take a shard from whoever has it. Raises ShardLost (a newer claim), Unavailable, CorruptLog."""
    claim, shard = drawn.claim, drawn.claim.row.shard
    taken = await _take_log(world, claim)
    if drawn.over is not None:
        await asyncio.wait([drawn.over])
        if drawn.over.cancelled():
            raise Unavailable(f"The former owner of shard {shard} is still there.")
    await claim.answer_as(drawn.host)
    # Whoever saw this host in the row may have taken the shard from it since.
    if world.tenure.host != drawn.host or world.tenure.is_revoked(shard, claim.row.epoch):
        raise ShardLost(f"Another owner takes the shard {shard}.")
    return taken


async def _take_log(world: World, claim: Claim) -> Taken:
    """Seal and read the log of a shard whose epoch was drawn. Raises as `take`."""
    shard, epoch = claim.row.shard, claim.row.epoch
    own = await _open_own(world, shard, epoch)
    if claim.row.first is None:
        await claim.begin_at(own)
        return Taken(claim, LogStart(own, base_of(epoch), claim.row.after_us), time_ns=claim.row.time_ns)
    chain = await _seal(world, claim, own)
    stretches, tail = await _read(world, chain)
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


async def _read(world: World, chain: Sequence[tuple[SegmentId, SegmentHeader]]) -> tuple[list[Stretch], _Tail]:
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
        stretches.append(await _read_segment(world, segment, after, end, tail))
    return stretches, tail


async def _read_segment(world: World, segment: SegmentId, after: int | None, end: int, tail: _Tail) -> Stretch:
    """Read the groups after `after` (None: from wherever the segment begins) up to `end`. Raises CorruptLog."""
    stretch = Stretch(segment, end)
    last = after
    while last is None or last < end:
        cursor = last or 0
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
