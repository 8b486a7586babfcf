"""The bound on what is queued: bytes are given out in the order of asking, and nothing is lost by giving up."""

import asyncio

from perdure.base.tasks import Background
from perdure.store.sqlite.thread import Room


async def _turn() -> None:
    """Let everything that is ready run."""
    loop = asyncio.get_running_loop()
    for _ in range(3):
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned


class _Callers:
    """Tasks that enter a room, by name."""

    def __init__(self, room: Room) -> None:
        self.inside: list[str] = []
        self._room = room
        self._errors: list[BaseException] = []
        self._background = Background(self._errors.append)

    def enter(self, name: str, size: int) -> asyncio.Task[None]:
        async def enter() -> None:
            await self._room.enter(size)
            self.inside.append(name)

        return self._background.spawn(enter())


async def test_callers_beyond_the_limit_wait_in_the_order_they_came() -> None:
    room = Room(10)
    callers = _Callers(room)
    for name, size in (("a", 6), ("b", 6), ("c", 1)):
        callers.enter(name, size)
    await _turn()
    # "c" would fit, but "b" came first.
    assert callers.inside == ["a"]
    room.leave(6)
    await _turn()
    assert callers.inside == ["a", "b", "c"]


async def test_what_is_larger_than_the_room_gets_in_alone() -> None:
    room = Room(10)
    callers = _Callers(room)
    callers.enter("large", 99)
    callers.enter("small", 1)
    await _turn()
    assert callers.inside == ["large"]
    room.leave(99)
    await _turn()
    assert callers.inside == ["large", "small"]


async def test_one_that_gives_up_lets_the_next_one_in() -> None:
    room = Room(10)
    callers = _Callers(room)
    callers.enter("a", 6)
    waiting = callers.enter("b", 6)
    callers.enter("c", 4)
    await _turn()
    waiting.cancel()
    await _turn()
    assert callers.inside == ["a", "c"]


async def test_one_that_gives_up_just_as_it_gets_in_gives_its_bytes_back() -> None:
    room = Room(10)
    callers = _Callers(room)
    callers.enter("a", 10)
    waiting = callers.enter("b", 10)
    callers.enter("c", 10)
    await _turn()
    room.leave(10)
    waiting.cancel()
    await _turn()
    assert callers.inside == ["a", "c"]
