"""Speculative workflow tasks outside the core: offered, timed, carried through the cache, and gone with their shard."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueResponse, UpdateWorkflowExecutionResponse

from perdure.history.speculative import Speculative
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House
from tests.unit.history.test_durability import GatedStore
from tests.unit.history.updating import accept, answer, fate, idle, reject, respond, result_of, soon, terminate, update

ONE_SHARD = ShardOptions(shards=1, checkpoint_age_s=0.1)


async def _house(store: MemoryStore | None = None, **options: Any) -> House:
    house = await House(running_loop(), store or MemoryStore(), Options(shards=ONE_SHARD, **options)).open()
    await idle(house)
    return house


def _timers(house: House) -> int:
    speculative: Speculative = house.roles.history._speculative
    return len(speculative)


def _asking(house: House, update_id: str = "u") -> Coroutine[Any, Any, UpdateWorkflowExecutionResponse | str]:
    return fate(update(house, update_id))


async def _accepts(house: House, task: PollWorkflowTaskQueueResponse) -> None:
    (message,) = task.messages
    await answer(house, task, accept(message), respond(message))


def test_a_rejected_update_leaves_neither_events_nor_timers() -> None:
    async def play() -> tuple[str, list[str], list[int]]:
        house = await _house()
        timers: list[int] = []
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            await soon()
            timers.append(_timers(house))
            task = await house.poll()
            timers.append(_timers(house))
            await answer(house, task, reject(task.messages[0]))
            timers.append(_timers(house))
        reply = asking.result()
        assert isinstance(reply, UpdateWorkflowExecutionResponse)
        return result_of(reply.outcome), await house.events("w"), timers

    said, events, timers = run_virtual(play())
    assert said == "no"
    assert len(events) == 4
    assert timers == [1, 1, 0]


def test_one_that_nobody_fetches_is_found_after_five_seconds() -> None:
    async def play() -> tuple[list[str], float, int]:
        house = await _house()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            begun = running_loop().time()
            await soon(6)
            task = await house.poll()
            await _accepts(house, task)
            reply = await asking
            assert isinstance(reply, UpdateWorkflowExecutionResponse)
            assert result_of(reply.outcome) == "done"
            took = running_loop().time() - begun
        return (await house.events("w"))[4:8], took, _timers(house)

    events, took, timers = run_virtual(play())
    assert events == ["5 workflow_task_scheduled", "6 workflow_task_timed_out", "7 workflow_task_scheduled", events[3]]
    assert 6 <= took < 7
    assert timers == 0


def test_one_that_is_not_answered_times_out() -> None:
    async def play() -> list[str]:
        house = await _house()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            await house.poll()
            task = await house.poll()
            assert task.attempt == 2
            await _accepts(house, task)
            await asking
        return [event.partition(" ")[2] for event in await house.events("w")][4:7]

    assert run_virtual(play()) == ["workflow_task_scheduled", "workflow_task_started", "workflow_task_timed_out"]


def test_a_poll_that_waits_gets_it_at_once_also_on_a_queue_of_its_own() -> None:
    async def play() -> list[tuple[float, int]]:
        house = await _house()
        seen: list[tuple[bool, int]] = []
        await house.signal("w", "go")
        await house.complete(await house.poll(), sticky="own")
        for _ in range(2):
            async with asyncio.TaskGroup() as group:
                polling = group.create_task(house.poll("own", "q"))
                await soon()
                asking = group.create_task(_asking(house, f"u{len(seen)}"))
                begun = running_loop().time()
                task = await polling
                seen.append((running_loop().time() - begun < 0.1, len(task.history.events)))
                await answer(house, task, reject(task.messages[0]))
                await asking
                await house.signal("w", f"{len(seen)}")
                await house.complete(await house.poll(), sticky="own")
        return [(float(quick), events) for quick, events in seen]

    assert run_virtual(play()) == [(1.0, 3), (1.0, 3)]


def test_termination_cancels_what_it_wanted() -> None:
    async def play() -> tuple[str | object, int]:
        house = await _house()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            await soon()
            await terminate(house)
        return asking.result(), _timers(house)

    assert run_virtual(play()) == ("NotFound: workflow update was aborted by closing workflow", 0)


def test_a_lost_shard_takes_it_along_and_the_next_owner_serves_the_same_call() -> None:
    async def play() -> tuple[str | object, int, int]:
        house = await _house()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            await soon()
            (shard,) = house.roles.shards.owned()
            shard.fail("lost")
            first = await asking
            left = _timers(house)
            await soon(5)
            again = group.create_task(_asking(house))
            await _accepts(house, await house.poll())
            reply = await again
        assert isinstance(reply, UpdateWorkflowExecutionResponse)
        assert result_of(reply.outcome) == "done"
        return str(first).partition(":")[0], left, len(await house.events("w"))

    assert run_virtual(play()) == ("ShardLost", 0, 9)


def test_an_admitted_update_keeps_its_place_in_a_small_cache() -> None:
    async def play() -> str:
        house = await _house(cache_bytes_max=8 * 4096)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            await soon()
            for number in range(40):
                await house.start(f"other-{number}", queue="elsewhere")
                await soon(0.2 if number % 10 == 0 else 0.01)
            task = await house.poll()
            await answer(house, task, reject(task.messages[0]))
            reply = await asking
        assert isinstance(reply, UpdateWorkflowExecutionResponse)
        return result_of(reply.outcome)

    assert run_virtual(play()) == "no"


def test_what_was_decided_is_done_although_its_caller_went_away_before_it_was_durable() -> None:
    async def play() -> tuple[int, str]:
        store = GatedStore()
        house = await House(running_loop(), store, Options(shards=ONE_SHARD)).open()
        await house.start("w")
        task = await house.poll()
        async with asyncio.TaskGroup() as group:
            store.gated.gate.clear()
            completing = group.create_task(house.complete(task))
            await soon()
            asking = group.create_task(_asking(house))
            await soon()
            asking.cancel()
            await soon()
            before = _timers(house)
            store.gated.gate.set()
            await completing
            task = await house.poll(seconds=1)
        return before, task.messages[0].protocol_instance_id

    assert run_virtual(play()) == (0, "u")


def test_closing_the_role_leaves_no_timer() -> None:
    async def play() -> int:
        house = await _house()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(_asking(house))
            await soon()
            await house.roles.history.close()
            left = _timers(house)
            asking.cancel()
        return left

    assert run_virtual(play()) == 0
