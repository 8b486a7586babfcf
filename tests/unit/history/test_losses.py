"""What is under way when a shard is lost, a run is deleted, a caller goes away or a decision shows a defect."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, QueryWorkflowResponse

from perdure.base.errors import Bug, Unavailable
from perdure.base.slots import ChainKey, SlotRange
from perdure.cluster.roles import Call, HistoryRead
from perdure.history.chains import Entry
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Home, Node, Pointer
from perdure.store.memory import MemoryStore
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.testing.loop import run_virtual, running_loop
from perdure.visibility.rows import VisibilityQuery
from perdure.workflow.decide import DECIDERS, Work
from perdure.workflow.requests import DeleteRun, Look
from tests.unit.history.house import NAMESPACE, House, key_of
from tests.unit.history.test_durability import GatedStore, outcome
from tests.unit.shards.fakes import passes

ONE_SHARD = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1))


def _shard(house: House) -> OwnedShard:
    (shard,) = house.roles.shards.owned()
    return shard


def _entry(house: House, workflow_id: str) -> Entry:
    return house.roles.executions.chains(_shard(house)).entries[key_of(workflow_id)]


async def _query(house: House, workflow_id: str) -> QueryWorkflowResponse:
    request = QueryWorkflowRequest(
        execution=WorkflowExecution(workflow_id=workflow_id), query=WorkflowQuery(query_type="q")
    )
    return await house.roles.history.query(key_of(workflow_id), request, Call())


def test_a_buffered_query_of_a_lost_shard_is_unavailable_at_once() -> None:
    async def play() -> tuple[str, float]:
        house = await House(running_loop(), MemoryStore(), ONE_SHARD).open()
        await house.start("w")
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(outcome(_query(house, "w")))
            await passes(1)
            _shard(house).fail("lost")
            lost_at = running_loop().time()
        return asking.result(), running_loop().time() - lost_at

    assert run_virtual(play()) == ("ShardLost", 0)


def test_a_query_whose_caller_goes_away_before_it_was_taken_is_not_kept() -> None:
    async def play() -> bool:
        store = GatedStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await house.start("w")
        store.gated.gate.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.signal("w", "s"))
            await passes(0.1)
            asking = group.create_task(_query(house, "w"))
            await passes(0.1)
            asking.cancel()
            await passes(0.1)
            store.gated.gate.set()
        await passes(0.1)
        return any(run.ephemeral.queries for run in _entry(house, "w").chain.runs.values())

    assert run_virtual(play()) is False


def test_a_query_that_is_told_to_come_again_while_the_store_is_in_doubt_is_not_kept() -> None:
    async def play() -> tuple[list[str], bool]:
        store = GatedStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await house.start("w")
        store.gated.gate.clear()
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(outcome(call)) for call in (house.signal("w", "s"), _query(house, "w"))]
            await asyncio.wait(calls)
            store.gated.gate.set()
        await passes(10)
        kept = any(run.ephemeral.queries for run in _entry(house, "w").chain.runs.values())
        return [call.result() for call in calls], kept

    assert run_virtual(play()) == (["Unavailable", "Unavailable"], False)


class _Planted(Exception):
    """A defect of no kind that anybody expects."""


@pytest.mark.parametrize("defect", [_Planted("planted"), Bug("planted")])
def test_a_defect_fails_its_request_and_has_the_shard_replayed_but_not_all_the_time(
    defect: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> list[int]:
        house = await House(running_loop(), MemoryStore(), ONE_SHARD).open()
        await house.start("w")
        await passes(100)
        epochs = []
        for _ in range(3):
            with monkeypatch.context() as planted:
                planted.setitem(DECIDERS, Look, _raising(defect))
                with pytest.raises(type(defect)):
                    await house.events("w")
            await passes(10)
            assert len(await house.events("w")) == 2
            epochs.append(_shard(house).epoch)
        return epochs

    assert run_virtual(play()) == [2, 2, 2]


def _raising(defect: Exception) -> Callable[[Work, Any], Any]:
    def decider(work: Work, request: Any) -> Any:
        raise defect

    return decider


def test_a_transition_that_is_logged_but_not_adopted_is_what_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> list[str]:
        house = await House(running_loop(), MemoryStore(), ONE_SHARD).open()
        await house.start("w")
        with monkeypatch.context() as planted:
            planted.setattr(Entry, "adopt", _raising_method)
            with pytest.raises(_Planted):
                await house.signal("w", "one")
        with pytest.raises(Unavailable):
            await house.signal("w", "two")
        await passes(10)
        await house.signal("w", "three")
        return await house.events("w")

    # The first signal's outcome is unknown: its group was not sent.
    assert run_virtual(play()) == ["1 started", "2 workflow_task_scheduled", "3 signaled"]


def _raising_method(*_: object) -> None:
    raise _Planted("planted")


class SlowNodes(MemoryCheckpoints):
    """Reads of history wait while the gate is shut, those of pointers while theirs is."""

    def __init__(self) -> None:
        super().__init__(running_loop().clock)
        self.gate = asyncio.Event()
        self.gate.set()
        self.pointers = asyncio.Event()
        self.pointers.set()

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        pointer = await super().read_pointer(key)
        await self.pointers.wait()
        return pointer

    async def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        nodes = await super().read_nodes(branch, first, end, limit_bytes)
        await self.gate.wait()
        return nodes


class SlowStore(MemoryStore):
    """A memory store with slow nodes."""

    def __init__(self) -> None:
        super().__init__(running_loop().clock)
        self.slow = SlowNodes()
        self.checkpoints = self.slow


async def _lose(house: House, key: ChainKey) -> None:
    _shard(house).fail("lost")


async def _delete(house: House, key: ChainKey) -> None:
    """The first deletion ends the open run, and the second takes it away before its timer does."""
    (run_id,) = _entry(house, key.workflow_id).chain.runs
    for _ in range(2):
        await house.roles.history.transact(key, DeleteRun(run_id), Call())


@pytest.mark.parametrize(("event", "kind"), [(_lose, "ShardLost"), (_delete, "Unavailable")])
def test_a_history_that_goes_while_it_is_read_is_unavailable(event: Any, kind: str) -> None:
    async def play() -> str:
        store = SlowStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await house.start("w")
        for number in range(8):
            await house.signal("w", "x" * 100_000, str(number))
        await passes(1)  # the oldest are in the store only
        await house.signal("w", "newest")
        store.slow.gate.clear()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(outcome(house.page("w", HistoryRead("", 1000))))
            await passes(0.01)
            await event(house, key_of("w"))
            store.slow.gate.set()
        return reading.result()

    assert run_virtual(play()) == kind


def test_a_deleted_run_leaves_nothing_and_its_id_is_free_whenever_the_shard_is_lost() -> None:
    async def play(wait_s: float) -> tuple[str, list[str], int]:
        store = MemoryStore(running_loop().clock)
        house = await House(running_loop(), store, ONE_SHARD).open()
        run_id = (await house.start("w")).run_id
        branch = _entry(house, "w").chain.runs[run_id].durable.segments[0].branch
        await passes(1)
        assert await store.checkpoints.read_nodes(branch, 1, 9, 1)
        _, token = await house.page("w", HistoryRead("", 9, wait_new_event=True))
        async with asyncio.TaskGroup() as group:
            read = HistoryRead("", 9, token, wait_new_event=True)
            polling = group.create_task(outcome(house.page("w", read)))
            await passes(0.01)
            await _delete(house, key_of("w"))
        await passes(wait_s)
        await _lose(house, key_of("w"))
        await passes(5)
        await house.start("w", "again")
        await passes(5)
        page = await store.visibility.list(VisibilityQuery(NAMESPACE.id))
        timers = await store.checkpoints.read_timers(Home("", SlotRange()), None, 9)
        assert await store.checkpoints.read_nodes(branch, 1, 9, 1) == []
        assert run_id not in {*(row.run_id for row in page.rows), *(timer.run_id for timer in timers)}
        return polling.result(), await house.events("w"), len(page.rows)

    for wait_s in (0, 0.05, 0.11, 1):
        # Whoever waits for news of an open run hears of its end.
        assert run_virtual(play(wait_s)) == ("answered", ["1 started", "2 workflow_task_scheduled"], 1)


def test_nothing_is_kept_of_a_shard_that_is_lost_while_it_is_recovered() -> None:
    async def play() -> int:
        store = SlowStore()
        house = await House(running_loop(), store, Options(shards=ShardOptions(shards=1, checkpoint_age_s=60))).open()
        await house.start("w")
        await house.signal("w", "go")
        shard, shards = _shard(house), house.roles.shards
        store.slow.pointers.clear()
        shard.fail("lost")
        await passes(1)
        shards.assign(frozenset(), 1)
        await shards.let_go("", shard.shard_id, shard.epoch + 2, 1)
        store.slow.pointers.set()
        await passes(1)
        assert shards.owned() == []
        return house.roles.executions.cached_bytes

    with capture_logs() as logged:
        assert run_virtual(play()) == 0
    assert [record["event"] for record in logged if record["log_level"] == "error"] == []
