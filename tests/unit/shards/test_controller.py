"""The shards of a process."""

import asyncio

import pytest

from perdure.base.errors import StoreUnavailable, Unavailable
from perdure.base.slots import SLOTS, ChainKey
from perdure.shards.options import ShardOptions
from perdure.testing.store_faults import Fault
from perdure.workflow.tasks import Task
from tests.unit.shards.fakes import Host, key, memory, passes, virtual


def test_every_slot_has_its_shard() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=7))
        with pytest.raises(Unavailable):
            host.shards.by_slot(0)
        await host.shards.start()
        assert len(host.shards.owned()) == 7
        for slot in range(0, SLOTS, 97):
            shard = host.shards.by_slot(slot)
            assert slot in shard.slots
            assert host.shards.by_id(shard.shard_id) is shard
        with pytest.raises(Unavailable):
            host.shards.by_id("another")

    virtual(work())


def test_shards_are_made_once() -> None:
    async def work() -> None:
        store = memory()
        hosts = [Host(store, name, ShardOptions(shards=3)) for name in ("O", "N")]
        hosts[0].faults.arm("initialise", Fault.DONE)
        ids = []
        for host in hosts:
            await host.shards.start()
            ids.append({shard.shard_id for shard in host.shards.owned()})
        assert ids[0] == ids[1]
        assert len(ids[0]) == 3

    virtual(work())


def test_without_a_store_there_is_no_start() -> None:
    async def work() -> None:
        host = Host(memory())
        host.faults.arm("list_shards", Fault.REFUSED)
        with pytest.raises(StoreUnavailable):
            await host.shards.start()

    virtual(work())


def test_a_shard_that_could_not_be_taken_is_tried_again() -> None:
    async def work() -> None:
        host = Host(memory())
        host.faults.arm("open_segment", *[Fault.REFUSED] * 4)
        host.role.fail("recover", ZeroDivisionError("a defect"))
        await host.shards.start()
        with pytest.raises(Unavailable, match="refused"):
            host.shards.by_slot(0)
        await passes(20)
        await host.role.add(host.shards.by_slot(0), key(), 1) if host.shards.by_slot(0).epoch == 1 else None
        assert host.shards.by_slot(0).epoch == 6

    virtual(work())


def test_a_shard_is_released_in_bounded_time_even_without_a_store() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.cut("O")
        await host.shards.stop()
        other = Host(store, "N")
        assert await other.role.values(await other.start(), key()) == [1]

    virtual(work())


def test_after_the_stop_nothing_is_here_and_nothing_runs() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        await host.shards.stop()
        with pytest.raises(Unavailable):
            host.shards.by_slot(0)
        assert await host.role.stored_sum(key()) == 1
        before = host.faults.operations
        await passes(1000)
        assert host.faults.operations == before

    virtual(work())


def test_an_idle_shard_asks_nothing_of_the_store() -> None:
    async def work() -> None:
        # The walk over the log is the process's, not the shard's.
        host = Host(memory(), options=ShardOptions(shards=1, sweep_interval_s=1e9))
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        await passes(100)
        before = host.faults.operations
        await passes(36_000)
        assert host.faults.operations == before

    virtual(work())


def test_a_take_over_that_is_cancelled_leaves_nothing_running() -> None:
    async def work() -> None:
        host = Host(memory())
        forever = asyncio.get_running_loop().create_future()

        async def recover(*_: object) -> dict[ChainKey, list[Task] | None]:
            return await forever  # type: ignore[no-any-return]  # it never does

        host.role.recover = recover  # type: ignore[method-assign, assignment]  # a recovery that takes long
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(host.shards.start())
            await passes(1)
            starting.cancel()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(work())


def test_the_first_shard_that_comes_and_the_last_that_goes_are_told() -> None:
    async def work() -> None:
        told: list[bool] = []
        host = Host(memory(), options=ShardOptions(shards=2))
        host.shards.on_presence = told.append
        await host.shards.start()
        assert told == [True]
        first, last = host.shards.owned()
        first.fail("lost")
        assert told == [True]
        last.fail("lost")
        assert told == [True, False]
        await passes(1.0)
        assert told == [True, False, True]
        await host.shards.stop()
        assert told == [True, False, True, False]

    virtual(work())
