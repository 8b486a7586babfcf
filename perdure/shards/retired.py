"""What retired shards leave: their rows, and the index rows that others inherit from them; both go in the end.

Invariant: a row that the map does not name, although it is past the version that the row speaks of, is of a shard that
is no more, or never was, and will never be named. Its index goes when no shard that the map names inherits from it; the
row goes last, so that whoever stops in between is followed by somebody who finds it. Their segments: the sweeper.
"""

from functools import partial

import structlog

from perdure.shards.options import World
from perdure.shards.retrying import once, settled
from perdure.store.contract import Home, ShardRow

log = structlog.get_logger(__name__)


async def remove_retired(world: World) -> int:
    """Remove what is left and not needed any more; how many rows went. Raises Unavailable: it goes on another time."""
    shards = world.store.shards
    rows = await once(world, shards.list_unnamed)
    if not rows:
        return 0
    # After the rows: one that it does not name now was not named since, and is not on its way if it is past it.
    standing = await settled(world, shards.read_map)
    if standing is None:
        return 0
    named = {shard for _, shard in standing.shards}
    gone = [row for row in rows if row.shard not in named and not _is_under_way(row, standing.version)]
    inherited = {home.shard for row in await once(world, shards.list_shards) for home in row.inherits}
    removed = 0
    for row in gone:
        if row.shard in inherited:
            continue
        if row.reshaping is not None:
            home = Home(row.shard, row.slots)
            await once(world, partial(world.store.checkpoints.drop_index, home, row.after_us))
        if await settled(world, partial(shards.remove_shard, row.shard, row.version)):
            removed += 1
            log.info("retired shard removed", shard=row.shard)
    return removed


def _is_under_way(row: ShardRow, version: int) -> bool:
    return row.reshaping is not None and row.reshaping >= version
