"""What a host does with what it is told to have, and how it leaves (0019)."""

import asyncio

import pytest

from perdure.base.errors import Unavailable
from perdure.base.tasks import Background
from tests.unit.shards.circle import Circle, has, until
from tests.unit.shards.fakes import key, passes, virtual


def test_a_shard_of_its_own_that_a_host_lost_is_taken_again() -> None:
    async def work() -> None:
        circle = Circle()
        old, _ = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        shard.fail("a defect")
        assert await until(lambda: has(old) is not None) < 0.2
        assert old.shards.by_slot(0) is not shard

    virtual(work())


def test_what_is_no_longer_wanted_is_kept_until_somebody_asks() -> None:
    async def work() -> None:
        circle = Circle()
        old, new = await circle.start("O", "N")
        shard = old.shards.by_slot(0)
        circle.give({0: "N"}, old)
        await passes(60)
        await old.role.add(shard, key(), 1)
        shard.fail("a defect")
        await passes(10)
        assert not old.shards.owned()
        assert await old.shards.list_shards() == []
        circle.tell(new)
        await until(lambda: has(new) is not None)

    virtual(work())


def test_few_shards_move_at_a_time_and_not_too_many_a_second() -> None:
    async def work() -> None:
        circle = Circle(shards=32, moves_parallel=3, moves_per_s=20.0)
        _, new = await circle.start("O", "N")
        at_once, most = 0, 0
        line = circle.lines[new]

        async def comes() -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await passes(0.02)

        async def goes() -> None:
            nonlocal at_once
            at_once -= 1

        line.before, line.after = comes, goes
        circle.give(dict.fromkeys(range(32), "N"))
        assert 1.5 < await until(lambda: len(new.shards.owned()) == 32) < 2.5
        assert 1 <= most <= 3

    virtual(work())


def test_a_host_that_leaves_serves_until_the_last_shard_was_asked_for() -> None:
    async def work() -> None:
        circle = Circle(shards=8)
        old, new = await circle.start("O", "N")
        leaving = Background(lambda error: None).spawn(old.shards.leave())
        await passes(2)
        assert len(old.shards.owned()) == 8
        circle.give(dict.fromkeys(range(8), "N"))
        await leaving
        await until(lambda: len(new.shards.owned()) == 8)
        assert not old.shards.owned()
        await old.shards.stop()
        assert len(new.shards.owned()) == 8

    virtual(work())


def test_what_nobody_asks_for_is_released_with_its_checkpoint_in_the_end() -> None:
    async def work() -> None:
        circle = Circle(shards=2, leave_s=3.0, checkpoint_age_s=1000.0)
        old, new = await circle.start("O", "N")
        for shard in old.shards.owned():
            await old.role.add(shard, key(shard.shard_id), 7)
        circle.give({0: "N", 1: "N"}, old)
        circle.lines[new].is_cut = True
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await old.shards.leave()
        assert 3.0 <= loop.time() - begun < 3.1
        await old.shards.stop()
        for row in circle.rows:
            assert await old.role.stored_sum(key(row.shard)) == 7
        circle.gone("O")
        circle.lines[new].is_cut = False
        circle.tell(new)
        assert await until(lambda: len(new.shards.owned()) == 2) < 0.2

    virtual(work())


def test_the_last_host_waits_for_nobody() -> None:
    async def work() -> None:
        circle = Circle(shards=2)
        (old,) = await circle.start("O")
        circle.owners.clear()
        circle.give({})
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await old.shards.leave()
        assert loop.time() == begun
        await old.shards.stop()
        assert loop.time() - begun < 1

    virtual(work())


def test_shards_that_the_map_does_not_name_are_given_up() -> None:
    async def work() -> None:
        circle = Circle(shards=2)
        (old,) = await circle.start("O")
        retired = old.shards.by_slot(0)
        gone = circle.rows.pop(0)
        del circle.owners[gone.shard]
        circle.map_version += 1
        circle.give({})
        assert retired.is_lost
        await passes(30)
        assert [shard.shard_id for shard in old.shards.owned()] == [circle.rows[0].shard]
        with pytest.raises(Unavailable):
            old.shards.by_slot(0)

    virtual(work())


def test_an_older_view_changes_nothing() -> None:
    async def work() -> None:
        circle = Circle()
        (old,) = await circle.start("O")
        shard = old.shards.by_slot(0)
        circle.give({})
        old.shards.assign(set(), 0)
        shard.fail("a defect")
        await until(lambda: has(old) is not None)

    virtual(work())
