"""When the map of shards is read, on virtual time, from a store whose answers take a moment."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from perdure.cluster.shard_map import ShardMapCache
from perdure.store.contract import ShardMap
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.shards.fakes import passes

ANSWER_S = 0.2


class SlowMaps:
    """What is the map when a read comes is its answer, `answer_s` later. `reads`: how many came."""

    def __init__(self) -> None:
        self.version = 1
        self.answer_s = ANSWER_S
        self.reads = 0

    async def read_map(self) -> ShardMap:
        self.reads += 1
        found = ShardMap(self.version, ((0, f"s{self.version}"),))
        await passes(self.answer_s)
        return found


def cached(play: Callable[[ShardMapCache, SlowMaps], Coroutine[Any, Any, None]]) -> tuple[int, int]:
    """The version that a cache knows after `play`, and how many reads there were."""

    async def work() -> tuple[int, int]:
        loop, maps = running_loop(), SlowMaps()
        cache = ShardMapCache(maps, loop.clock, loop.entropy)  # type: ignore[arg-type]  # it reads the map
        await play(cache, maps)
        await cache.stop()
        return cache.version, maps.reads

    return run_virtual(work())


def test_callers_at_the_same_time_share_a_read() -> None:
    async def play(cache: ShardMapCache, maps: SlowMaps) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(cache.refresh())
                await passes(0.01)

    assert cached(play) == (1, 1)


def test_what_was_just_read_is_not_read_again() -> None:
    async def play(cache: ShardMapCache, maps: SlowMaps) -> None:
        maps.answer_s = 0.01
        await cache.refresh()
        await cache.refresh()
        assert maps.reads == 1
        await passes(0.1)
        await cache.refresh()

    assert cached(play) == (1, 2)


async def changes_while_read(cache: ShardMapCache, maps: SlowMaps, group: asyncio.TaskGroup) -> None:
    """Begin a read that will not see the change."""
    group.create_task(cache.refresh())
    await passes(ANSWER_S / 2)
    maps.version = 2


def test_who_knows_of_a_change_has_it_read_anew() -> None:
    async def play(cache: ShardMapCache, maps: SlowMaps) -> None:
        async with asyncio.TaskGroup() as group:
            await changes_while_read(cache, maps, group)
            await cache.refresh(anew=True)
            assert cache.version == 2
        maps.version = 3
        await cache.refresh(anew=True)

    assert cached(play) == (3, 3)


def test_all_who_know_of_a_change_share_the_read_after_it() -> None:
    async def play(cache: ShardMapCache, maps: SlowMaps) -> None:
        async with asyncio.TaskGroup() as group:
            await changes_while_read(cache, maps, group)
            for _ in range(5):
                group.create_task(cache.refresh(anew=True))

    assert cached(play) == (2, 2)
