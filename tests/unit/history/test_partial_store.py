"""A store that answers late, or holds a checkpoint in part, changes nothing that anybody reads."""

import asyncio

from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.contract import Checkpoint, Home
from perdure.store.memory import MemoryStore
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.testing.store_faults import Fault, Faults
from tests.unit.history.house import House, finish, key_of, start_timer


def test_a_snapshot_that_can_t_be_read_now_is_read_later() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        faults = Faults(running_loop().entropy)
        faults.arm("read_snapshot", Fault.LOST, Fault.REFUSED)
        options = Options(shards=ShardOptions(reacquire_first_s=0.1))
        other = await House(running_loop(), FaultyStore(store, faults), options).open()
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=5)
        return await other.events("w")

    assert run_virtual(play()) == ["1 started", "2 workflow_task_scheduled"]


def test_a_checkpoint_in_part_leaves_no_hole_in_a_history() -> None:
    async def play() -> tuple[list[int], list[int]]:
        store = MemoryStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        await house.complete(await house.poll())
        await house.roles.stop()  # events 1 to 4 are in the store and nowhere else
        house = await House(running_loop(), store).open()
        await house.signal("w", "s")
        task = await house.poll()
        await house.complete(task, finish())
        shard = house.roles.shards.by_slot(key_of("w").slot)
        tails = house.roles.executions.chains(shard).entries[key_of("w")].tails
        newest = [node for tail in tails.values() for node in tail.nodes]
        torn = Checkpoint(1 << 60, Home(shard.shard_id, shard.slots), [], [], newest[-1:], [], [], [], [], [])
        await store.checkpoints.write(torn)
        numbers = [int(event.split()[0]) for event in await house.events("w")]
        return numbers, [event.event_id for event in task.history.events]

    read, told = run_virtual(play())
    assert read == list(range(1, 10))
    assert told == list(range(1, 8))


def test_a_timer_that_comes_due_while_the_shard_is_released_is_not_forgotten() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        await house.complete(await house.poll(), start_timer(5))
        shard = house.roles.shards.by_slot(key_of("w").slot)
        # Nothing new is taken any more: what fires now is refused, and must come again at the next owner.
        running_loop().call_later(4.9, setattr, shard, "_refusal", "The shard is being released.")
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=6)
        shard._refusal = None
        await house.roles.stop()
        other = await House(running_loop(), store).open()
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=2)
        return await other.events("w")

    assert "6 timer_fired" in run_virtual(play())
