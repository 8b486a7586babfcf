"""Updates that wait in memory: what they may cost, and what becomes of those that nobody asks for any more."""

import asyncio

import msgspec
import pytest
from temporalio.api.common.v1 import Payload, Payloads

from perdure.base.clock import SECOND_NS
from perdure.base.errors import DeadlineExceeded, ResourceExhausted
from perdure.cluster.roles import Call
from perdure.history.chains import ShardChains
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.updates import ADMITTED
from tests.unit.history.house import House, key_of
from tests.unit.history.updating import accept, answer, asked, idle, reject, respond, soon, update
from tests.unit.shards.fakes import passes

CACHE_BYTES = 400_000
_OPTIONS = Options(
    shards=ShardOptions(shards=1, checkpoint_age_s=0.1, audit_interval_s=3600), cache_bytes_max=CACHE_BYTES
)


_MANY = msgspec.structs.replace(_OPTIONS, shards=msgspec.structs.replace(_OPTIONS.shards, shards=8))


async def _house(options: Options = _OPTIONS) -> House:
    return await House(running_loop(), MemoryStore(), options).open()


def _chains(house: House) -> ShardChains:
    (chains,) = house.roles.executions._chains.values()
    return chains


def _check(house: House) -> None:
    executions = house.roles.executions
    for chains in executions._chains.values():
        assert chains.bytes == sum(entry.bytes for entry in chains.entries.values())
        assert chains.held == sum(entry.held for entry in chains.entries.values())
    assert executions.room.held == sum(chains.held for chains in executions._chains.values())


async def _give_up(house: House, workflow_id: str, size: int = 100_000) -> None:
    """Ask for an update that no worker takes, and don't wait for it."""
    request = asked(workflow_id, "u")
    request.request.input.args.CopyFrom(Payloads(payloads=[Payload(data=bytes(size))]))
    with pytest.raises(DeadlineExceeded):
        await house.roles.history.update(key_of(workflow_id), request, Call(timeout_ns=1))


def test_they_are_charged_as_long_as_they_wait() -> None:
    async def play() -> list[int]:
        house = await _house()
        await idle(house)
        held = []
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(update(house, f"{number}"))
            await soon()
            held.append(_chains(house).held)
            task = await house.poll()
            first, second = task.messages
            await answer(house, task, accept(first), respond(first), reject(second))
            held.append(_chains(house).held)
        _check(house)
        return held

    waiting, answered = run_virtual(play())
    assert waiting > 2 * 4096
    assert answered == 0


def test_who_waits_no_longer_hears_how_far_it_came() -> None:
    async def play() -> tuple[int, float]:
        house = await _house()
        await house.start("w")
        begun = running_loop().time()
        call = Call(timeout_ns=9 * SECOND_NS, wait_ns=SECOND_NS)
        reply = await house.roles.history.update(key_of("w"), asked("w", "u"), call)
        return reply.stage, running_loop().time() - begun

    stage, waited = run_virtual(play())
    assert stage == ADMITTED
    assert waited == pytest.approx(1, abs=0.1)


def test_there_are_no_more_than_half_of_the_cache_holds() -> None:
    async def play() -> None:
        house = await _house()
        for number in range(3):
            await house.start(f"w{number}")
        await _give_up(house, "w0")
        await _give_up(house, "w1")
        with pytest.raises(ResourceExhausted):
            await house.roles.history.update(key_of("w2"), asked("w2", "u"), Call())
        _check(house)

    run_virtual(play())


def test_a_shard_may_have_all_of_that_and_leaves_it_with_its_updates() -> None:
    async def play() -> None:
        house = await _house(_MANY)
        await house.start("w0")
        await house.start("w1")
        await _give_up(house, "w0", 250_000)
        with pytest.raises(ResourceExhausted):
            await house.roles.history.update(key_of("w1"), asked("w1", "u"), Call())
        _check(house)
        (shard,) = [shard for shard in house.roles.shards.owned() if key_of("w0").slot in shard.slots]
        shard.fail("lost")
        await passes(1)
        assert house.roles.executions.room.held == 0
        await _give_up(house, "w1", 1)
        _check(house)

    run_virtual(play())


def test_those_of_another_shard_make_room_too() -> None:
    async def play() -> None:
        house = await _house(_MANY)
        for number in range(20):
            await house.start(f"w{number}")
        await _give_up(house, "w0", 250_000)
        await passes(70)
        for number in range(1, 20):
            await _give_up(house, f"w{number}", 1)
        _check(house)

    run_virtual(play())


def test_those_that_nobody_asks_for_any_more_make_room() -> None:
    async def play() -> list[bool]:
        house = await _house()
        for number in range(3):
            await house.start(f"w{number}")
        await _give_up(house, "w0")
        await _give_up(house, "w1")
        await passes(70)
        await _give_up(house, "w2")
        _check(house)
        return [key_of(f"w{number}") in _chains(house).entries for number in range(3)]

    assert run_virtual(play()) == [False, True, True]


def test_an_update_that_was_dropped_may_be_asked_anew() -> None:
    async def play() -> list[str]:
        house = await _house()
        await house.start("w")
        await _give_up(house, "w", 300_000)
        await passes(70)
        await house.start("w2", queue="other")
        await _give_up(house, "w2", 1)
        assert key_of("w") not in _chains(house).entries
        async with asyncio.TaskGroup() as group:
            group.create_task(update(house, "u"))
            await soon()
            task = await house.poll()
            (message,) = task.messages
            await answer(house, task, accept(message), respond(message))
        return (await house.events("w"))[-1:]

    assert run_virtual(play()) == ["6 update_completed"]
