"""Processes split and merge shards while they serve: no call fails, and the ring spreads what came of them."""

from itertools import pairwise

from perdure.base.errors import PerdureError, Unavailable
from perdure.testing.loop import running_loop
from tests.unit.server.test_host import QUEUES, Cluster, all_done, cluster_of, virtual
from tests.unit.shards.fakes import passes


async def _split_all(cluster: Cluster, parts: int) -> int:
    """Have these shards split by whoever serves them; how many splits that were."""
    left, done = set(await _names(cluster)), 0
    while left:
        for process in cluster.living():
            for shard in left.intersection(process.shards()):
                try:
                    await process.host.shard_host.split(shard, parts)
                except Unavailable:
                    continue  # while members had different views somebody was going to take it
                left.discard(shard)
                done += 1
        await passes(0.05)
    return done


async def _merge_some(cluster: Cluster) -> int:
    """Have each process merge neighbours that it has both of."""
    done = 0
    for process in cluster.living():
        assert process.host.history is not None
        owned = process.host.history.shards.owned()
        merged: set[str] = set()
        for one, other in pairwise(owned):
            pair = {one.shard_id, other.shard_id}
            if one.slots.end == other.slots.first and not pair & merged:
                try:
                    await process.host.shard_host.merge([one.shard_id, other.shard_id])
                except PerdureError:
                    continue  # one of them goes to another host just now
                merged |= pair
                done += 1
    return done


async def _names(cluster: Cluster) -> list[str]:
    standing = await cluster.store.shards.read_map()
    assert standing is not None
    return sorted(shard for _, shard in standing.shards)


def test_no_call_fails_while_every_shard_is_split_and_the_children_follow_the_ring() -> None:
    async def work() -> None:
        cluster = await cluster_of("a", "b", "c")
        before = await _names(cluster)
        working = running_loop().create_task(all_done(cluster, 120, "during"))
        assert await _split_all(cluster, 3) == len(before)
        await working
        await passes(30)
        names = await _names(cluster)
        assert len(names) == 3 * len(before)
        assert sorted(shard for process in cluster.living() for shard in process.shards()) == names
        assert min(cluster.owners().values()) > len(before) / 2
        await all_done(cluster, 30, "after")
        for process in cluster.living():
            await process.stop()

    virtual(work())


def test_no_call_fails_while_shards_are_merged_and_a_process_dies_right_after() -> None:
    async def work() -> None:
        cluster = await cluster_of("a", "b")
        await _split_all(cluster, 2)
        await passes(30)
        before = await _names(cluster)
        working = running_loop().create_task(all_done(cluster, 60, "during"))
        merges = await _merge_some(cluster)
        assert merges > 0
        await working
        assert len(await _names(cluster)) == len(before) - merges
        cluster.processes["a"].kill()
        await passes(30)
        assert sorted(cluster.processes["b"].shards()) == await _names(cluster)
        await all_done(cluster, len(QUEUES), "after")
        await cluster.processes["b"].stop()

    virtual(work())
