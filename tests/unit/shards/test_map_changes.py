"""Splitting and merging through a process's own shards: who asked may be gone, and nobody else has to do anything."""

import asyncio

import pytest

from perdure.base.errors import InvalidArgument, ShardElsewhere, Unavailable
from perdure.base.slots import SlotRange
from perdure.shards.options import ShardOptions
from perdure.shards.splitting import Loads, SplitPolicy
from perdure.testing.loop import running_loop
from perdure.testing.store_faults import Fault
from tests.unit.shards.circle import Circle, has, until
from tests.unit.shards.fakes import Host, key, memory, offer, passes, timer, virtual

SECOND_NS = 10**9


def _slots(host: Host) -> list[SlotRange]:
    return [shard.slots for shard in host.shards.owned()]


def test_children_serve_when_the_split_returns_and_the_merged_when_the_merge_does() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=2))
        shard = await host.start()
        await host.role.add(shard, key(), 7, offer())
        children = await host.shards.split(shard.shard_id, 3)
        assert [shard.shard_id for shard in host.shards.owned()][:3] == children
        assert len(host.shards.owned()) == 4
        with pytest.raises(ShardElsewhere):
            host.shards.by_id(shard.shard_id)
        owned = host.shards.by_slot(key().slot)
        assert await host.role.values(owned, key()) == [7]
        await host.role.add(owned, key(), 8)
        whole = await host.shards.merge([shard.shard_id for shard in host.shards.owned()][::-1])
        assert [shard.shard_id for shard in host.shards.owned()] == [whole]
        assert await host.role.values(host.shards.by_slot(0), key()) == [7, 8]
        await passes(60)
        assert _slots(host) == [SlotRange()]
        await host.shards.stop()

    virtual(work())


def test_a_timer_that_is_due_during_a_split_fires_once() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1))
        shard = await host.start()
        names = [f"wf{number}" for number in range(20)]
        for number, name in enumerate(names):
            await host.role.add(shard, key(name), 1, timer(host.clock.now_ns() + SECOND_NS + number * 1_000_000, name))
        await passes(0.995)
        await host.shards.split(shard.shard_id, 4)
        await passes(5)
        fired = [one.key.workflow_id for one, _ in host.role.fired]
        assert sorted(fired) == sorted(names)
        await host.shards.stop()

    virtual(work())


def test_a_split_goes_on_without_who_asked_for_it() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1))
        shard = await host.start()
        asking = running_loop().create_task(host.shards.split(shard.shard_id, 2))
        await passes(0)
        asking.cancel()
        await asyncio.wait([asking])
        await passes(5)
        assert len(_slots(host)) == 2
        await host.shards.stop()

    virtual(work())


def test_a_split_that_fails_leaves_the_shard_serving() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1))
        shard = await host.start()
        await host.role.add(shard, key(), 7)
        host.faults.arm("reshape", Fault.REFUSED)
        with pytest.raises(Unavailable):
            await host.shards.split(shard.shard_id, 2)
        await passes(5)
        assert _slots(host) == [SlotRange()]
        assert await host.role.values(host.shards.by_slot(0), key()) == [7]
        assert len(await host.shards.split(shard.shard_id, 2)) == 2
        await host.shards.stop()

    virtual(work())


def test_what_cannot_be_is_said_and_the_shards_go_on() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=4))
        await host.start()
        ids = [shard.shard_id for shard in host.shards.owned()]
        with pytest.raises(ShardElsewhere):
            await host.shards.split("unknown", 2)
        with pytest.raises(InvalidArgument, match="2 to 64"):
            await host.shards.split(ids[0], 65)
        with pytest.raises(InvalidArgument, match="neighbours"):
            await host.shards.merge([ids[0], ids[2]])
        with pytest.raises(InvalidArgument, match="others"):
            await host.shards.merge([ids[0], ids[0]])
        assert [shard.shard_id for shard in host.shards.owned()] == ids
        await host.shards.stop()

    virtual(work())


POLICY = SplitPolicy(transitions_per_s=10, for_s=20, pause_s=100, look_s=5, shards_max=8)


def _looks(loads: Loads, begin: int, rates: dict[str, int], looks: int) -> int:
    for at in range(begin, begin + looks):
        loads.look(at * 5.0, {shard: rate * 5 * at for shard, rate in rates.items()})
    return begin + looks


def test_a_shard_is_split_when_it_was_busy_for_long_and_the_busiest_first() -> None:
    loads = Loads(POLICY)
    at = _looks(loads, 1, {"calm": 10, "busy": 11, "busier": 12}, 4)
    assert loads.to_split(4) is None
    at = _looks(loads, at, {"calm": 10, "busy": 11, "busier": 12}, 1)
    assert loads.to_split(4) == "busier"
    assert loads.to_split(8) is None


def test_one_calm_look_begins_the_count_anew_and_after_a_split_there_is_a_pause() -> None:
    loads = Loads(POLICY)
    at = _looks(loads, 1, {"one": 50}, 4)
    loads.look(at * 5.0, {"one": 50 * 5 * (at - 1) + 50})
    assert loads.to_split(1) is None
    _looks(loads, at + 1, {"one": 50}, 5)
    assert loads.to_split(1) == "one"
    loads.rest()
    at = _looks(loads, at + 6, {"other": 50}, 19)
    assert loads.to_split(1) is None
    _looks(loads, at, {"other": 50}, 2)
    assert loads.to_split(1) == "other"


def test_a_busy_shard_is_split_by_itself_where_that_is_switched_on() -> None:
    async def work() -> None:
        policy = SplitPolicy(transitions_per_s=5, for_s=20, pause_s=60)
        host = Host(memory(), options=ShardOptions(shards=2, auto_split=policy))
        await host.start()
        for _ in range(60 * 10):
            await host.role.add(host.shards.by_slot(key().slot), key(), 1)
            await passes(0.1)
        assert len(_slots(host)) == 3
        await host.shards.stop()

    virtual(work())


def test_who_reshapes_forgets_no_shard_that_others_have_made_meanwhile() -> None:
    async def work() -> None:
        circle = Circle(shards=2)
        one, other = await circle.start("one", "other")
        circle.give({1: "other"})
        await until(lambda: has(other, 1) is not None)
        theirs = (await other.shards.split(other.shards.owned()[0].shard_id, 2))[0]
        await one.shards.split(one.shards.owned()[0].shard_id, 2)
        wanted = {theirs, *(shard.shard_id for shard in one.shards.owned())}
        one.shards.assign(wanted, circle.version + 1)
        await until(lambda: len(one.shards.owned()) == 3)
        epochs = [shard.epoch for shard in one.shards.owned()]
        one.shards.assign(wanted, circle.version + 2)
        assert [shard.epoch for shard in one.shards.owned()] == epochs
        for host in (one, other):
            await host.shards.stop()

    virtual(work())
