"""A workflow's life through the roles: tasks reach workers, what is acknowledged outlives a crash."""

import asyncio

import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound
from perdure.base.limits import Limits
from perdure.cluster.roles import HistoryRead
from perdure.history.chains import ShardChains
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House, finish, schedule_activity, start_timer

WHOLE = [
    "1 started",
    "2 workflow_task_scheduled",
    "3 workflow_task_started",
    "4 workflow_task_completed",
    "5 activity_task_scheduled",
    "6 activity_task_started",
    "7 activity_task_completed",
    "8 workflow_task_scheduled",
    "9 workflow_task_started",
    "10 workflow_task_completed",
    "11 completed",
]


async def _crash(house: House, store: MemoryStore) -> House:
    """The process is gone; another one opens the store. Nothing of the old one is asked again."""
    for shard in house.roles.shards.owned():
        shard.log.fail("crashed")
        await shard.close()
    return await House(running_loop(), store).open()


def test_a_workflow_with_an_activity_runs_to_its_end() -> None:
    async def play() -> list[str]:
        house = await House(running_loop(), MemoryStore()).open()
        await house.start("w")
        await house.complete(await house.poll(), schedule_activity())
        await house.complete_activity(await house.poll_activity())
        await house.complete(await house.poll(), finish())
        return await house.events("w")

    assert run_virtual(play()) == WHOLE


def test_it_runs_to_its_end_though_the_process_dies_after_every_step() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        house = await _crash(house, store)
        task = await house.poll()
        house = await _crash(house, store)
        await house.complete(task, schedule_activity())
        house = await _crash(house, store)
        activity = await house.poll_activity()
        house = await _crash(house, store)
        await house.complete_activity(activity)
        house = await _crash(house, store)
        await house.complete(await house.poll(), finish())
        house = await _crash(house, store)
        return await house.events("w")

    assert run_virtual(play()) == WHOLE


def test_what_is_outstanding_comes_back_from_checkpoints_alone() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        await house.complete(await house.poll(), schedule_activity(), start_timer(30))
        await house.roles.stop()
        house = await House(running_loop(), store).open()
        await house.complete_activity(await house.poll_activity())
        await house.complete(await house.poll())
        await house.roles.stop()
        house = await House(running_loop(), store).open()
        await house.complete(await house.poll(seconds=50), finish())
        return await house.events("w")

    events = run_virtual(play())
    assert "12 timer_fired" in events
    assert events[-1] == "16 completed"


def test_a_timer_that_came_due_while_nobody_ran_fires_once() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        loop = running_loop()
        house = await House(loop, store).open()
        await house.start("w")
        await house.complete(await house.poll(), start_timer(30))
        await house.roles.stop()
        loop.clock.offset_ns += 3600 * SECOND_NS
        house = await House(loop, store).open()
        await house.complete(await house.poll(), finish())
        return await house.events("w")

    assert [event for event in run_virtual(play()) if "timer" in event] == ["5 timer_started", "6 timer_fired"]


def test_a_signal_is_there_once_however_often_its_request_comes() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        await house.signal("w", "s", "one")
        house = await _crash(house, store)
        await house.signal("w", "s", "one")
        await asyncio.gather(*(house.signal("w", "s", "two") for _ in range(3)))
        return await house.events("w")

    assert len([event for event in run_virtual(play()) if "signaled" in event]) == 2


def test_a_cache_without_room_loses_nothing() -> None:
    async def play() -> tuple[list[list[str]], int]:
        loop = running_loop()
        store = MemoryStore()
        options = Options(limits=Limits(), shards=ShardOptions(shards=1, checkpoint_age_s=0.1), cache_bytes_max=1)
        house = await House(loop, store, options).open()
        for number in range(20):
            await house.start(f"w{number}")
            await house.complete(await house.poll(), start_timer(3600))
        done: asyncio.Future[None] = loop.create_future()
        loop.call_later(30, done.set_result, None)
        await done
        cached = _chains(house)
        left = len(cached.entries)
        return [await house.events(f"w{number}") for number in range(20)], left

    histories, left = run_virtual(play())
    assert all(history[-1] == "5 timer_started" for history in histories)
    assert left < 20


def _chains(house: House) -> ShardChains:
    return house.roles.executions.chains(house.roles.shards.owned()[0])


def test_two_requests_of_one_start_make_one_run() -> None:
    async def play() -> set[str]:
        house = await House(running_loop(), MemoryStore()).open()
        replies = await asyncio.gather(*(house.start("w", "same") for _ in range(5)))
        return {reply.run_id for reply in replies}

    assert len(run_virtual(play())) == 1


def test_a_sticky_worker_gets_only_what_is_new_even_from_the_middle_of_a_batch() -> None:
    async def play() -> tuple[list[int], list[int]]:
        house = await House(running_loop(), MemoryStore()).open()
        await house.start("w")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(house.poll("mine", normal="q"))
            reply = await house.complete(await house.poll(), sticky="mine", again=True)
            await house.complete(reply.workflow_task, sticky="mine")
            await house.signal("w", "s")
        task = waiting.result()
        return [e.event_id for e in reply.workflow_task.history.events], [e.event_id for e in task.history.events]

    again, fresh = run_virtual(play())
    assert again == [4, 5, 6]
    assert fresh == [7, 8, 9, 10]


def test_a_workflow_that_was_never_there_is_not_found() -> None:
    async def play() -> None:
        house = await House(running_loop(), MemoryStore()).open()
        await house.page("nobody", HistoryRead("", 10))

    with pytest.raises(NotFound, match="nobody"):
        run_virtual(play())


def test_tasks_of_an_unpolled_sticky_queue_fall_back_each_to_its_own_queue() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store, Options(shards=ShardOptions(shards=1))).open()
        for workflow_id, queue in ("v", "q"), ("w", "other"):
            await house.start(workflow_id, queue=queue)
            await house.complete(await house.poll(queue), sticky="mine")
            await house.signal(workflow_id, "go")
        house = await _crash(house, store)
        tasks = [await house.poll(queue, seconds=3) for queue in ("q", "q", "other")]
        return [task.workflow_execution.workflow_id for task in tasks]

    assert run_virtual(play()) == ["v", "", "w"]
