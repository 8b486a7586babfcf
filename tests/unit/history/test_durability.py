"""Nothing leaves the role before what it says is durable, and nothing of a lost shard leaves it at all."""

import asyncio
from collections.abc import Awaitable

import msgspec
import pytest

from perdure.base.errors import PerdureError, Unavailable
from perdure.cluster.roles import Call, HistoryRead
from perdure.shards.groups import decode_group, encode_group
from perdure.store.contract import Group, SegmentId, Written
from perdure.store.memory import MemoryStore
from perdure.store.memory.log import MemoryLog
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import ActivityRef, CompleteActivity
from perdure.workflow.steps import decode_record, encode_record
from tests.unit.history.house import NAMESPACE, House, key_of


class GatedLog(MemoryLog):
    """A log whose appends wait while the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        await self.gate.wait()
        return await super().append(segment, epoch, group)


class GatedStore(MemoryStore):
    """A memory store with a gated log."""

    def __init__(self) -> None:
        super().__init__()
        self.gated = GatedLog()
        self.log = self.gated


async def outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except PerdureError as error:
        return type(error).__name__
    return "answered"


def test_no_answer_of_any_kind_comes_before_the_commit_it_saw() -> None:
    async def play() -> tuple[list[bool], list[str]]:
        store = GatedStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        store.gated.gate.clear()
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(outcome(call))
                for call in (
                    house.signal("w", "a write", "one"),
                    house.signal("w", "a write", "one"),  # a dedup answer
                    house.page("w", HistoryRead("", 9)),  # a read
                    house.roles.history.transact(  # a refusal
                        key_of("w"), CompleteActivity(ActivityRef(activity_id="none"), None, ""), Call()
                    ),
                )
            ]
            await asyncio.wait(calls, timeout=1)
            before = [call.done() for call in calls]
            store.gated.gate.set()
        return before, [call.result() for call in calls]

    before, after = run_virtual(play())
    assert before == [False] * 4
    assert after == ["answered", "answered", "answered", "NotFound"]


def test_what_a_lost_shard_was_asked_is_unavailable_and_did_not_happen() -> None:
    async def play() -> tuple[list[str], list[str]]:
        store = GatedStore()
        house = await House(running_loop(), store).open()
        await house.start("w")
        store.gated.gate.clear()
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(outcome(house.signal("w", "lost", "one"))),
                group.create_task(outcome(house.start("x"))),
                group.create_task(outcome(house.page("w", HistoryRead("", 9, wait_new_event=True)))),
            ]
            await asyncio.wait(calls, timeout=1)
            other = House(running_loop(), store)
            await other.roles.start()  # takes the shards: the first owner is fenced
            store.gated.gate.set()
        return [call.result() for call in calls], await other.events("w")

    outcomes, events = run_virtual(play())
    assert outcomes == ["ShardLost"] * 3
    assert events == ["1 started", "2 workflow_task_scheduled"]


def test_a_long_poll_on_a_lost_shard_ends_at_once() -> None:
    async def play() -> float:
        house = await House(running_loop(), MemoryStore()).open()
        await house.start("w")
        _, token = await house.page("w", HistoryRead("", 9, wait_new_event=True))
        begun = running_loop().time()
        async with asyncio.TaskGroup() as group:
            read = HistoryRead("", 9, token, wait_new_event=True)
            reading = group.create_task(outcome(house.page("w", read)))
            running_loop().call_later(2, house.roles.shards.by_slot(key_of("w").slot).log.fail, "lost")
        assert reading.result() == "ShardLost"
        return running_loop().time() - begun

    assert run_virtual(play()) < 5


class TearingLog(MemoryLog):
    """A log that lost the first step of the workflow `torn`'s first record."""

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        groups = await super().read_groups(segment, after, limit)
        return [msgspec.structs.replace(group, body=self._torn(group.body)) for group in groups]

    def _torn(self, data: bytes) -> bytes:
        body = decode_group(data)
        return encode_group(msgspec.structs.replace(body, records=[(at, self._tear(old)) for at, old in body.records]))

    def _tear(self, data: bytes) -> bytes:
        record = decode_record(data)
        if record.key == key_of("torn"):
            record.mutations[0].steps = record.mutations[0].steps[1:]
        return encode_record(record)


def test_a_run_that_can_t_be_replayed_is_set_aside_alone() -> None:
    async def play() -> tuple[str, list[str]]:
        store = MemoryStore()
        store.log = TearingLog()
        house = await House(running_loop(), store).open()
        await house.start("torn")
        await house.start("whole")
        other = await House(running_loop(), store).open()
        return await outcome(other.page("torn", HistoryRead("", 9))), await other.events("whole")

    assert run_virtual(play()) == ("Bug", ["1 started", "2 workflow_task_scheduled"])


def test_a_process_that_has_not_taken_the_shards_is_unavailable() -> None:
    async def play() -> None:
        house = House(running_loop(), MemoryStore())
        await house.roles.namespaces.register(NAMESPACE)
        await house.start("w")

    with pytest.raises(Unavailable):
        run_virtual(play())
