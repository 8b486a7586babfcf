"""Resets as the history role does them: what is read, what is lost with a shard, and what a deletion leaves."""

import asyncio
from itertools import permutations
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from perdure.base.errors import InvalidArgument
from perdure.base.slots import SlotRange
from perdure.cluster.roles import Call, HistoryRead
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Home
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import DeleteRun
from perdure.workflow.reset_requests import ResetWorkflow
from perdure.workflow.tasks import TimerKind
from tests.unit.history.house import House, finish, key_of, schedule_activity
from tests.unit.shards.fakes import passes

ONE_SHARD = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1))
SMALL_CACHE = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1), cache_bytes_max=1)


def marker() -> Command:
    """A command that leaves a marker."""
    command = Command(command_type=CommandType.COMMAND_TYPE_RECORD_MARKER)
    command.record_marker_command_attributes.marker_name = "m"
    return command


def shard_of(house: House) -> OwnedShard:
    """The house's one shard."""
    (shard,) = house.roles.shards.owned()
    return shard


async def reset(house: House, event_id: int, run_id: str = "", request_id: str = "") -> str:
    """Reset `w`; the new run's id."""
    request = ResetWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="w", run_id=run_id),
        workflow_task_finish_event_id=event_id,
        request_id=request_id or f"{run_id} {event_id}",
        reason="again",
    )
    reply = await house.roles.history.transact(key_of("w"), ResetWorkflow(request), Call())
    return str(reply.run_id)


async def advance(house: House, *commands: Command, again: bool = False) -> None:
    """Answer the next workflow task."""
    await house.complete(await house.poll(), *(commands or (marker(),)), again=again)


async def names(house: House, run_id: str) -> list[str]:
    """The events of a run of `w`."""
    events, token = await house.page("w", HistoryRead(run_id, 1000))
    assert token == b""
    return [str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in events]


async def nested(house: House) -> list[str]:
    """Four runs on one another's branches: two resets of the first, and one of the second beyond its fork. All are
    closed.
    """
    first = (await house.start("w")).run_id
    await advance(house)
    await house.signal("w", "one")
    await advance(house)
    second = await reset(house, 8, first)
    await advance(house)
    await house.signal("w", "two")
    await advance(house, finish())
    third = await reset(house, 4, second)
    fourth = await reset(house, 17, second)
    await advance(house, finish())
    return [first, second, third, fourth]


async def lose(house: House) -> None:
    """The shard goes, and comes back."""
    shard_of(house).fail("lost")
    await passes(5)


async def delete(house: House, run_id: str) -> None:
    """A closed run goes."""
    await house.roles.history.transact(key_of("w"), DeleteRun(run_id), Call())


@pytest.mark.parametrize("options", [ONE_SHARD, SMALL_CACHE])
def test_a_reset_run_is_the_same_after_a_crash_before_and_after_its_checkpoint(options: Options) -> None:
    async def play(wait_s: float) -> None:
        house = await House(running_loop(), MemoryStore(running_loop().clock), options).open()
        await house.start("w")
        await advance(house, schedule_activity())
        await house.signal("w", "one")
        await passes(wait_s)
        run_id = await reset(house, 4)
        before = await names(house, run_id)
        await passes(wait_s)
        await lose(house)
        assert await names(house, run_id) == before
        assert before[3:] == ["workflow_task_failed", "workflow_execution_signaled", "workflow_task_scheduled"]
        entry = await house.roles.executions.chains(shard_of(house)).entry(key_of("w"), (run_id,))
        assert list(entry.chain.shared.values()) == [2]
        await advance(house, schedule_activity())
        await house.complete_activity(await house.poll_activity())
        await advance(house, finish())
        assert (await names(house, run_id))[-1] == "workflow_execution_completed"

    for wait_s in (0, 0.05, 1):
        run_virtual(play(wait_s))


def test_deletions_in_any_order_leave_what_is_needed_and_in_the_end_nothing() -> None:
    async def play(order: tuple[int, ...], wait_s: float) -> None:
        store = MemoryStore(running_loop().clock)
        house = await House(running_loop(), store, ONE_SHARD).open()
        runs = await nested(house)
        histories = [await names(house, run_id) for run_id in runs]
        chains = house.roles.executions.chains(shard_of(house))
        entry = await chains.entry(key_of("w"), tuple(runs))
        branches = {one.branch for run in entry.chain.runs.values() for one in run.durable.segments}
        left = set(range(4))
        for index in order:
            await delete(house, runs[index])
            left.discard(index)
            await passes(wait_s)
            await lose(house)
            for other in left:
                assert await names(house, runs[other]) == histories[other]
        await passes(5)
        for branch in branches:
            assert await store.checkpoints.read_nodes(branch, 1, 99, 1) == []
        pointer = await store.checkpoints.read_pointer(key_of("w"))
        assert pointer is not None
        assert pointer.body is None
        timers = await store.checkpoints.read_timers(Home("", SlotRange()), None, 9)
        assert not [timer for timer in timers if timer.kind == TimerKind.RETENTION]

    for number, order in enumerate(permutations(range(4))):
        run_virtual(play(order, (0, 0.05, 1)[number % 3]))


def test_a_base_can_be_reset_again_after_the_current_run_was_deleted() -> None:
    async def play() -> list[str]:
        house = await House(running_loop(), MemoryStore(running_loop().clock), ONE_SHARD).open()
        first, second, third, fourth = await nested(house)
        for run_id in (fourth, third, first):
            await delete(house, run_id)
            await lose(house)
        fifth = await reset(house, 4, second)
        await delete(house, second)
        await lose(house)
        await advance(house, finish())
        return await names(house, fifth)

    assert run_virtual(play())[-2:] == ["workflow_task_completed", "workflow_execution_completed"]


def test_no_signal_of_a_busy_run_is_lost_by_its_reset() -> None:
    async def play() -> tuple[int, int]:
        house = await House(running_loop(), MemoryStore(running_loop().clock), ONE_SHARD).open()
        await house.start("w")
        await advance(house)
        sent = 0

        async def send(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                sent += 1
                await house.signal("w", f"s{sent}")

        await send(300)
        await passes(5)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(send(50))
            resetting = group.create_task(reset(house, 4))
        return sent, (await names(house, resetting.result())).count("workflow_execution_signaled")

    assert run_virtual(play()) == (500, 500)


def test_a_long_history_is_read_from_the_store_in_pages() -> None:
    async def play() -> tuple[int, int]:
        house = await House(running_loop(), MemoryStore(running_loop().clock), SMALL_CACHE).open()
        await house.start("w")
        for number in range(40):
            await house.signal("w", "x" * 100_000, str(number))
        await advance(house)
        await house.signal("w", "late")
        await passes(5)
        run_id = await reset(house, 44)
        found = await names_of_all(house, run_id)
        return len(found), found.count("workflow_execution_signaled")

    assert run_virtual(play()) == (46, 41)


async def names_of_all(house: House, run_id: str) -> list[Any]:
    """As `names`, over as many pages as it takes."""
    found: list[Any] = []
    token = b""
    while True:
        events, token = await house.page("w", HistoryRead(run_id, 1000, token))
        found += [str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in events]
        if not token:
            return found


def test_a_point_inside_a_batch_is_refused() -> None:
    async def play() -> str:
        house = await House(running_loop(), MemoryStore(running_loop().clock), ONE_SHARD).open()
        await house.start("w")
        await advance(house)
        with pytest.raises(InvalidArgument) as refusal:
            await reset(house, 5)
        return refusal.value.message

    assert "event ID: 4, version: 0, this event must be at the boundary" in run_virtual(play())
