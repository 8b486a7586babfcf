"""Rule L11 in the history role: an owner that can't tell whether it still is one says nothing, not even no."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, QueryWorkflowRequest

from perdure.base.errors import Unavailable
from perdure.cluster.roles import Call, HistoryRead
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.testing.store_faults import Fault, Faults
from perdure.workflow.requests import Describe
from perdure.workflow.updates import COMPLETED
from tests.unit.history.house import House, finish, key_of
from tests.unit.history.updating import answer, fate, idle, poll, reject, result_of, soon, update

ONE_SHARD = Options(shards=ShardOptions(shards=1))
LEASE_S = 6.0


async def _house() -> tuple[House, Faults]:
    """A house on a shared store, in which `w` waits for nothing, `closed` is closed, and `no` is not there."""
    loop = running_loop()
    faults = Faults(loop.entropy.fork("faults"))
    store = FaultyStore(MemoryStore(loop.clock, is_shared=True), faults)
    house = await House(loop, store, ONE_SHARD).open()
    await idle(house)
    await house.start("closed")
    await house.complete(await house.poll(), finish())
    return house, faults


def _lapse(faults: Faults) -> None:
    """The lease isn't renewed any more; everything else goes well."""
    faults.arm("replace_lease", *[Fault.LOST] * 1000)


def _renew(faults: Faults) -> None:
    faults.heal()


async def _describe(house: House, workflow_id: str) -> Any:
    request = DescribeWorkflowExecutionRequest(execution=WorkflowExecution(workflow_id=workflow_id))
    return await house.roles.history.transact(key_of(workflow_id), Describe(request), Call())


async def _query(house: House) -> Any:
    request = QueryWorkflowRequest(execution=WorkflowExecution(workflow_id="w"), query=WorkflowQuery(query_type="q"))
    return await house.roles.history.query(key_of("w"), request, Call())


ASKS: dict[str, Callable[[House], Awaitable[Any]]] = {
    "describe": lambda house: _describe(house, "w"),
    "describe what is not there": lambda house: _describe(house, "no"),
    "history": lambda house: house.events("w"),
    "history of what is not there": lambda house: house.events("no"),
    "history backwards": lambda house: house.page("w", HistoryRead("", 3, reverse=True)),
    "the close event": lambda house: house.page("closed", HistoryRead("", 3, close_event_only=True)),
    "query": _query,
    "poll an update that is not there": lambda house: poll(house, "u"),
    "the same start again": lambda house: house.start("w"),
    "a start that is refused": lambda house: house.start("w", "another"),
    "a signal to what is closed": lambda house: house.signal("closed", "s"),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_nothing_is_said_from_memory_when_the_lease_is_over(ask: Callable[[House], Awaitable[Any]]) -> None:
    async def play() -> None:
        house, faults = await _house()
        _lapse(faults)
        await soon(LEASE_S + 0.1)
        with pytest.raises(Unavailable):
            await ask(house)
        assert len(house.roles.shards.owned()) == 1

    run_virtual(play())


def test_what_is_written_is_answered_all_the_same() -> None:
    async def play() -> None:
        house, faults = await _house()
        _lapse(faults)
        await soon(LEASE_S + 0.1)
        await house.signal("w", "s")
        assert (await house.start("new")).started

    run_virtual(play())


def test_a_long_poll_that_saw_nothing_does_not_say_so_when_the_lease_is_over() -> None:
    async def play() -> str:
        house, faults = await _house()
        _lapse(faults)
        waiting = HistoryRead("", 3, wait_new_event=True, close_event_only=True)
        return str(await fate(house.page("w", waiting)))

    assert run_virtual(play()).startswith("Unavailable")


def test_whoever_waits_is_told_when_the_lease_is_renewed() -> None:
    """A rejected update leaves no record: what tells its caller is no commit."""

    async def play() -> tuple[str, str]:
        house, faults = await _house()
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(update(house, "u", COMPLETED))
            task = await house.poll()
            _lapse(faults)
            await soon(LEASE_S + 0.5)
            answered = await fate(answer(house, task, reject(task.messages[0])))
            await soon(0.5)
            assert not waiting.done()
            _renew(faults)
        return str(answered), result_of(waiting.result().outcome)

    answered, outcome = run_virtual(play())
    assert answered.startswith("Unavailable")
    assert outcome == "no"
