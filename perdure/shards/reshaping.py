"""Splitting and merging shards while they serve: other shards take the slots of some that one owner has.

Invariants (0019): a parent is frozen before its row is marked, so that its checkpoints hold all it ever acknowledged
and it answers nothing more; the map is changed by a condition on the version that every parent's row is marked with,
under its owner's own claim. So whoever draws an epoch for a parent either sees the change or forbids it, and at no
moment a slot has no shard or two. Ids of shards are never used again, nor is one of an attempt that came to nothing.
Whatever fails, the parents are failed: whoever takes them next finds out what became of them.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from itertools import pairwise

import msgspec
import structlog

from perdure.base.clock import MS_NS
from perdure.base.entropy import new_id
from perdure.base.errors import FailedPrecondition, InvalidArgument, ShardElsewhere, ShardLost, Unavailable
from perdure.base.slots import SlotRange
from perdure.shards.options import World
from perdure.shards.retrying import settled
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Home, ShardMap, ShardRow

log = structlog.get_logger(__name__)

PARTS_MAX = 64
SHARDS_MAX = 4_096
_TRIES = 5  # somebody else's reshaping may come first


def parts_of(slots: SlotRange, parts: int) -> list[SlotRange]:
    """The slots in `parts` ranges of nearly equal size. Raises InvalidArgument."""
    size = slots.end - slots.first
    if not 2 <= parts <= PARTS_MAX:
        raise InvalidArgument(f"A shard is split into 2 to {PARTS_MAX} parts, not {parts}.")
    if size < parts:
        raise InvalidArgument(f"The shard has {size} slots: too few for {parts} parts.")
    return [SlotRange(*pair) for pair in pairwise(slots.first + size * at // parts for at in range(parts + 1))]


def whole_of(ranges: Sequence[SlotRange]) -> SlotRange:
    """The range of neighbours, in any order. Raises InvalidArgument."""
    if not 2 <= len(ranges) <= PARTS_MAX:
        raise InvalidArgument(f"2 to {PARTS_MAX} shards are merged at once, not {len(ranges)}.")
    ordered = sorted(ranges)
    for one, other in pairwise(ordered):
        if one.end != other.first:
            raise InvalidArgument(f"Only neighbours are merged: no shard of these has slot {one.end}.")
    return SlotRange(ordered[0].first, ordered[-1].end)


class Reshaped(msgspec.Struct, frozen=True):
    """What came of it. `rows`: of the new shards, which nobody has taken yet. `shards`: a map that has them."""

    rows: Sequence[ShardRow]
    shards: ShardMap


async def reshape(world: World, parents: Sequence[OwnedShard], ranges: Sequence[SlotRange]) -> Reshaped:
    """Retire `parents`, all owned here, for shards of these `ranges`.

    When it returns or raises, the parents have failed, unless it raises before anything was refused: FailedPrecondition
    if they can't be reshaped now, Unavailable if the store doesn't answer, ShardElsewhere if another host takes one.
    """
    for parent in parents:
        _check(parent)
    standing = await _map(world)
    if len(standing.shards) - len(parents) + len(ranges) > SHARDS_MAX:
        raise FailedPrecondition(f"There are {len(standing.shards)} shards; the limit is {SHARDS_MAX}.")
    await _all(parent.catch_up() for parent in parents)
    for parent in parents:
        await _check_claim(parent)
        _check(parent)
    begun_ns = world.clock.monotonic_ns()
    reason = "The shard was not split or merged."
    try:
        await _all(parent.freeze(_elsewhere, is_last=True) for parent in parents)
        for parent in parents:
            _check(parent)
        reshaped = await _commit(world, parents, ranges)
        reason = "The shard was split or merged."
    finally:
        for parent in parents:
            parent.fail(reason)
    log.info(
        "shards reshaped",
        retired=[parent.shard_id for parent in parents],
        created=[row.shard for row in reshaped.rows],
        frozen_ms=(world.clock.monotonic_ns() - begun_ns) // MS_NS,
    )
    return reshaped


def _elsewhere() -> ShardElsewhere:
    return ShardElsewhere("The shard is being split or merged.")


def _check(parent: OwnedShard) -> None:
    """Raises FailedPrecondition."""
    if parent.claim.row.inherits:
        raise FailedPrecondition(f"The shard {parent.shard_id} still takes over the index of those it was made of.")
    if parent.checkpointer.blocked:
        names = ", ".join(sorted(key.workflow_id for key in parent.checkpointer.blocked)[:3])
        raise FailedPrecondition(f"The shard {parent.shard_id} has workflow ids that can't be checkpointed: {names}.")


async def _check_claim(parent: OwnedShard) -> None:
    """Raises ShardElsewhere if a newer epoch was drawn. The shard is given up then: if nobody comes who drew it, it can
    be taken here again, and reshaped.
    """
    try:
        await parent.claim.check()
    except ShardLost as error:
        parent.fail(error.message)
        raise ShardElsewhere("The shard is being taken; ask again.") from error


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all, then raise the first error."""
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _map(world: World) -> ShardMap:
    standing = await settled(world, world.store.shards.read_map)
    if standing is None:
        raise Unavailable("There is no map of shards.")
    return standing


async def _commit(world: World, parents: Sequence[OwnedShard], ranges: Sequence[SlotRange]) -> Reshaped:
    """Change the map; returns when that is definite. Raises Unavailable; what became of it shows in the map."""
    shards = world.store.shards
    retired = [parent.shard_id for parent in parents]
    for _ in range(_TRIES):
        standing = await _map(world)
        if not {shard for _, shard in standing.shards}.issuperset(retired):
            # An attempt had been done, and what it made is no more: others went on while this process stood still.
            raise ShardLost("The shards were split or merged, and others have taken their place since.")
        version = standing.version
        rows = [_child(world, parents, slots, version) for slots in ranges]
        await _all(parent.claim.announce(version, parent.log.ceiling_us) for parent in parents)

        async def change(version: int = version, rows: Sequence[ShardRow] = rows) -> bool:
            return await shards.reshape(version, retired, rows)

        if await settled(world, change):
            kept = [named for named in standing.shards if named[1] not in retired]
            made = [(row.slots.first, row.shard) for row in rows]
            return Reshaped(rows, ShardMap(version + 1, tuple(sorted([*kept, *made]))))
        # Refused: by another's change, or because an attempt whose outcome was not known had been done.
        standing = await _map(world)
        if any(shard == rows[0].shard for _, shard in standing.shards):
            return Reshaped(rows, standing)
    raise Unavailable("Others change the map of shards all the time.")


def _child(world: World, parents: Sequence[OwnedShard], slots: SlotRange, version: int) -> ShardRow:
    """The row of a new shard, with an epoch above all its parents' ones, so that positions rise on: this host's."""
    homes: list[Home] = []
    if not world.store.checkpoints.index_by_slot:
        homes = [Home(parent.shard_id, parent.slots) for parent in parents]
    return ShardRow(
        new_id(world.entropy),
        slots,
        max(parent.epoch for parent in parents) + 1,
        None,
        owner=world.tenure.host,
        reshaping=version,
        after_us=max(parent.log.ceiling_us for parent in parents),
        inherits=tuple(homes),
        time_ns=max(parent.now_ns() for parent in parents),
    )


async def forget(world: World, parents: Sequence[OwnedShard]) -> None:
    """Retired shards leave nothing in matching's figures, and no log. What is not reached is found later: matching
    forgets whom it hears nothing of, the sweeper finds segments.
    """
    for parent in parents:
        for partition in parent.offers.partitions():
            try:
                backlog = msgspec.structs.replace(parent.backlog(partition), count=0, oldest_ns=0)
                await world.executions.withdraw(parent, partition, (), backlog)
            except Unavailable as error:
                log.info("figures of a retired shard not taken back", queue=partition.name, error=error.message)
        for stretch in list(parent.log.segments):
            try:
                await world.store.log.drop_segment(stretch.segment)
            except Unavailable as error:
                log.info("segment of a retired shard not dropped", shard=parent.shard_id, error=error.message)
