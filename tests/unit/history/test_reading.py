"""History reads: pages on batch boundaries, tokens, long polls, the close event."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from temporalio.api.history.v1 import History

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.cluster.roles import Call, HistoryRead
from perdure.history.reading import PageToken, Reading, encode_page_token
from perdure.store.contract import Node
from perdure.store.memory import MemoryStore
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import Look
from tests.unit.history.house import House, finish, key_of, schedule_activity

T = TypeVar("T")


def _play(scene: Callable[[House], Awaitable[T]]) -> T:
    """A scene in a house where the workflow `w` has events 1-2 | 3 | 4 | 5-6 (signal and task)."""

    async def play() -> T:
        house = await House(running_loop(), MemoryStore()).open()
        await house.start("w")
        await house.complete(await house.poll())
        await house.signal("w", "s")
        return await scene(house)

    return run_virtual(play())


async def _pages(house: House, limit: int, reverse: bool) -> list[list[int]]:
    pages, token = [], b""
    while True:
        events, token = await house.page("w", HistoryRead("", limit, token, reverse=reverse))
        pages.append([event.event_id for event in events])
        if not token:
            return pages


@pytest.mark.parametrize(
    ("limit", "pages"),
    [
        (1, [[1, 2], [3], [4], [5, 6]]),
        (2, [[1, 2, 3], [4, 5, 6]]),
        (3, [[1, 2, 3, 4], [5, 6]]),
        (9, [[1, 2, 3, 4, 5, 6]]),
    ],
)
def test_a_page_ends_where_a_batch_ends(limit: int, pages: list[list[int]]) -> None:
    assert _play(lambda house: _pages(house, limit, reverse=False)) == pages


def test_backwards_is_the_same_from_the_end() -> None:
    assert _play(lambda house: _pages(house, 1, reverse=True)) == [[6, 5], [4], [3], [2, 1]]


def test_pages_are_the_same_from_the_store() -> None:
    async def scene(house: House) -> list[list[int]]:
        await house.roles.stop()
        other = await House(running_loop(), house.roles.store).open()
        return await _pages(other, 2, reverse=False)

    assert _play(scene) == [[1, 2, 3], [4, 5, 6]]


def test_a_token_of_another_run_is_refused() -> None:
    async def scene(house: House) -> None:
        _, token = await house.page("w", HistoryRead("", 1))
        await house.page("w", HistoryRead("another", 1, token))

    with pytest.raises(InvalidArgument, match="RunId"):
        _play(scene)


@pytest.mark.parametrize("token", [b"x", b"\x00" * 40, b"\xff", b"\x94\xa1\xff\x01\x02\xc3"])
def test_a_forged_token_is_refused(token: bytes) -> None:
    with pytest.raises(InvalidArgument, match="NextPageToken"):
        _play(lambda house: house.page("w", HistoryRead("", 1, token)))


@pytest.mark.parametrize(("first", "bound"), [(0, 3), (-1, 3), (8, 8), (3, 8), (5, 3), (1 << 63, 1 << 63)])
def test_a_token_beyond_the_history_is_refused(first: int, bound: int) -> None:
    token = encode_page_token(PageToken("", first, bound, running=True))
    with pytest.raises(InvalidArgument, match="NextPageToken"):
        _play(lambda house: house.page("w", HistoryRead("", 1, token)))


def test_a_long_poll_answers_when_there_is_an_event() -> None:
    async def scene(house: House) -> tuple[list[int], float]:
        _, token = await house.page("w", HistoryRead("", 9, wait_new_event=True))
        assert token
        begun = running_loop().time()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(house.page("w", HistoryRead("", 9, token, wait_new_event=True)))
            running_loop().call_later(5, lambda: group.create_task(house.signal("w", "later")))
        events, token = reading.result()
        assert token
        return [event.event_id for event in events], running_loop().time() - begun

    ids, waited = _play(scene)
    assert ids == [7]
    assert 5 <= waited < 6


def test_a_long_poll_that_saw_nothing_ends_empty_with_a_token() -> None:
    async def scene(house: House) -> tuple[int, bool, float]:
        _, token = await house.page("w", HistoryRead("", 9, wait_new_event=True))
        begun = running_loop().time()
        events, token = await house.page("w", HistoryRead("", 9, token, wait_new_event=True))
        return len(events), bool(token), running_loop().time() - begun

    events, has_token, waited = _play(scene)
    assert (events, has_token) == (0, True)
    assert waited == pytest.approx(20, abs=0.1)


def test_a_long_poll_ends_before_its_caller_s_deadline() -> None:
    async def scene(house: House) -> float:
        _, token = await house.page("w", HistoryRead("", 9, wait_new_event=True))
        begun = running_loop().time()
        read = HistoryRead("", 9, token, wait_new_event=True)
        await house.roles.history.read_history(key_of("w"), read, Call(timeout_ns=4 * SECOND_NS))
        return running_loop().time() - begun

    assert _play(scene) == pytest.approx(3, abs=0.1)


def test_the_close_event_is_waited_for_and_comes_alone() -> None:
    async def scene(house: House) -> tuple[list[int], bytes]:
        async with asyncio.TaskGroup() as group:
            read = HistoryRead("", 9, wait_new_event=True, close_event_only=True)
            reading = group.create_task(house.page("w", read))
            group.create_task(house.complete(await house.poll(), finish()))
        events, token = reading.result()
        return [event.event_id for event in events], token

    assert _play(scene) == ([9], b"")


class CountingCheckpoints(MemoryCheckpoints):
    """Counts how often nodes are read."""

    def __init__(self) -> None:
        super().__init__(running_loop().clock)
        self.reads = 0

    async def read_nodes(self, branch: str, first: int, end: int, bytes_max: int) -> list[Node]:
        self.reads += 1
        return await super().read_nodes(branch, first, end, bytes_max)


def test_events_of_a_large_batch_are_read_and_parsed_once() -> None:
    async def play() -> tuple[list[int], int]:
        store = MemoryStore()
        store.checkpoints = checkpoints = CountingCheckpoints()
        house = await House(running_loop(), store).open()
        await house.start("w")
        activities = [schedule_activity() for _ in range(100)]
        for number, command in enumerate(activities):
            command.schedule_activity_task_command_attributes.activity_id = str(number)
        await house.complete(await house.poll(), *activities)
        seen = await house.roles.history.transact(key_of("w"), Look(), Call())
        chains = house.roles.executions.chains(house.roles.shards.by_slot(key_of("w").slot))
        await house.roles.stop()  # its memory is gone
        reading = Reading(checkpoints)
        found = [await reading.event(chains, key_of("w"), seen.segments, number) for number in (1, *range(5, 105), 2)]
        return [event.event_id for event in found], checkpoints.reads

    assert run_virtual(play()) == ([1, *range(5, 105), 2], 3)


def test_a_long_poll_waits_no_longer_than_its_caller_likes() -> None:
    async def scene(house: House) -> tuple[float, bool]:
        _, token = await house.page("w", HistoryRead("", 9, wait_new_event=True))
        begun = running_loop().time()
        read = HistoryRead("", 9, token, wait_new_event=True)
        page = await house.roles.history.read_history(key_of("w"), read, Call(wait_ns=2 * SECOND_NS))
        return running_loop().time() - begun, bool(page.token) and not History.FromString(page.history).events

    waited, has_only_token = _play(scene)
    assert waited == pytest.approx(2, abs=0.1)
    assert has_only_token
