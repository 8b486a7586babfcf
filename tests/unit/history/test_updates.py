"""Who waits for an update is told when it gets there, or that it won't, and leaves nothing behind."""

import asyncio
from typing import Any

import pytest

from perdure.base.errors import OperationsFailed, ShardElsewhere
from perdure.history import updates
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.updates import ACCEPTED, ADMITTED, COMPLETED
from tests.unit.history.house import House, finish
from tests.unit.history.test_durability import GatedStore
from tests.unit.history.updating import (
    accept,
    answer,
    continue_as_new,
    fate,
    idle,
    poll,
    reject,
    respond,
    result_of,
    soon,
    start_with_update,
    terminate,
    update,
    waiters,
)

ONE_SHARD = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1))


async def _house() -> House:
    return await House(running_loop(), MemoryStore(), ONE_SHARD).open()


def test_each_waiter_is_answered_at_its_stage() -> None:
    async def play() -> list[tuple[int, str]]:
        house = await _house()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            done = group.create_task(update(house, "u"))
            accepted = group.create_task(update(house, "u", ACCEPTED))
            task = await house.poll()
            polled = group.create_task(poll(house, "u"))
            at_once = await poll(house, "u", 0)
            (message,) = task.messages
            await answer(house, task, accept(message))
            first = await accepted
            assert not done.done()
            await house.signal("w", "go")
            await answer(house, await house.poll(), respond(message))
        assert waiters(house) == 0
        return [(reply.stage, result_of(reply.outcome)) for reply in (at_once, first, done.result(), polled.result())]

    assert run_virtual(play()) == [(ADMITTED, ""), (ACCEPTED, ""), (COMPLETED, "done"), (COMPLETED, "done")]


def test_nobody_waits_for_a_stage_that_there_is_not() -> None:
    async def play() -> list[tuple[int, str]]:
        house = await _house()
        await idle(house)
        begun = asyncio.get_running_loop().time()
        admitted = await update(house, "u", 99)
        polled = await poll(house, "u", 99)
        task = await house.poll()
        (message,) = task.messages
        await answer(house, task, accept(message), respond(message))
        done = await update(house, "u", 99)
        assert asyncio.get_running_loop().time() - begun < 1
        return [(reply.stage, result_of(reply.outcome)) for reply in (admitted, polled, done)]

    assert run_virtual(play()) == [(ADMITTED, ""), (ADMITTED, ""), (COMPLETED, "done")]


def test_who_comes_after_completion_reads_the_outcome_from_history() -> None:
    async def play() -> list[str]:
        store = MemoryStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            group.create_task(update(house, "u"))
            task = await house.poll()
            (message,) = task.messages
            await answer(house, task, accept(message), respond(message, b"kept"), then=finish())
        results = [result_of((await update(house, "u")).outcome)]
        await house.roles.stop()
        again = await House(running_loop(), store, ONE_SHARD).open()
        results.append(result_of((await poll(again, "u", ACCEPTED)).outcome))
        return results

    assert run_virtual(play()) == ["kept", "kept"]


@pytest.mark.parametrize(("seconds", "ends"), [(0, 20), (60, 20), (5, 5)])
def test_the_server_answers_after_its_own_time_and_refuses_after_the_callers(seconds: float, ends: float) -> None:
    async def play() -> tuple[object, float, int]:
        house = await _house()
        await idle(house)
        begun = running_loop().time()
        reply = await fate(update(house, "u", seconds=seconds))
        return reply if isinstance(reply, str) else reply.stage, running_loop().time() - begun, waiters(house)

    reply, took, left = run_virtual(play())
    assert reply == ("DeadlineExceeded: context deadline exceeded" if seconds == 5 else ADMITTED)
    assert took == pytest.approx(ends, abs=0.1)
    assert left == 0


def test_the_stage_that_was_reached_meanwhile_is_what_the_server_answers() -> None:
    async def play() -> tuple[int, str]:
        house = await _house()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(update(house, "u"))
            task = await house.poll()
            await answer(house, task, accept(task.messages[0]))
        return waiting.result().stage, str(waiting.result().outcome)

    assert run_virtual(play()) == (ACCEPTED, "")


def test_a_lost_shard_tells_all_its_waiters_at_once() -> None:
    async def play() -> tuple[list[str], float, int]:
        house = await _house()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(fate(update(house, "u", stage))) for stage in (ACCEPTED, COMPLETED)]
            await soon()
            polled = group.create_task(fate(poll(house, "u")))
            await soon()
            (shard,) = house.roles.shards.owned()
            shard.fail("lost")
            lost = running_loop().time()
        fates = [str(call.result()) for call in (*calls, polled)]
        return [text.partition(":")[0] for text in fates], running_loop().time() - lost, waiters(house)

    assert run_virtual(play()) == (["ShardLost"] * 3, 0, 0)


def test_a_caller_who_goes_away_leaves_nothing_and_the_update_goes_on() -> None:
    async def play() -> tuple[int, int, str]:
        house = await _house()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(update(house, "u"))
            await soon()
            before = waiters(house)
            leaving.cancel()
        left = waiters(house)
        task = await house.poll()
        (message,) = task.messages
        await answer(house, task, accept(message), respond(message))
        return before, left, result_of((await poll(house, "u")).outcome)

    assert run_virtual(play()) == (1, 0, "done")


def test_nobody_is_told_before_it_is_durable() -> None:
    async def play() -> tuple[bool, str]:
        store = GatedStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(update(house, "u"))
            task = await house.poll()
            (message,) = task.messages
            store.gated.gate.clear()
            group.create_task(answer(house, task, accept(message), respond(message)))
            await soon()
            told = waiting.done()
            store.gated.gate.set()
        return told, result_of(waiting.result().outcome)

    assert run_virtual(play()) == (False, "done")


def test_a_rejection_is_not_for_those_who_ask_after_it() -> None:
    async def play() -> tuple[str, bool, str]:
        store = GatedStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await idle(house)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(update(house, "u"))
            await soon()
            await house.signal("w", "something to write")
            task = await house.poll()
            store.gated.gate.clear()
            group.create_task(answer(house, task, reject(task.messages[0])))
            await soon()
            second = group.create_task(update(house, "u"))  # decided before anybody can be told of the rejection
            await soon()
            store.gated.gate.set()
            rejected = await first
            await soon()
            told = second.done()
            task = await house.poll()
            (message,) = task.messages
            await answer(house, task, accept(message), respond(message))
        return result_of(rejected.outcome), told, result_of(second.result().outcome)

    assert run_virtual(play()) == ("no", False, "done")


def test_an_update_that_nobody_saw_goes_on_with_its_workflow() -> None:
    async def play() -> tuple[bool, str, object, int]:
        house = await _house()
        run_id = (await house.start("w")).run_id
        task = await house.poll()
        async with asyncio.TaskGroup() as group:
            free = group.create_task(update(house, "u"))
            bound = group.create_task(fate(update(house, "bound", run_id=run_id)))
            await soon()
            await house.complete(task, continue_as_new())
            task = await house.poll()
            (message,) = task.messages
            await answer(house, task, accept(message), respond(message))
        other = free.result().update_ref.workflow_execution.run_id != run_id
        return other, result_of(free.result().outcome), bound.result(), waiters(house)

    assert run_virtual(play()) == (True, "done", "NotFound: workflow execution already completed", 0)


def test_a_start_with_an_update_finds_the_run_that_goes_on_and_so_does_who_polls() -> None:
    async def play() -> tuple[bool, list[bool], list[str]]:
        house = await _house()
        run_id = (await house.start("w", "mine")).run_id
        task = await house.poll()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(start_with_update(house, "u", "mine"))
            await soon()
            polled = group.create_task(poll(house, "u"))
            await soon()
            await house.complete(task, continue_as_new())
            task = await house.poll()
            (message,) = task.messages
            await answer(house, task, accept(message), respond(message))
        start, done = waiting.result().responses
        replies = done.update_workflow, polled.result()
        others = [reply.update_ref.workflow_execution.run_id != run_id for reply in replies]
        return start.start_workflow.started, others, [result_of(reply.outcome) for reply in replies]

    assert run_virtual(play()) == (False, [True, True], ["done", "done"])


class _Moved:
    """What decides, once the shard has moved."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    async def observe(self, *_arguments: object) -> Any:
        raise ShardElsewhere("The shard is not here.", "other")


def test_once_something_was_begun_nobody_hears_that_nothing_was_done() -> None:
    async def play() -> list[str]:
        house = await _house()
        asked = update(house, "u"), poll(house, "u"), start_with_update(house, "u", "mine")
        await house.start("w", "mine")
        task = await house.poll()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(fate(call)) for call in asked]
            await soon()
            service = house.roles.history._updates
            service._service = _Moved(service._service)
            await house.complete(task, continue_as_new())
        return [str(call.result()).partition(":")[0] for call in waiting]

    assert run_virtual(play()) == ["Unavailable", "ShardElsewhere", "Unavailable"]


def test_a_workflow_that_was_used_and_closes_is_started_again_for_its_update() -> None:
    async def play() -> tuple[bool, bool, str]:
        house = await _house()
        await house.start("w")
        task = await house.poll()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(start_with_update(house, "u", "other"))
            await soon()
            await house.complete(task, finish())
            task = await house.poll()
            (message,) = task.messages
            await answer(house, task, accept(message), respond(message))
        start, done = (reply for reply in waiting.result().responses)
        other = start.start_workflow.run_id == done.update_workflow.update_ref.workflow_execution.run_id
        return start.start_workflow.started, other, result_of(done.update_workflow.outcome)

    assert run_virtual(play()) == (True, True, "done")


def test_a_workflow_that_was_started_and_closes_fails_its_update_alone() -> None:
    async def play() -> list[object]:
        house = await _house()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_failed(house))
            task = await house.poll()
            (shown,) = task.messages
            assert shown.protocol_instance_id == "u"
            await terminate(house)
        return [error and type(error).__name__ for error in waiting.result().errors]

    assert run_virtual(play()) == [None, "NotFound"]


def test_too_many_waiters_are_refused_before_anything_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> tuple[str, str]:
        house = await _house()
        await idle(house)
        monkeypatch.setattr(updates, "WAITERS_MAX", 1)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(update(house, "u", ACCEPTED, seconds=5))
            await soon()
            refused = await fate(update(house, "v"))
            task = await house.poll()
            shown = ",".join(message.protocol_instance_id for message in task.messages)
            await answer(house, task, accept(task.messages[0]))
            await first
        return str(refused).partition(":")[0], shown

    assert run_virtual(play()) == ("ResourceExhausted", "u")


async def _failed(house: House) -> OperationsFailed:
    with pytest.raises(OperationsFailed) as caught:
        await start_with_update(house, "u")
    return caught.value
